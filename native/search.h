// The passes across rows: for a block of lanes (adjacent columns), the minimum over all source rows k of
//
//     best(t) = min_k height(k) + cost(t - k)
//
// for every row t, in three ways that give the same values:
//
//   nearest  one row: all sources in a range, remembering which of them won in each lane
//   fill     the rows between two that are done. The argmin never falls as t grows, since cost is convex:
//   only
//            sources between the lowest argmin above and the highest one below can win. Several rows are kept
//            in registers for every source that is loaded
//   near     where every row is a source and the minimum is a few rows away: look 1, 2, .. rows away
//
// `nearest` serves rows `coarse` apart, by halving, each between the argmins of its neighbours and no farther
// than their distances allow; `fill` the others. So the work is linear but for a logarithm, whatever the
// input.
#pragma once

#include <algorithm>
#include <bit>
#include <vector>

#include "kernels.h"
#include "vectors.h"

namespace boundaryloss::LEVEL {

namespace {

constexpr int coarse = 12;     // rows between those searched first; `fill` has the others in registers
constexpr int near_rows = 8;   // rows that `near` serves together
constexpr int near_limit = 8;  // rows that `near` looks away before it gives up
constexpr int at_once = 4;     // sources that `nearest` looks at together; more than there are do no harm
constexpr int margin = 16;     // heights before the first source and after the last
constexpr float out_of_reach = 2e30f;  // more than any distance, and than the height of no distance

// The rows that hold sources, and for each row (and the end) the first source at or after it.
struct Sources {
    const int *position, *next;
    int count, rows;
};

class SourceRows {
public:
    void clear(size_t rows) {
        position_.clear();
        next_.resize(rows + 1);
    }
    void add(size_t row) { position_.push_back(static_cast<int>(row)); }
    Sources index() {
        const int count = static_cast<int>(position_.size()), rows = static_cast<int>(next_.size()) - 1;
        for (int t = rows, source = count; t >= 0; --t) {
            while (source > 0 && position_[source - 1] >= t) --source;
            next_[t] = source;
        }
        position_.insert(position_.end(), at_once, rows);
        return {position_.data(), next_.data(), count, rows};
    }

private:
    Vector<int> position_, next_;
};

// Between which sources the lanes of a row have their minima, and how many rows away at most.
struct Found {
    int low, high, reach;
};

// take(t, squared distance) is called once for every row, in no order. There are `margin` heights before the
// first and after the last, out of reach.
template <class Take>
class Search {
public:
    Search(const Floats* heights, const Sources& sources, const Costs& costs, std::vector<Found>& found,
           Take take)
        : heights_(heights),
          sources_(sources),
          costs_(costs),
          per_unit_(1 / __builtin_sqrtf(costs.squared_spacing())),
          found_(found),
          take_(take) {}

    // Serves the rows [begin, end).
    void run(int begin, int end) {
        const bool every_row = sources_.count == sources_.rows;
        while (every_row && begin < end && near(begin, std::min(begin + near_rows, end))) begin += near_rows;
        if (begin >= end) return;
        begin_ = begin;
        end_ = end;
        const int last = (end - 1 - begin + coarse - 1) / coarse;
        found_.resize(last + 1);
        found_[0] = nearest(begin, bound(begin), 0, sources_.count - 1);
        if (last == 0) return;
        found_[last] = nearest(end - 1, bound(end - 1), found_[0].low, sources_.count - 1);
        for (int span = std::bit_ceil(static_cast<unsigned>(last)); span > 1; span /= 2)
            for (int i = span / 2; i < last; i += span)
                found_[i] = between(i, i - span / 2, std::min(i + span / 2, last));
        for (int i = 0; i < last; ++i)
            fill(row(i) + 1, row(i + 1), found_[i].low, std::max(found_[i].low, found_[i + 1].high));
    }

private:
    int row(int i) const { return std::min(begin_ + i * coarse, end_ - 1); }
    float cost(int t, int k) const { return *costs_.at(t - sources_.position[k]); }

    int reach(Floats squared) const {
        const float steps = __builtin_sqrtf(highest(squared)) * per_unit_ + 2;
        return steps < static_cast<float>(sources_.rows) ? static_cast<int>(steps) : sources_.rows;
    }

    // How many rows away the sources of row t are at most: no farther than one near by.
    int bound(int t) const {
        const int k = std::min(sources_.next[t], sources_.count - 1);
        return reach(heights_[k] + cost(t, k));
    }

    // Distances grow by at most a row from row to row.
    Found between(int i, int before, int after) {
        const int t = row(i);
        const int limit =
            std::min(found_[before].reach + t - row(before), found_[after].reach + row(after) - t);
        return nearest(t, limit, found_[before].low, found_[after].high);
    }

    // The loops below stay out of line: inlined into one another, they run out of registers.

    __attribute__((noinline)) Found nearest(int t, int limit, int low, int high) {
        low = std::max(low, sources_.next[std::max(t - limit, 0)]);
        high = std::min(high, sources_.next[std::min(t + limit + 1, sources_.rows)] - 1);
        Floats best = heights_[low] + cost(t, low);
        Ints where = Ints{} + low;
        for (int first = low; first <= high; first += at_once)
            for (int k = first; k < first + at_once; ++k) {
                const Floats candidate = heights_[k] + cost(t, k);
                where = candidate < best ? Ints{} + k : where;
                best = min(candidate, best);
            }
        take_(t, best);
        return {lowest(where), highest(where), reach(best)};
    }

    __attribute__((noinline)) void fill(int begin, int end, int low, int high) {
        if (begin >= end) return;
        Floats best[coarse - 1];
        for (Floats& lane : best) lane = Floats{} + out_of_reach;
        for (int k = low; k <= high; ++k) {
            const Floats height = heights_[k];
            const float* cost = costs_.at(begin - sources_.position[k]);
            for (int j = 0; j < coarse - 1; ++j) best[j] = min(height + cost[j], best[j]);
        }
        for (int t = begin; t < end; ++t) take_(t, best[t - begin]);
    }

    __attribute__((noinline)) bool near(int begin, int end) {
        Floats best[near_rows];
        const Floats* const own = heights_ + begin;
        auto look = [&](int step) {
            const float cost = *costs_.at(step);
            for (int j = 0; j < near_rows; ++j)
                best[j] = min(best[j], min(own[j - step], own[j + step]) + cost);
        };
        for (int j = 0; j < near_rows; ++j) best[j] = own[j];
        look(1);
        look(2);
        Floats worst = best[0];
        for (int j = 1; j < end - begin; ++j) worst = max(worst, best[j]);
        const float limit = highest(worst);
        for (int step = 3; *costs_.at(step) < limit; ++step) {
            if (step > near_limit) return false;
            look(step);
        }
        for (int t = begin; t < end; ++t) take_(t, best[t - begin]);
        return true;
    }

    const Floats* heights_;
    const Sources sources_;
    const Costs& costs_;
    const float per_unit_;
    std::vector<Found>& found_;
    Take take_;
    int begin_, end_;
};

}  // namespace

}  // namespace boundaryloss::LEVEL
