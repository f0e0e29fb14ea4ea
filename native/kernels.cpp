// Exact squared Euclidean distances, one axis after the other, many columns at a time.
//
// A squared distance separates: along each axis, f'(t) = min_k f(k) + cost(t - k). The passes are
//
//   x   in every row that holds a source: each gap between sources is two copies from the table of costs
//   z   (volumes only) for every y: over the slices that hold a source in that row
//   y   last, so that results leave in order
//
// In z and y, a block of lanes (adjacent x) is worked on at once; its sources are only the rows that hold
// any. Two ways of finding the minimum:
//
//   search  the smallest argmin never falls as t grows (cost is convex), so rows eight apart are searched
//           first, each between the argmins of its neighbours, then the rows between them, several targets
//           in registers for every source that is loaded. Linear but for a logarithm, whatever the input.
//   window  for distances inside objects, all classes at once: look 1, 2, .. rows away until no lane can
//           improve. Objects deeper than `window_reach` are left to a search on their complement.
//
// Distances to a class (outside it) always take the search. `inside` values lie in the plane of the last
// class until that class, done last, replaces them.
//
// Vectors are the compiler's; the file is compiled once per instruction-set level.

#include "kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

namespace boundaryloss::LEVEL {

namespace {

#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX2__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * lanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * lanes)));
typedef std::uint8_t Bytes __attribute__((vector_size(lanes)));
typedef std::int8_t Signs __attribute__((vector_size(lanes)));

constexpr int coarse = 8;         // rows between those searched first
constexpr int window_reach = 24;  // rows a window looks away before it gives up
constexpr float unreached = 1e30f;

using std::ptrdiff_t;
using std::size_t;

// ---- vectors

template <class Vector, class T>
Vector load(const T* from) {
    Vector result;
    std::memcpy(&result, from, sizeof(Vector));
    return result;
}

// Not by memcpy, after which the compiler would read every pointer anew.
typedef float Unaligned __attribute__((vector_size(4 * lanes), aligned(4)));
void store(float* to, Floats value) { *reinterpret_cast<Unaligned*>(to) = value; }

// The first `count` lanes only: images end where they end.
Bytes load_labels(const std::uint8_t* from, int count) {
    if (count == lanes) return load<Bytes>(from);
    Bytes result = Bytes{} + std::uint8_t(255);
    std::memcpy(&result, from, count);
    return result;
}

void store(float* to, Floats value, int count) {
    if (count == lanes)
        store(to, value);
    else
        std::memcpy(to, &value, 4 * count);
}

Floats load_floats(const float* from, int count) {
    if (count == lanes) return load<Floats>(from);
    Floats result{};
    std::memcpy(&result, from, 4 * count);
    return result;
}

Floats min(Floats a, Floats b) { return a < b ? a : b; }

Floats sqrt(Floats value) {
    float items[lanes];
    std::memcpy(items, &value, sizeof items);
    for (float& item : items) item = __builtin_sqrtf(item);
    return load<Floats>(items);
}

template <class Mask>
bool any(Mask mask) {
    Signs bytes = __builtin_convertvector(mask, Signs);
    if constexpr (lanes >= 8) {
        std::uint64_t words[lanes / 8];
        std::memcpy(words, &bytes, sizeof words);
        std::uint64_t all = 0;
        for (auto word : words) all |= word;
        return all != 0;
    } else {
        std::uint32_t word;
        std::memcpy(&word, &bytes, sizeof word);
        return word != 0;
    }
}

Ints widen(Signs mask) { return __builtin_convertvector(mask, Ints); }

template <class Vector>
auto lowest(Vector v) {
    auto result = v[0];
    for (int i = 1; i < lanes; ++i) result = v[i] < result ? v[i] : result;
    return result;
}

template <class Vector>
auto highest(Vector v) {
    auto result = v[0];
    for (int i = 1; i < lanes; ++i) result = v[i] > result ? v[i] : result;
    return result;
}

// ---- rows of labels

constexpr std::uint64_t low_bits = 0x0101010101010101u, high_bits = 0x8080808080808080u;

std::uint64_t eight(const std::uint8_t* from) {
    std::uint64_t word;
    std::memcpy(&word, from, 8);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    return word;
}

// First x in [x, end) with row[x] == label, or end.
size_t find_equal(const std::uint8_t* row, size_t x, size_t end, std::uint8_t label) {
    for (; x + 8 <= end; x += 8) {
        const std::uint64_t word = eight(row + x) ^ (low_bits * label);
        if (const std::uint64_t zeros = (word - low_bits) & ~word & high_bits)
            return x + std::countr_zero(zeros) / 8;
    }
    while (x < end && row[x] != label) ++x;
    return x;
}

// First x in [x, end) with row[x] != label, or end.
size_t find_other(const std::uint8_t* row, size_t x, size_t end, std::uint8_t label) {
    for (; x + 8 <= end; x += 8)
        if (const std::uint64_t word = eight(row + x) ^ (low_bits * label))
            return x + std::countr_zero(word) / 8;
    while (x < end && row[x] == label) ++x;
    return x;
}

// Copies [from, to), writing up to a vector beyond `to`: rows are filled from left to right and padded.
void copy_over(float* to, const float* from, size_t count) {
    for (size_t i = 0; i < count; i += lanes) store(to + i, load<Floats>(from + i));
}

void zero_over(float* to, size_t count) {
    for (size_t i = 0; i < count; i += lanes) store(to + i, Floats{});
}

// Squared distances in the gap [begin, end) to its ends, where there is something at them.
void fill_gap(float* row, size_t begin, size_t end, bool left, bool right, const Costs& costs) {
    const auto length = static_cast<ptrdiff_t>(end - begin);
    const ptrdiff_t half = !right ? length : left ? (length + 1) / 2 : 0;
    if (!left && !right)
        std::fill(row + begin, row + end, unreached);
    else {
        copy_over(row + begin, costs.at(1), half);
        copy_over(row + begin + half, costs.at(half - length), length - half);
    }
}

// What an object is measured to: voxels of a class, or all others.
struct Sources {
    std::uint8_t label;
    bool complement;
    size_t next(const std::uint8_t* row, size_t x, size_t end) const {
        return complement ? find_other(row, x, end, label) : find_equal(row, x, end, label);
    }
    size_t after(const std::uint8_t* row, size_t x, size_t end) const {
        return complement ? find_equal(row, x, end, label) : find_other(row, x, end, label);
    }
};

// x pass: squared distance to the nearest source of the row. False, and nothing written, if it has none.
bool row_distances(const std::uint8_t* labels, size_t width, Sources sources, const Costs& costs,
                   float* row) {
    size_t x = sources.next(labels, 0, width);
    if (x == width) return false;
    fill_gap(row, 0, x, false, true, costs);
    while (x < width) {
        const size_t gap = sources.after(labels, x, width);
        zero_over(row + x, gap - x);
        x = sources.next(labels, gap, width);
        fill_gap(row, gap, x, true, x < width, costs);
    }
    store(row + width, Floats{});
    return true;
}

// The same for every label at once: distance of a voxel to the nearest other label of its row.
void row_inside(const std::uint8_t* labels, size_t width, const Costs& costs, float* row) {
    for (size_t x = 0; x < width;) {
        const size_t end = find_other(labels, x, width, labels[x]);
        fill_gap(row, x, end, x > 0, end < width, costs);
        x = end;
    }
    store(row + width, Floats{});
}

// ---- search

// The rows that hold sources, and for each row the first source at or after it.
struct SourceRows {
    std::vector<int> position, next;
    explicit SourceRows(size_t rows) : next(rows + 1) { position.reserve(rows); }
    int count() const { return static_cast<int>(position.size()); }
    void index(int rows) {
        int source = count();
        for (int t = rows; t >= 0; --t) {
            while (source > 0 && position[source - 1] >= t) --source;
            next[t] = source;
        }
    }
};

struct Range {
    int low, high;  // both included
};

// Minimum over all sources for every row of one block of lanes; take(row, squared distance) gets it.
template <class Take>
class Search {
public:
    Search(const float* field, ptrdiff_t stride, const SourceRows& sources, int rows, const Costs& costs,
           std::vector<Range>& ranges, Take take)
        : field_(field),
          stride_(stride),
          sources_(sources),
          rows_(rows),
          costs_(costs),
          ranges_(ranges),
          take_(take) {}

