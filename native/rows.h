// The first pass: signed squared distances along a row of labels, which is contiguous in memory.
//
// A row is cut into runs, inside the class and outside it by turns. Within a run the distance to what is next
// to it rises from both ends: two copies from the table of costs. Where runs are so short that their ends
// cost more than their voxels (random labels, texture), the distances come by doubling instead: after a step
// s, every voxel knows the changes up to 2 s away, a vector of bytes at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <memory>
#include <vector>

#include "kernels.h"
#include "vectors.h"

namespace boundaryloss::LEVEL {

namespace {

using std::ptrdiff_t;
using std::size_t;
using Labels = const std::uint8_t*;

constexpr float unreached = 1e30f;  // squared; the object or the background fills the row

// What is known of a row: between which labels all of its labels are, and where the class at hand is (or a
// little more).
struct RowInfo {
    std::uint8_t lowest, highest;
    int begin = 0, end = 0;
    RowInfo(Labels row, size_t width) {
        std::uint8_t low = 255, high = 0;
        for (size_t x = 0; x < width; ++x) {
            low = row[x] < low ? row[x] : low;
            high = row[x] > high ? row[x] : high;
        }
        lowest = low, highest = high;
    }
    void set(size_t first, size_t last) { begin = static_cast<int>(first), end = static_cast<int>(last); }
    bool may_hold(std::uint8_t label) const { return lowest <= label && label <= highest; }
    bool holds() const { return begin < end; }
    bool meets(int x, int count) const { return begin < x + count && x < end; }
};

// ---- runs

inline std::uint64_t eight(Labels from) {
    std::uint64_t word;
    std::memcpy(&word, from, 8);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    return word;
}

// First x in [x, end) with row[x] == label, or end.
inline size_t find_equal(Labels row, size_t x, size_t end, std::uint8_t label) {
    constexpr std::uint64_t low_bits = 0x0101010101010101u, high_bits = 0x8080808080808080u;
    while (x + sizeof(Bytes) <= end && !any(load<Bytes>(row + x) == label)) x += sizeof(Bytes);
    for (; x + 8 <= end; x += 8) {
        const std::uint64_t word = eight(row + x) ^ (low_bits * label);
        if (const std::uint64_t zeros = (word - low_bits) & ~word & high_bits)
            return x + std::countr_zero(zeros) / 8;
    }
    while (x < end && row[x] != label) ++x;
    return x;
}

// First x in [x, end) with row[x] != label, or end.
inline size_t find_other(Labels row, size_t x, size_t end, std::uint8_t label) {
    for (; x + 8 <= end; x += 8)
        if (const std::uint64_t word = eight(row + x) ^ (0x0101010101010101u * label))
            return x + std::countr_zero(word) / 8;
    while (x < end && row[x] == label) ++x;
    return x;
}

// Writes up to a vector beyond `to + count`: rows are filled from left to right and padded.
inline void copy(float* to, const float* from, size_t count, float sign) {
    for (size_t i = 0; i < count; i += lanes) store(to + i, load<Floats>(from + i) * sign);
}

// Signed squared distances in the run [begin, end) to what is next to it, where there is anything.
inline void fill_run(float* row, size_t begin, size_t end, size_t width, const Costs& costs, float sign) {
    const auto length = static_cast<ptrdiff_t>(end - begin);
    const bool left = begin > 0, right = end < width;
    const ptrdiff_t half = !right ? length : left ? (length + 1) / 2 : 0;
    if (!left && !right) {
        std::fill(row + begin, row + end, sign * unreached);
    } else {
        copy(row + begin, costs.at(1), half, sign);
        copy(row + begin + half, costs.at(half - length), length - half, sign);
    }
}

// Fills a row whose first voxel of the class is at x, and says where the class is. False, and the row is not
// done, if it has more than so many runs.
inline bool fill_runs(Labels labels, size_t width, size_t x, std::uint8_t label, const Costs& costs,
                      size_t runs, float* row, RowInfo& info) {
    const size_t begin = x;
    size_t end = x;
    if (x > 0) fill_run(row, 0, x, width, costs, 1);
    for (; x < width; --runs) {
        if (runs == 0) return false;
        end = find_other(labels, x, width, label);
        fill_run(row, x, end, width, costs, -1);
        x = find_equal(labels, end, width, label);
        if (x > end) fill_run(row, end, x, width, costs, 1);
    }
    info.set(begin, end);
    return true;
}

// ---- short runs

// Several rows at once, so that no vector is read while it is still on its way to memory.
class ShortRuns {
public:
    ShortRuns(size_t rows, size_t width)
        : width_(width), padded_((width + wide - 1) / wide * wide), pitch_(padded_ + reach) {
        for (Buffer* buffer : {&labels_, &from_, &to_}) {
            buffer->reset(new std::uint8_t[rows * pitch_ + reach + wide]);
            std::memset(buffer->get(), far_away, rows * pitch_ + reach + wide);
        }
    }

