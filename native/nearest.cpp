// The nearest points of a contour, exactly.
//
// What is nearest in a column is known. In the planes next to a point, and then in those farther off, the
// columns around it are looked at: as many at once as fit a vector, then more on both sides, until along x
// alone they are too far; and planes until they are. Neighbours in a row share the planes.
//
// This file is compiled once per instruction-set level.
#include "nearest.h"

#include <algorithm>
#include <bit>

#include "kernels.h"
#include "vectors.h"

namespace boundaryloss::LEVEL {

namespace {

constexpr int points_at_once = 8;

// Not read anew after every write of a byte: a row's length, and where it starts.
template <class Steps, class Next>
void each_step(Steps* row, const Steps* other, std::ptrdiff_t count, Next next) {
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        const Steps steps = other[i], farther = steps + (steps != Columns<Steps>::none);
        row[i] = next(row[i], farther);
    }
}

template <class Steps>
void fill(const Columns<Steps>& of, const std::uint64_t* points, std::size_t words, std::size_t row_words,
          Steps* plane) {
    const std::ptrdiff_t stride = of.stride;
    const int kinds = of.count[1] ? 2 : 1;
    Steps* row = plane - most_lanes;
    std::fill(row, row + stride, Columns<Steps>::none);
    for (int y = 0; y < of.rows; ++y, row += stride, points += row_words) {
        if (y > 0) each_step(row, row - stride, stride, [](Steps, Steps farther) { return farther; });
        for (int kind = 0; kind < kinds; ++kind)
            for (std::size_t w = 0; w < words; ++w)
                for (std::uint64_t word = points[kind * words + w]; word; word &= word - 1)
                    row[most_lanes + kind * of.odd + 64 * w + std::countr_zero(word)] = 0;
    }
    for (row -= 2 * stride; row >= plane - most_lanes; row -= stride)
        each_step(row, row + stride, stride,
                  [](Steps own, Steps farther) { return own < farther ? own : farther; });
}

// Bytes need no mark for what is none: whoever asks looks again where distances are as large as that.
inline Floats squares(const std::uint8_t* steps, float unit) {
    const Floats far = __builtin_convertvector(widened(steps), Floats);
    return far * far * unit;
}

inline Floats squares(const std::uint32_t* steps, float unit) {
    const Ints wide = load<Ints>(steps);
    const Floats far = __builtin_convertvector(wide, Floats);
    return wide < Ints{} ? Floats{} + unreached : far * far * unit;
}

template <class Steps>
float square(Steps steps, float unit) {
    const auto far = static_cast<float>(steps);
    return sizeof steps > 1 && steps == Columns<Steps>::none ? unreached : far * far * unit;
}

template <class Steps>
class Search {
public:
    Search(const Columns<Steps>& to, int z, int y, int kind)
        : to_(to), z_(z), kind_(kind), row_(y * to.stride), along_x_(to.along_x(kind)) {}

    void operator()(const int* at, int points, float* squared) {
        for (int i = 0; i < points; ++i) best_[i] = Floats{} + squared[i];
        const int every = to_.count[1] ? 2 : 1;
        int step = std::max(std::max(to_.first_plane - z_, z_ - to_.last_plane), 0);
        if (step > 0 && (z_ + step) % every) ++step;
        for (const int end = std::max(z_ - to_.first_plane, to_.last_plane - z_); step <= end;) {
            const float cost = to_.z[step];
            bool done = true;
            for (int i = 0; i < points; ++i) done &= reached(best_[i], cost);
            if (done) break;
            plane(z_ + step, cost, at, points);
            if (step > 0) plane(z_ - step, cost, at, points);
            step += step > 0 ? every : every - z_ % every;
        }
        for (int i = 0; i < points; ++i) squared[i] = lowest(best_[i]);
    }

private:
    static bool reached(Floats best, float cost) { return any(best <= Floats{} + cost); }

    void plane(int z, float cost, const int* at, int points) {
        if (z < to_.first_plane || z > to_.last_plane || !to_.planes[z]) return;
        const Steps* const row = to_.planes[z] + row_;
        for (int i = 0; i < points; ++i) {
            const int x = at[i];
            Floats best = best_[i];
            if (kind_ == 1) best = min(best, Floats{} + (cost + square(row[to_.odd + x], to_.y)));
            auto look = [&](int from) {
                best = min(best, squares(row + from, to_.y) + (load<Floats>(along_x_ + from - x) + cost));
            };
            int left = x - lanes / 2, right = left + lanes;
            look(left);
            while ((left > 0 || right < to_.count[0]) &&
                   !reached(best, cost + std::min(along_x_[left - 1 - x], along_x_[right - x]))) {
                if (left > 0) look(left - lanes);
                if (right < to_.count[0]) look(right);
                left -= lanes, right += lanes;
            }
            best_[i] = best;
        }
    }

    const Columns<Steps>& to_;
    const int z_, kind_;
    const std::ptrdiff_t row_;
    const float* const along_x_;
    Floats best_[points_at_once];
};

template <class Steps>
void lower(const Columns<Steps>& to, int z, int y, int kind, const int* at, int points, float* squared) {
    if (to.first_plane > to.last_plane) return;
    Search<Steps> search(to, z, y, kind);
    for (int i = 0; i < points; i += points_at_once)
        search(at + i, std::min(points_at_once, points - i), squared + i);
}

}  // namespace

extern const Nearest nearest{{fill<std::uint8_t>, lower<std::uint8_t>},
                             {fill<std::uint32_t>, lower<std::uint32_t>}};

}  // namespace boundaryloss::LEVEL