    void run() {
        const int last = (rows_ - 1 + coarse - 1) / coarse;
        ranges_.resize(last + 1);
        const Range all{0, sources_.count() - 1};
        ranges_[0] = nearest(0, all);
        if (last == 0) return;
        ranges_[last] = nearest(row(last), {ranges_[0].low, all.high});
        for (int span = std::bit_ceil(static_cast<unsigned>(last)); span > 1; span /= 2)
            for (int i = span / 2; i < last; i += span)
                ranges_[i] = nearest(row(i), between(i - span / 2, std::min(i + span / 2, last)));
        for (int i = 0; i < last; ++i) fill(row(i) + 1, row(i + 1), between(i, i + 1));
    }

private:
    int row(int i) const { return std::min(i * coarse, rows_ - 1); }
    Range between(int i, int j) const { return {ranges_[i].low, std::max(ranges_[i].low, ranges_[j].high)}; }
    Floats source(int k) const { return load<Floats>(field_ + sources_.position[k] * stride_); }
    float cost(int t, int k) const { return *costs_.at(t - sources_.position[k]); }

    // Drops sources that are farther along this axis alone than the nearest row's sources in all.
    Range prune(int t, Range range) const {
        const int k = std::clamp(sources_.next[t], range.low, range.high);
        const float bound = highest(source(k) + cost(t, k));
        const float steps = __builtin_sqrtf(bound) * costs_.per_unit() + 2;
        if (steps >= static_cast<float>(rows_)) return range;
        const int reach = static_cast<int>(steps);
        return {std::max(range.low, sources_.next[std::max(t - reach, 0)]),
                std::min(range.high, sources_.next[std::min(t + reach + 1, rows_)] - 1)};
    }

