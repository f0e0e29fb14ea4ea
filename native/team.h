// Loops over independent items on several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

namespace boundaryloss {

// Threads live for one loop only, so nothing is left to break in a forked process.
class Team {
public:
    explicit Team(int size) : size_(size < 1 ? 1 : size) {}
    int size() const { return size_; }

    // Calls work(item, worker) for every item below count; worker is below size().
    template <class Work>
    void each(std::size_t count, Work work) const {
        std::atomic<std::size_t> next{0};
        auto run = [&](int worker) {
            for (std::size_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < count;) work(item, worker);
        };
        std::vector<std::thread> others;
        try {
            for (int worker = 1; worker < size_ && static_cast<std::size_t>(worker) < count; ++worker)
                others.emplace_back(run, worker);
        } catch (const std::system_error&) {
            // The system gives no more threads: those that run share the items.
        }
        run(0);
        for (auto& thread : others) thread.join();
    }

private:
    int size_;
};

}  // namespace boundaryloss
