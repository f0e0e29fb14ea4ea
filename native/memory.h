// Large pages for large results.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace boundaryloss {

// Fresh memory comes a page at a time, which costs more than the distances: ask for large pages.
template <class Item>
void expect_writes([[maybe_unused]] Item* out, [[maybe_unused]] std::size_t size) {
#ifdef __linux__
    constexpr std::uintptr_t page = 1 << 21;
    const auto begin = (reinterpret_cast<std::uintptr_t>(out) + page - 1) / page * page;
    const auto end = reinterpret_cast<std::uintptr_t>(out + size) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace boundaryloss