    // Serves row t and tells between which sources its lanes found their minima.
    Range nearest(int t, Range range) {
        range = prune(t, range);
        Floats best = source(range.low) + cost(t, range.low);
        Ints where = Ints{} + range.low;
        for (int k = range.low + 1; k <= range.high; ++k) {
            const Floats candidate = source(k) + cost(t, k);
            where = candidate < best ? Ints{} + k : where;
            best = min(candidate, best);
        }
        take_(t, best);
        return {lowest(where), highest(where)};
    }

    // Serves the rows [begin, end), at most coarse - 1 of them, from the sources of one range.
    void fill(int begin, int end, Range range) {
        if (begin >= end) return;
        Floats best[coarse - 1];
        for (auto& lane : best) lane = Floats{} + unreached;
        for (int k = range.low; k <= range.high; ++k) {
            const Floats height = source(k);
            const float* cost = costs_.at(begin - sources_.position[k]);
            for (int j = 0; j < coarse - 1; ++j) best[j] = min(height + cost[j], best[j]);
        }
        for (int t = begin; t < end; ++t) take_(t, best[t - begin]);
    }

    const float* field_;
    ptrdiff_t stride_;
    const SourceRows& sources_;
    int rows_;
    const Costs& costs_;
    std::vector<Range>& ranges_;
    Take take_;
};

// ---- one image

// A box of rows and columns; the whole image, or what surrounds one class.
struct Box {
    size_t z0, z1, y0, y1, x0, x1;
    size_t depth() const { return z1 - z0; }
    size_t height() const { return y1 - y0; }
    size_t width() const { return x1 - x0; }
};

class Map {
public:
    Map(const Image& image, const Metric& metric, float* scratch, Team& team)
        : image_(image),
          metric_(metric),
          stride_(row_stride(image.width)),
          field_(scratch),
          team_(team),
          workers_(team.size()) {
        if (image.depth > 1)
            for (auto& worker : workers_) worker.column.reset(new float[image.depth * stride_]);
    }