    void clear() { rows_ = 0; }

    void add(Labels labels) {
        std::uint8_t* const copy = row(labels_, rows_++);
        copy[-1] = labels[0];  // no change at either end
        std::memcpy(copy, labels, width_);
        std::memset(copy + width_, labels[width_ - 1], padded_ - width_ + 1);
    }

    // Distances of all rows to the nearest change into or out of a class.
    void spread(std::uint8_t label) {
        auto is = [=](Labels from) { return load<Bytes>(from) == label; };
        each(labels_, [=](Labels at) {  // a change lies between two voxels: it is one from each
            const auto change = (is(at) ^ is(at - 1)) | (is(at) ^ is(at + 1));
            return reinterpret_cast<Bytes>(~change | 1);
        });
        for (int step = 1; step <= reach; step *= 2) {
            const auto step_ = static_cast<std::uint8_t>(step);
            Bytes farthest{};
            each(from_, [&](Labels at) {
                const Bytes others = min(load<Bytes>(at - step), load<Bytes>(at + step));
                const Bytes beyond = min(others, Bytes{} + std::uint8_t(far_away - step_)) + step_;
                const Bytes nearest = min(load<Bytes>(at), beyond);
                farthest = max(farthest, nearest);
                return nearest;
            });
            if (!any(farthest > std::uint8_t(2 * step))) return;
        }
    }

    // One of the rows as signed squares. False if some voxel is too far from every change.
    bool read(size_t index, std::uint8_t label, const Costs& costs, float* result) const {
        const Labels steps = row(from_, index), labels = row(labels_, index);
        Bytes farthest{};
        for (size_t x = 0; x < padded_; x += wide) farthest = max(farthest, load<Bytes>(steps + x));
        if (any(farthest > std::uint8_t(2 * reach))) return false;
        const float offset = costs.face_offset(), unit = costs.squared_spacing();
        for (size_t x = 0; x < padded_; ++x) {
            const float distance = static_cast<float>(steps[x]) - offset;
            result[x] = distance * distance * (labels[x] == label ? -unit : unit);
        }
        return true;
    }

private:
    using Buffer = std::unique_ptr<std::uint8_t[]>;
    static constexpr size_t wide = sizeof(Bytes);
    static constexpr int reach = 64;  // the longest step; margins on both sides of a row are as wide
    static constexpr std::uint8_t far_away = 255;

    std::uint8_t* row(const Buffer& buffer, size_t index) const {
        return buffer.get() + reach + index * pitch_;
    }

    template <class Work>
    void each(const Buffer& source, Work work) {
        for (size_t index = 0; index < rows_; ++index)
            for (size_t x = 0; x < padded_; x += wide) {
                const Bytes result = work(row(source, index) + x);
                std::memcpy(row(to_, index) + x, &result, wide);
            }
        std::swap(from_, to_);
    }

    size_t width_, padded_, pitch_, rows_ = 0;
    Buffer labels_, from_, to_;
};

// ---- the pass

// Rows at equal distances in memory: the next of an image, or of a volume's next slices.
struct Rows {
    Labels labels;
    size_t stride, count, width;
    RowInfo* info;
    size_t info_stride;
    Labels row(size_t i) const { return labels + i * stride; }
    RowInfo& info_of(size_t i) const { return info[i * info_stride]; }
};

class RowPass {
public:
    RowPass(size_t rows, size_t width) : short_runs_(rows, width) {}

    // Signed squared distances to `field`, and to `info` where the class is; a row without it is left out.
    void run(const Rows& rows, std::uint8_t label, const Costs& costs, float* field, size_t stride) {
        const size_t width = rows.width, few = 2 + width / 64;
        short_runs_.clear();
        short_rows_.clear();
        for (size_t i = 0; i < rows.count; ++i) {
            RowInfo& info = rows.info_of(i);
            info.set(0, 0);
            if (!info.may_hold(label)) continue;
            const size_t x = find_equal(rows.row(i), 0, width, label);
            if (x == width) continue;
            if (!expect_short_ &&
                fill_runs(rows.row(i), width, x, label, costs, few, field + i * stride, info))
                continue;
            expect_short_ = true;
            info.set(0, width);
            short_runs_.add(rows.row(i));
            short_rows_.push_back(i);
        }
        if (short_rows_.empty()) return;
        short_runs_.spread(label);
        for (size_t index = 0; index < short_rows_.size(); ++index) {
            const size_t i = short_rows_[index];
            if (short_runs_.read(index, label, costs, field + i * stride)) continue;
            expect_short_ = false;
            const size_t x = find_equal(rows.row(i), 0, width, label);
            fill_runs(rows.row(i), width, x, label, costs, width, field + i * stride, rows.info_of(i));
        }
    }

private:
    ShortRuns short_runs_;
    Vector<size_t> short_rows_;
    bool expect_short_ = false;  // as the last rows were
};

}  // namespace

}  // namespace boundaryloss::LEVEL
