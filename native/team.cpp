#include "team.h"

#include <system_error>

namespace boundaryloss {

Team::Team(int size) {
    try {
        for (int worker = 1; worker < size; ++worker)
            threads_.emplace_back([this, worker] { serve(worker); });
    } catch (const std::system_error&) {
        // The system gives no more threads: those that run share the items.
    }
}

Team::~Team() {
    call_ = nullptr;
    start();
    for (auto& thread : threads_) thread.join();
}

int Team::size() const { return static_cast<int>(threads_.size()) + 1; }

void Team::run(std::size_t count, Call call, void* work) {
    if (threads_.empty() || count < 2) {  // without the members: workers of another team may share this one
        for (std::size_t item = 0; item < count; ++item) call(work, item, 0);
        return;
    }
    call_ = call;
    work_ = work;
    count_ = count;
    next_ = 0;
    busy_ = static_cast<int>(threads_.size());
    start();
    share(0);
    for (int busy; (busy = busy_.load(std::memory_order_acquire)) != 0;) busy_.wait(busy);
}

void Team::share(int worker) {
    for (std::size_t item; (item = next_.fetch_add(1, std::memory_order_relaxed)) < count_;)
        call_(work_, item, worker);
}

void Team::start() {
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
}

void Team::serve(int worker) {
    for (unsigned seen = 0;;) {
        round_.wait(seen);
        seen = round_.load(std::memory_order_acquire);
        if (!call_) return;
        share(worker);
        if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
    }
}

}  // namespace boundaryloss