    Box everything() const { return {0, image_.depth, 0, image_.height, 0, image_.width}; }

    // Squared distance of every voxel of the box to the nearest source in it, a block of lanes at a time:
    // take(z, y, x, lanes that count, squared distances). False if there is no source.
    template <class Take>
    bool distances(Sources sources, const Box& box, Take take) {
        std::vector<std::uint8_t> has_source(box.height());
        team_.each(box.height(), [&](size_t y, int worker) {
            has_source[y] = source_rows(sources, box, y, workers_[worker]);
        });
        SourceRows rows(box.height());
        for (size_t y = 0; y < box.height(); ++y)
            if (has_source[y]) rows.position.push_back(static_cast<int>(y));
        if (rows.count() == 0) return false;
        rows.index(static_cast<int>(box.height()));
        each_block(box, [&](size_t z, size_t x, int count, int worker) {
            auto taken = [=, y0 = box.y0, z_ = z + box.z0, x_ = x + box.x0](int t, Floats best) {
                take(z_, t + y0, x_, count, best);
            };
            Search search(field(z, 0) + x, stride_, rows, static_cast<int>(box.height()), metric_.y,
                          workers_[worker].ranges, taken);
            search.run();
        });
        return true;
    }

    // Signed distances inside the classes [first, first + count), at their voxels, all classes at once.
    // Returns the classes that are too deep for it, whose values are not to be used.
    std::vector<bool> inside(int first, int count, float* result) {
        std::vector<std::uint8_t> deep(256 * workers_.size());
        const auto wanted = [=](Bytes labels) {
            return (labels - std::uint8_t(first)) < std::uint8_t(count);
        };
        const Box box = everything();
        std::vector<std::uint8_t> holds(image_.depth * image_.height);
        team_.each(image_.height, [&](size_t y, int worker) {
            Worker& own = workers_[worker];
            float* const rows = image_.depth == 1 ? field(0, y) : own.column.get();
            bool found = false;
            for (size_t z = 0; z < image_.depth; ++z) {
                const bool row_holds = holds_any(image_.row(z, y), wanted);
                holds[z * image_.height + y] = row_holds;
                if (row_holds) row_inside(image_.row(z, y), image_.width, metric_.x, rows + z * stride_);
                found |= row_holds;
            }
            if (image_.depth == 1 || !found) return;
            for (size_t x = 0; x < image_.width; x += lanes) {
                const Window window{image_.labels + y * image_.width + x,
                                    static_cast<ptrdiff_t>(image_.height * image_.width),
                                    own.column.get() + x,
                                    static_cast<ptrdiff_t>(stride_),
                                    static_cast<int>(image_.depth),
                                    lanes_at(box, x),
                                    metric_.z,
                                    &deep[256 * worker],
                                    &own.too_deep};
                for (size_t z = 0; z < image_.depth; ++z)
                    if (holds[z * image_.height + y]) {
                        Ints inner;
                        const Floats best = window.nearest(static_cast<int>(z), wanted, inner);
                        store(field(z, y) + x, best);
                    }
            }
        });
        each_block(box, [&](size_t z, size_t x, int count_here, int worker) {
            const Window window{image_.row(z, 0) + x,
                                static_cast<ptrdiff_t>(image_.width),
                                field(z, 0) + x,
                                static_cast<ptrdiff_t>(stride_),
                                static_cast<int>(image_.height),
                                count_here,
                                metric_.y,
                                &deep[256 * worker],
                                &workers_[worker].too_deep};
            for (size_t y = 0; y < image_.height; ++y) {
                if (!holds[z * image_.height + y]) continue;
                Ints inner;
                const Floats best = window.nearest(static_cast<int>(y), wanted, inner);
                if (any(inner))
                    store(result + (z * image_.height + y) * image_.width + x, signed_inside(best),
                          count_here);
            }
        });
        std::vector<bool> result_deep(256);
        for (size_t i = 0; i < deep.size(); ++i)
            if (deep[i]) result_deep[i % 256] = true;
        return result_deep;
    }

