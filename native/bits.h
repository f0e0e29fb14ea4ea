// Masks as rows of bits, cut out of label maps.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "distance.h"
#include "team.h"

namespace boundaryloss {

namespace {

using Word = std::uint64_t;
using std::size_t;

struct Range {
    int first = std::numeric_limits<int>::max(), last = -1;
    bool empty() const { return last < 0; }
    int size() const { return empty() ? 0 : last - first + 1; }
    void add(int at) { first = std::min(first, at), last = std::max(last, at); }
    void add(const Range& other) { first = std::min(first, other.first), last = std::max(last, other.last); }
};

// Rows of bits, each with a spare word at its end.
class Bits {
public:
    Bits(size_t planes, size_t rows, size_t width)
        : planes(planes), rows(rows), words(width / 64 + 2), data_(planes * rows * words) {}
    Word* row(size_t plane, size_t row) { return &data_[(plane * rows + row) * words]; }
    const Word* row(size_t plane, size_t row) const { return &data_[(plane * rows + row) * words]; }

    size_t planes, rows, words;

private:
    std::vector<Word> data_;
};

inline bool any_bit(const Word* row, size_t words) {
    return std::any_of(row, row + words, [](Word word) { return word != 0; });
}

// Which of the next 8 bytes are not 0.
inline Word bits_of_8(const std::uint8_t* bytes) {
    constexpr Word low = 0x7f7f7f7f7f7f7f7fu;
    Word word;
    std::memcpy(&word, bytes, 8);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    const Word set = (((word & low) + low) | word) >> 7 & 0x0101010101010101u;
    return set * 0x0102040810204080u >> 56;
}

// Which of the next 64 labels are `label`.
template <class T>
Word equal_of_64(const T* row, T label) {
    Word word = 0;
#ifdef __SSE2__
    if constexpr (sizeof(T) == 1) {
        const __m128i wanted = _mm_set1_epi8(static_cast<char>(label));
        for (int x = 0; x < 64; x += 16) {
            const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + x));
            word |= Word{static_cast<std::uint16_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(next, wanted)))} << x;
        }
        return word;
    }
#endif
    std::uint8_t equal[64];
    for (int x = 0; x < 64; ++x) equal[x] = row[x] == label;
    for (int x = 0; x < 64; x += 8) word |= bits_of_8(equal + x) << x;
    return word;
}

// Bit x + 1 of a row stands for voxel x.
template <class T>
Bits pack(const LabelMaps& maps, size_t batch, size_t map, std::int64_t label, Team& team) {
    const size_t depth = maps.shape[2], rows = maps.shape[3], width = maps.shape[4];
    Bits bits(depth, rows, width + 1);
    const T wanted = static_cast<T>(label);
    if (static_cast<std::int64_t>(wanted) != label) return bits;
    const T* const voxels = static_cast<const T*>(maps.data) +
                            static_cast<std::ptrdiff_t>(batch) * maps.strides[0] +
                            static_cast<std::ptrdiff_t>(map) * maps.strides[1];
    const std::ptrdiff_t step = maps.strides[4];
    team.each(depth, [&](size_t z, int) {
        for (size_t y = 0; y < rows; ++y) {
            const T* const row = voxels + static_cast<std::ptrdiff_t>(z) * maps.strides[2] +
                                 static_cast<std::ptrdiff_t>(y) * maps.strides[3];
            Word carry = 0, *out = bits.row(z, y);
            for (size_t x = 0; x < width; x += 64) {
                const size_t count = std::min<size_t>(64, width - x);
                const T* next = row + static_cast<std::ptrdiff_t>(x) * step;
                T copy[64];
                if (step != 1 || count < 64) {
                    std::fill(copy, copy + 64, static_cast<T>(~wanted));
                    if (step == 1)
                        std::memcpy(copy, next, count * sizeof(T));
                    else
                        for (size_t i = 0; i < count; ++i)
                            copy[i] = next[static_cast<std::ptrdiff_t>(i) * step];
                    next = copy;
                }
                const Word word = equal_of_64(next, wanted);
                *out++ = word << 1 | carry;
                carry = word >> 63;
            }
            *out = carry;
        }
    });
    return bits;
}

inline Bits pack(const LabelMaps& maps, size_t batch, size_t map, std::int64_t label, Team& team) {
    switch (maps.type) {
        case LabelType::uint8:
            return pack<std::uint8_t>(maps, batch, map, label, team);
        case LabelType::int8:
            return pack<std::int8_t>(maps, batch, map, label, team);
        case LabelType::int16:
            return pack<std::int16_t>(maps, batch, map, label, team);
        case LabelType::int32:
            return pack<std::int32_t>(maps, batch, map, label, team);
        default:
            return pack<std::int64_t>(maps, batch, map, label, team);
    }
}

// The box around what is in any of the masks.
struct Box {
    Range z, y, x;
    void add(const Bits& bits) {
        std::vector<Word> columns(bits.words);
        for (size_t plane = 0; plane < bits.planes; ++plane)
            for (size_t row = 0; row < bits.rows; ++row) {
                const Word* const words = bits.row(plane, row);
                Word all = 0;
                for (size_t w = 0; w < bits.words; ++w) all |= words[w], columns[w] |= words[w];
                if (all) z.add(static_cast<int>(plane)), y.add(static_cast<int>(row));
            }
        for (size_t w = 0; w < bits.words; ++w) {
            if (!columns[w]) continue;
            x.add(static_cast<int>(64 * w) + std::countr_zero(columns[w]));
            x.add(static_cast<int>(64 * w) + 63 - std::countl_zero(columns[w]));
        }
    }
};

// What lies in the box, with a voxel of nothing around it.
inline Bits cut(const Bits& bits, const Box& box) {
    Bits result(box.z.size() + 2, box.y.size() + 2, box.x.size() + 2);
    const size_t skipped = (box.x.first - 1) / 64, shift = (box.x.first - 1) % 64;
    for (int z = 0; z < box.z.size(); ++z)
        for (int y = 0; y < box.y.size(); ++y) {
            const Word* const from = bits.row(box.z.first + z, box.y.first + y) + skipped;
            Word* const to = result.row(z + 1, y + 1);
            const size_t count = std::min(result.words, bits.words - skipped);
            for (size_t w = 0; w < count; ++w) {
                const Word next = w + 1 < count ? from[w + 1] : 0;
                to[w] = shift ? from[w] >> shift | next << (64 - shift) : from[w];
            }
        }
    return result;
}

}  // namespace

}  // namespace boundaryloss
