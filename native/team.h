// Loops over independent items on several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace boundaryloss {

// The threads live as long as the team, which is one call: nothing is left to break in a forked process.
class Team {
public:
    explicit Team(int size);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const;

    // Calls work(item, worker) for every item below count; worker is below size().
    template <class Work>
    void each(std::size_t count, Work work) {
        run(
            count, [](void* of, std::size_t item, int worker) { (*static_cast<Work*>(of))(item, worker); },
            &work);
    }

private:
    using Call = void (*)(void* work, std::size_t item, int worker);

    void run(std::size_t count, Call call, void* work);
    void share(int worker);
    void start();
    void serve(int worker);

    std::vector<std::thread> threads_;
    Call call_ = nullptr;  // of this round; none: the end
    void* work_ = nullptr;
    std::size_t count_ = 0;
    std::atomic<std::size_t> next_{0};
    std::atomic<unsigned> round_{0};
    std::atomic<int> busy_{0};
};

}  // namespace boundaryloss