    // What surrounds a class, with the voxels next to it.
    Box around(std::uint8_t label) const {
        Box box{image_.depth, 0, image_.height, 0, image_.width, 0};
        for (size_t z = 0; z < image_.depth; ++z) {
            for (size_t y = 0; y < image_.height; ++y) {
                const std::uint8_t* row = image_.row(z, y);
                const size_t first = find_equal(row, 0, image_.width, label);
                if (first == image_.width) continue;
                size_t end = image_.width;
                while (row[end - 1] != label) --end;
                box = {std::min(box.z0, z),     std::max(box.z1, z + 1), std::min(box.y0, y),
                       std::max(box.y1, y + 1), std::min(box.x0, first), std::max(box.x1, end)};
            }
        }
        auto before = [](size_t v) { return v == 0 ? 0 : v - 1; };
        return {before(box.z0), std::min(box.z1 + 1, image_.depth),
                before(box.y0), std::min(box.y1 + 1, image_.height),
                before(box.x0), std::min(box.x1 + 1, image_.width)};
    }

    // Of a class that fills the image no voxel is reached: no boundary.
    Floats signed_inside(Floats squared) const {
        if (metric_.inside_offset == 0) return squared < Floats{} + unreached ? -sqrt(squared) : Floats{};
        // As the official code: the difference is rounded once, from double precision.
        Floats result;
        for (int i = 0; i < lanes; ++i)
            result[i] =
                squared[i] < unreached
                    ? static_cast<float>(metric_.inside_offset - std::sqrt(static_cast<double>(squared[i])))
                    : 0;
        return result;
    }

private:
    struct Worker {
        std::unique_ptr<float[]> column;  // one (z, x) slice of the field, at a fixed y
        std::vector<Range> ranges;
        std::uint8_t too_deep = 255;
    };

    // Looks along one axis for other labels, around every row in turn.
    struct Window {
        const std::uint8_t* labels;
        ptrdiff_t label_stride;
        const float* field;
        ptrdiff_t field_stride;
        int rows, count;
        const Costs& costs;
        std::uint8_t* deep;      // by label: a window gave up
        std::uint8_t* too_deep;  // the last such label, not worth another look

        // `inner` tells which lanes hold a wanted label; the others get 0.
        template <class Wanted>
        Floats nearest(int t, Wanted wanted, Ints& inner) const {
            const Bytes own = load_labels(labels + t * label_stride, count);
            inner = widen(wanted(own) & (own != *too_deep));
            if (!any(inner)) return Floats{};
            Floats best = inner ? load<Floats>(field + t * field_stride) : Floats{};
            for (int step = 1; step < rows; ++step) {
                const float cost = *costs.at(step);
                const Ints open = best > Floats{} + cost;
                if (!any(open)) break;
                if (step > window_reach) {
                    for (int i = 0; i < lanes; ++i)
                        if (open[i]) deep[*too_deep = own[i]] = 1;
                    break;
                }
                if (t >= step) best = closer(best, own, t - step, cost);
                if (t + step < rows) best = closer(best, own, t + step, cost);
            }
            return best;
        }

        Floats closer(Floats best, Bytes own, int row, float cost) const {
            const Ints same = widen(load_labels(labels + row * label_stride, count) == own);
            const Floats height = same ? load<Floats>(field + row * field_stride) : Floats{};
            return min(height + cost, best);
        }
    };

    float* field(size_t z, size_t y) { return field_ + (z * image_.height + y) * stride_; }

    static int lanes_at(const Box& box, size_t x) {
        return static_cast<int>(std::min<size_t>(lanes, box.width() - x));
    }

    template <class Work>
    void each_block(const Box& box, Work work) {
        const size_t blocks = (box.width() + lanes - 1) / lanes;
        team_.each(box.depth() * blocks, [&](size_t item, int worker) {
            const size_t x = item % blocks * lanes;
            work(item / blocks, x, lanes_at(box, x), worker);
        });
    }

