// Loops over independent items on several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <system_error>
#include <thread>
#include <vector>

namespace boundaryloss {

// The threads live as long as the team, which is one call: nothing is left to break in a forked process.
class Team {
public:
    explicit Team(int size) {
        try {
            for (int worker = 1; worker < size; ++worker)
                threads_.emplace_back([this, worker] { serve(worker); });
        } catch (const std::system_error&) {
            // The system gives no more threads: those that run share the items.
        }
    }
    ~Team() {
        start(nullptr);
        for (auto& thread : threads_) thread.join();
    }
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const { return static_cast<int>(threads_.size()) + 1; }

    // Calls work(item, worker) for every item below count; worker is below size().
    template <class Work>
    void each(std::size_t count, Work work) {
        std::atomic<std::size_t> next{0};
        const std::function<void(int)> share = [&](int worker) {
            for (std::size_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < count;)
                work(item, worker);
        };
        if (threads_.empty() || count < 2) return share(0);
        busy_ = static_cast<int>(threads_.size());
        start(&share);
        share(0);
        for (int busy; (busy = busy_.load(std::memory_order_acquire)) != 0;) busy_.wait(busy);
    }

private:
    void start(const std::function<void(int)>* share) {
        share_ = share;
        round_.fetch_add(1, std::memory_order_release);
        round_.notify_all();
    }

    void serve(int worker) {
        for (unsigned seen = 0;;) {
            round_.wait(seen);
            seen = round_.load(std::memory_order_acquire);
            if (!share_) return;
            (*share_)(worker);
            if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
        }
    }

    std::vector<std::thread> threads_;
    const std::function<void(int)>* share_ = nullptr;
    std::atomic<unsigned> round_{0};
    std::atomic<int> busy_{0};
};

}  // namespace boundaryloss