    template <class Wanted>
    bool holds_any(const std::uint8_t* row, Wanted wanted) const {
        for (size_t x = 0; x < image_.width; x += lanes)
            if (any(widen(wanted(
                    load_labels(row + x, static_cast<int>(std::min<size_t>(lanes, image_.width - x)))))))
                return true;
        return false;
    }

    // x and z passes at one y: fills the field there. False if no slice holds a source.
    bool source_rows(Sources sources, const Box& box, size_t y, Worker& worker) {
        const std::uint8_t* labels = image_.row(box.z0, box.y0 + y) + box.x0;
        const size_t slice = image_.height * image_.width;
        if (image_.depth == 1) return row_distances(labels, box.width(), sources, metric_.x, field(0, y));
        SourceRows slices(box.depth());
        for (size_t z = 0; z < box.depth(); ++z)
            if (row_distances(labels + z * slice, box.width(), sources, metric_.x,
                              worker.column.get() + z * stride_))
                slices.position.push_back(static_cast<int>(z));
        if (slices.count() == 0) return false;
        slices.index(static_cast<int>(box.depth()));
        for (size_t x = 0; x < box.width(); x += lanes) {
            auto taken = [to = field(0, y) + x, slice = image_.height * stride_](int z, Floats best) {
                store(to + z * slice, best);
            };
            Search search(worker.column.get() + x, stride_, slices, static_cast<int>(box.depth()), metric_.z,
                          worker.ranges, taken);
            search.run();
        }
        return true;
    }

    const Image& image_;
    const Metric& metric_;
    size_t stride_;
    float* field_;
    Team& team_;
    std::vector<Worker> workers_;
};

void signed_distance(const Image& image, int first, int count, const Metric& metric, float* scratch,
                     Team& team, float* out) {
    Map map(image, metric, scratch, team);
    const size_t plane = image.size();
    float* const inside = out + (count - 1) * plane;
    auto at = [height = image.height, width = image.width](size_t z, size_t y, size_t x) {
        return (z * height + y) * width + x;
    };

    const std::vector<bool> deep = map.inside(first, count, inside);
    for (int label = first; label < first + count; ++label) {
        if (!deep[label]) continue;
        const bool bounded =
            map.distances({static_cast<std::uint8_t>(label), true}, map.around(label),
                          [=, &map](size_t z, size_t y, size_t x, int n, Floats squared) {
                              const Ints within = squared > Floats{};
                              if (!any(within)) return;
                              float* const to = inside + at(z, y, x);
                              store(to, within ? map.signed_inside(squared) : load_floats(to, n), n);
                          });
        if (!bounded) std::fill(inside, inside + plane, 0.0f);  // the class fills the image
    }
    for (int label = first; label < first + count; ++label) {
        float* const result = out + (label - first) * plane;
        const bool present = map.distances(
            {static_cast<std::uint8_t>(label), false}, map.everything(),
            [=](size_t z, size_t y, size_t x, int n, Floats squared) {
                const size_t position = at(z, y, x);
                const Floats outside = sqrt(squared);
                const Ints within = squared == Floats{};  // only a source is at no distance
                store(result + position,
                      any(within) ? (within ? load_floats(inside + position, n) : outside) : outside, n);
            });
        if (!present) std::fill(result, result + plane, 0.0f);
    }
}

void distance_transform(const Image& image, const Metric& metric, float* scratch, Team& team, float* out) {
    Map map(image, metric, scratch, team);
    const bool bounded = map.distances(
        {0, false}, map.everything(),
        [=, height = image.height, width = image.width](size_t z, size_t y, size_t x, int n, Floats squared) {
            store(out + (z * height + y) * width + x, sqrt(squared), n);
        });
    if (!bounded) std::fill(out, out + image.size(), std::numeric_limits<float>::infinity());
}

}  // namespace

extern const Kernels table{signed_distance, distance_transform};

}  // namespace boundaryloss::LEVEL
