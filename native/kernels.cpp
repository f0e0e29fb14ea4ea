// Exact squared Euclidean distances, one axis after the other, many columns at a time.
#include "kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

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
typedef std::uint8_t Bytes __attribute__((vector_size(lanes)));          // as many as floats
typedef std::uint8_t ManyBytes __attribute__((vector_size(4 * lanes)));  // as wide as floats

constexpr int coarse = 8;  // rows between those searched first
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
Floats load(const float* from, int count) {
    if (count == lanes) return load<Floats>(from);
    Floats result{};
    std::memcpy(&result, from, 4 * count);
    return result;
}

void store(float* to, Floats value, int count) {
    if (count == lanes)
        store(to, value);
    else
        std::memcpy(to, &value, 4 * count);
}

template <class Vector>
Vector min(Vector a, Vector b) {
    return a < b ? a : b;
}
template <class Vector>
Vector max(Vector a, Vector b) {
    return a > b ? a : b;
}

inline __attribute__((always_inline)) Floats sqrt(Floats value) {
    float items[lanes];
    std::memcpy(items, &value, sizeof items);
    for (float& item : items) item = __builtin_sqrtf(item);
    return load<Floats>(items);
}

// Lane i gets lane i ^ distance.
template <int distance, class Vector, int... i>
Vector swapped(Vector v, std::integer_sequence<int, i...>) {
#ifdef __clang__
    return __builtin_shufflevector(v, v, (i ^ distance)...);
#else
    return __builtin_shuffle(v, Ints{(i ^ distance)...});
#endif
}

template <int distance = lanes / 2, class Vector, class Best>
auto reduce(Vector v, Best best) {
    v = best(v, swapped<distance>(v, std::make_integer_sequence<int, lanes>()));
    if constexpr (distance > 1)
        return reduce<distance / 2>(v, best);
    else
        return v[0];
}
template <class Vector>
auto lowest(Vector v) {
    return reduce(v, min<Vector>);
}
template <class Vector>
auto highest(Vector v) {
    return reduce(v, max<Vector>);
}

template <class Mask>
bool any(Mask mask) {
    std::uint64_t words[sizeof(Mask) / 8], all = 0;
    std::memcpy(words, &mask, sizeof words);
    for (auto word : words) all |= word;
    return all != 0;
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
    for (; x + sizeof(ManyBytes) <= end; x += sizeof(ManyBytes))
        if (any(load<ManyBytes>(row + x) == label)) break;
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

// Where a class is in a row, or a little more.
struct Extent {
    int begin = 0, end = 0;
    bool meets(int x, int count) const { return begin < x + count && x < end; }
    bool empty() const { return begin == end; }
};

// Writes up to a vector beyond `to + count`: rows are filled from left to right and padded.
void copy_signed(float* to, const float* from, size_t count, float sign) {
    for (size_t i = 0; i < count; i += lanes) store(to + i, load<Floats>(from + i) * sign);
}

// Signed squared distances in the run [begin, end) to what is next to it, where there is anything.
void fill_run(float* row, size_t begin, size_t end, size_t width, const Costs& costs, float sign) {
    const auto length = static_cast<ptrdiff_t>(end - begin);
    const bool left = begin > 0, right = end < width;
    const ptrdiff_t half = !right ? length : left ? (length + 1) / 2 : 0;
    if (!left && !right) {
        std::fill(row + begin, row + end, sign * unreached);
    } else {
        copy_signed(row + begin, costs.at(1), half, sign);
        copy_signed(row + begin + half, costs.at(half - length), length - half, sign);
    }
}

// Run after run, at most `runs` of them. Returns where the class is, or nothing if there are more.
Extent fill_runs(const std::uint8_t* labels, size_t width, std::uint8_t label, const Costs& costs,
                 size_t runs, float* row) {
    size_t x = find_equal(labels, 0, width, label), end = x;
    const size_t begin = x;
    if (x > 0) fill_run(row, 0, x, width, costs, 1);
    for (; x < width && runs > 0; --runs) {
        end = find_other(labels, x, width, label);
        fill_run(row, x, end, width, costs, -1);
        x = find_equal(labels, end, width, label);
        if (x > end) fill_run(row, end, x, width, costs, 1);
    }
    if (x < width) return {};
    return {static_cast<int>(begin), static_cast<int>(end)};
}

// Rows of many short runs: distances to the nearest change in bytes, by doubling. Several rows in turn, so
// that no vector is read while it is still being written.
class ShortRuns {
public:
    ShortRuns(size_t rows, size_t width)
        : width_(width), padded_((width + wide - 1) / wide * wide), pitch_(padded_ + reach) {
        for (auto& buffer : {&labels_, &from_, &to_}) {
            buffer->reset(new std::uint8_t[rows * pitch_ + reach + wide]);
            std::memset(buffer->get(), 255, rows * pitch_ + reach + wide);
        }
    }

    void clear() { rows_ = 0; }
    size_t rows() const { return rows_; }
    void add(const std::uint8_t* labels) {
        std::uint8_t* const copy = row(labels_, rows_++);
        copy[-1] = labels[0];
        std::memcpy(copy, labels, width_);
        std::memset(copy + width_, labels[width_ - 1], padded_ - width_ + 1);
    }

    void spread(std::uint8_t label) {
        each(labels_,
             [=](const std::uint8_t* labels) {  // a change lies between two voxels, one away from both
                 const auto own = load<ManyBytes>(labels) == label;
                 const auto change = (own ^ (load<ManyBytes>(labels - 1) == label)) |
                                     (own ^ (load<ManyBytes>(labels + 1) == label));
                 return reinterpret_cast<ManyBytes>(~change | 1);
             });
        for (int step = 1; step <= reach; step *= 2)
            each(from_, [=](const std::uint8_t* near) {
                const auto others = min(load<ManyBytes>(near - step), load<ManyBytes>(near + step));
                const auto no_overflow = min(others, ManyBytes{} + static_cast<std::uint8_t>(255 - step));
                return min(load<ManyBytes>(near), no_overflow + static_cast<std::uint8_t>(step));
            });
    }

    // False if some voxel is too far from every change.
    bool read(size_t index, std::uint8_t label, const Costs& costs, float* result) const {
        const std::uint8_t *const near = row(from_, index), *const labels = row(labels_, index);
        std::uint8_t farthest = 0;
        for (size_t x = 0; x < padded_; ++x) farthest = std::max(farthest, near[x]);
        if (farthest > 2 * reach) return false;
        for (size_t x = 0; x < padded_; x += lanes) {
            const auto bytes = load<Bytes>(near + x);
            const Floats distance = __builtin_convertvector(bytes, Floats) - costs.face_offset();
            const Floats squared = distance * distance * costs.squared_spacing();
            const Ints inside = __builtin_convertvector(load<Bytes>(labels + x) == label, Ints);
            store(result + x, inside ? -squared : squared);
        }
        return true;
    }

private:
    static constexpr size_t wide = sizeof(ManyBytes);
    static constexpr int reach = 64;
    using Buffer = std::unique_ptr<std::uint8_t[]>;
    std::uint8_t* row(const Buffer& buffer, size_t index) const {
        return buffer.get() + reach + index * pitch_;
    }
    template <class Work>
    void each(const Buffer& source, Work work) {
        for (size_t index = 0; index < rows_; ++index)
            for (size_t x = 0; x < padded_; x += wide) {
                const ManyBytes result = work(row(source, index) + x);
                std::memcpy(row(to_, index) + x, &result, wide);
            }
        std::swap(from_, to_);
    }
    size_t width_, padded_, pitch_, rows_ = 0;
    Buffer labels_, from_, to_;
};

// ---- search

// The rows that hold sources, and for each row the first source at or after it.
struct SourceRows {
    std::vector<int> position, next;
    int count() const { return static_cast<int>(position.size()); }
    int rows() const { return static_cast<int>(next.size()) - 1; }
    void clear(size_t rows) {
        position.clear();
        next.resize(rows + 1);
    }
    void index() {
        int source = count();
        for (int t = rows(); t >= 0; --t) {
            while (source > 0 && position[source - 1] >= t) --source;
            next[t] = source;
        }
    }
};

// Between which sources the lanes of a row find their minima, and how many rows away at most.
struct Found {
    int low, high, reach;
};

// Minimum over all sources for every row of one block of lanes; take(row, squared distance) gets it.
template <class Take>
class Search {
public:
    Search(const float* heights, const int* position, const int* next, int count, int rows,
           const Costs& costs, std::vector<Found>& found, Take take)
        : heights_(heights),
          position_(position),
          next_(next),
          count_(count),
          rows_(rows),
          costs_(costs),
          found_(found),
          take_(take),
          per_unit_(1 / __builtin_sqrtf(costs.squared_spacing())) {}

    void run(int begin, int end) {
        begin_ = begin;
        end_ = end;
        const int last = (end - 1 - begin + coarse - 1) / coarse;
        found_.resize(last + 1);
        found_[0] = nearest(begin, 0, count_ - 1);
        if (last == 0) return;
        found_[last] = nearest(end - 1, found_[0].low, count_ - 1);
        for (int span = std::bit_ceil(static_cast<unsigned>(last)); span > 1; span /= 2)
            for (int i = span / 2; i < last; i += span)
                between(i, i - span / 2, std::min(i + span / 2, last));
        for (int i = 0; i < last; ++i)
            fill(row(i) + 1, row(i + 1), found_[i].low, std::max(found_[i].low, found_[i + 1].high));
    }

private:
    int row(int i) const { return std::min(begin_ + i * coarse, end_ - 1); }
    Floats source(int k) const { return load<Floats>(heights_ + k * lanes); }
    float cost(int t, int k) const { return *costs_.at(t - position_[k]); }

    void between(int i, int before, int after) {
        const int t = row(i);
        // distance grows by at most a row a row
        const int reach =
            std::min(found_[before].reach + t - row(before), found_[after].reach + row(after) - t);
        const int low = std::max(found_[before].low, next_[std::max(t - reach, 0)]);
        const int high = std::min(found_[after].high, next_[std::min(t + reach + 1, rows_)] - 1);
        found_[i] = nearest(t, low, high);
    }

    // Serves row t and tells between which sources its lanes found their minima.
    Found nearest(int t, int low, int high) {
        Floats best = source(low) + cost(t, low);
        Ints where = Ints{} + low;
        for (int k = low + 1; k <= high; ++k) {
            const Floats candidate = source(k) + cost(t, k);
            where = candidate < best ? Ints{} + k : where;
            best = min(candidate, best);
        }
        take_(t, best);
        const float steps = __builtin_sqrtf(highest(best)) * per_unit_ + 2;
        return {lowest(where), highest(where), steps < rows_ ? static_cast<int>(steps) : rows_};
    }

    // Serves the rows [begin, end), at most coarse - 1 of them, from the sources of one range.
    void fill(int begin, int end, int low, int high) {
        if (begin >= end) return;
        Floats best[coarse - 1];
        for (auto& lane : best) lane = Floats{} + unreached;
        for (int k = low; k <= high; ++k) {
            const Floats height = source(k);
            const float* cost = costs_.at(begin - position_[k]);
            for (int j = 0; j < coarse - 1; ++j) best[j] = min(height + cost[j], best[j]);
        }
        for (int t = begin; t < end; ++t) take_(t, best[t - begin]);
    }

    const float* heights_;
    const int *position_, *next_;
    int count_, rows_, begin_, end_;
    const Costs& costs_;
    std::vector<Found>& found_;
    Take take_;
    float per_unit_;
};

// ---- one class of one image

constexpr size_t rows_at_once = 16;

struct Worker {
    std::unique_ptr<float[]> rows, squares, outside, inside;
    ShortRuns short_runs;
    std::vector<size_t> short_rows;
    bool expect_short = false;
    std::vector<int> identity;
    SourceRows slices;
    std::vector<Found> found;
    Worker(const Image& image, size_t stride)
        : short_runs(image.depth > 1 ? image.depth : rows_at_once, image.width) {
        const size_t longest = std::max(image.depth, image.height);
        const size_t count = image.depth > 1 ? image.depth : rows_at_once;
        rows.reset(new float[count * stride]);
        if (image.depth > 1) squares.reset(new float[image.depth * stride]);
        outside.reset(new float[longest * lanes]);
        inside.reset(new float[(longest + 2) * lanes]);
        identity.resize(longest + 3);
        for (size_t i = 0; i < identity.size(); ++i) identity[i] = static_cast<int>(i);
    }

    // x pass over `count` rows: signed squared distances in the row to `rows`, where the class is in it to
    // extents
    void x_pass(const std::uint8_t* labels, size_t label_stride, size_t count, size_t width,
                std::uint8_t label, const Costs& costs, size_t stride, Extent* extents,
                size_t extent_stride) {
        short_runs.clear();
        short_rows.clear();
        for (size_t i = 0; i < count; ++i) {
            const std::uint8_t* const row = labels + i * label_stride;
            Extent& extent = extents[i * extent_stride];
            extent = {};
            if (find_equal(row, 0, width, label) == width) continue;
            if (!expect_short)
                extent = fill_runs(row, width, label, costs, 2 + width / 64, rows.get() + i * stride);
            if (!extent.empty()) continue;
            expect_short = true;
            extent = {0, static_cast<int>(width)};
            short_runs.add(row);
            short_rows.push_back(i);
        }
        if (short_rows.empty()) return;
        short_runs.spread(label);
        for (size_t index = 0; index < short_rows.size(); ++index) {
            const size_t i = short_rows[index];
            if (short_runs.read(index, label, costs, rows.get() + i * stride)) continue;
            expect_short = false;
            extents[i * extent_stride] =
                fill_runs(labels + i * label_stride, width, label, costs, width, rows.get() + i * stride);
        }
    }

    // One axis of one block: from signed squares at the source rows to outside(best), inside(best)
    // everywhere.
    template <class Outside, class Inside>
    void pass(const SourceRows& sources, const Costs& costs, const float* from, ptrdiff_t stride,
              const Extent* extents, ptrdiff_t extent_stride, int x, int count, float* to,
              ptrdiff_t to_stride, Outside finish_outside, Inside finish_inside, bool with_inside) {
        const int n = sources.count();
        int first = 0, last = n - 1;
        auto meets = [&](int k) { return extents[sources.position[k] * extent_stride].meets(x, count); };
        if (with_inside) {
            while (first < n && !meets(first)) ++first;
            while (last > first && !meets(last)) --last;
        }
        const bool some_inside = with_inside && first < n;
        int base = 0, rows = 0;
        if (some_inside) {
            base = std::max(sources.position[first] - 1, 0);
            rows = std::min(sources.position[last] + 1, sources.rows() - 1) - base + 1;
            for (int t = 0, k = sources.next[base]; t < rows; ++t) {
                Floats height{};
                if (k < n && sources.position[k] == t + base)
                    height = max(-load(from + sources.position[k++] * stride, count), Floats{});
                store(inside.get() + t * lanes, height);
            }
        }
        for (int k = 0; k < n; ++k)
            store(outside.get() + k * lanes, max(load(from + sources.position[k] * stride, count), Floats{}));
        auto take = [=](int t, Floats best) { store(to + t * to_stride, finish_outside(best), count); };
        Search(outside.get(), sources.position.data(), sources.next.data(), n, sources.rows(), costs, found,
               take)
            .run(0, sources.rows());
        if (!some_inside) return;
        auto take_inside = [=, to = to + base * to_stride, heights = inside.get()](int t, Floats best) {
            const Ints member = load<Floats>(heights + t * lanes) > Floats{};
            float* const at = to + t * to_stride;
            store(at, member ? finish_inside(best) : load(at, count), count);
        };
        Search(inside.get(), identity.data(), identity.data(), rows, rows, costs, found, take_inside)
            .run(sources.position[first] - base, sources.position[last] - base + 1);
    }
};

class Map {
public:
    Map(const Image& image, const Metric& metric, Team& team)
        : image_(image),
          metric_(metric),
          team_(team),
          extents_(image.depth * image.height),
          stride_(16 * (((image.width + 63) / 64 * 4 + 1) | 1)) {
        for (int i = 0; i < team.size(); ++i) workers_.emplace_back(image, stride_);
    }

    // False if the class is nowhere
    template <class Outside, class Inside>
    bool run(std::uint8_t label, float* out, Outside outside, Inside inside, bool with_inside) {
        SourceRows rows;
        rows.clear(image_.height);
        if (image_.depth == 1) {
            team_.each((image_.height + rows_at_once - 1) / rows_at_once, [&](size_t item, int worker) {
                const size_t y = item * rows_at_once, count = std::min(rows_at_once, image_.height - y);
                workers_[worker].x_pass(image_.row(0, y), image_.width, count, image_.width, label, metric_.x,
                                        stride_, &extents_[y], 1);
                for (size_t i = 0; i < count; ++i)
                    if (!extents_[y + i].empty())
                        std::memcpy(out + (y + i) * image_.width, workers_[worker].rows.get() + i * stride_,
                                    4 * image_.width);
            });
            for (size_t y = 0; y < image_.height; ++y)
                if (!extents_[y].empty()) rows.position.push_back(static_cast<int>(y));
        } else {
            std::vector<std::uint8_t> holds(image_.height);
            team_.each(image_.height, [&](size_t y, int worker) {
                holds[y] = source_rows(y, label, out, workers_[worker], with_inside);
            });
            for (size_t y = 0; y < image_.height; ++y)
                if (holds[y]) rows.position.push_back(static_cast<int>(y));
        }
        if (rows.count() == 0) return false;
        rows.index();
        const size_t blocks = (image_.width + lanes - 1) / lanes;
        team_.each(image_.depth * blocks, [&](size_t item, int worker) {
            const size_t z = item / blocks, x = item % blocks * lanes;
            float* const at = out + z * image_.height * image_.width + x;
            workers_[worker].pass(rows, metric_.y, at, image_.width, &extents_[z * image_.height], 1, x,
                                  std::min<size_t>(lanes, image_.width - x), at, image_.width, outside,
                                  inside, with_inside);
        });
        return true;
    }

private:
    // x and z passes at one y. False if no slice holds the class.
    bool source_rows(size_t y, std::uint8_t label, float* out, Worker& worker, bool with_inside) {
        worker.slices.clear(image_.depth);
        worker.x_pass(image_.row(0, y), image_.height * image_.width, image_.depth, image_.width, label,
                      metric_.x, stride_, &extents_[y], image_.height);
        for (size_t z = 0; z < image_.depth; ++z)
            if (!extents_[z * image_.height + y].empty())
                worker.slices.position.push_back(static_cast<int>(z));
        if (worker.slices.count() == 0) return false;
        worker.slices.index();
        for (size_t x = 0; x < image_.width; x += lanes)
            worker.pass(
                worker.slices, metric_.z, worker.rows.get() + x, stride_, &extents_[y], image_.height, x,
                lanes, worker.squares.get() + x, stride_, [](Floats v) { return v; },
                [](Floats v) { return -v; }, with_inside);
        for (size_t z = 0; z < image_.depth; ++z)
            std::memcpy(out + (z * image_.height + y) * image_.width, worker.squares.get() + z * stride_,
                        4 * image_.width);
        return true;
    }

    const Image& image_;
    const Metric& metric_;
    Team& team_;
    std::vector<Extent> extents_;
    size_t stride_;
    std::vector<Worker> workers_;
};

void signed_distance(const Image& image, int first, int count, const Metric& metric, Team& team, float* out) {
    Map map(image, metric, team);
    auto outside = [](Floats squared) { return sqrt(squared); };
    auto to_faces = [](Floats squared) { return squared < Floats{} + unreached ? -sqrt(squared) : Floats{}; };
    // As the official code: the difference is rounded once, from double precision.
    auto to_voxels = [](Floats squared) {
        Floats result;
        for (int i = 0; i < lanes; ++i)
            result[i] = squared[i] < unreached
                            ? static_cast<float>(1 - std::sqrt(static_cast<double>(squared[i])))
                            : 0;
        return result;
    };
    for (int i = 0; i < count; ++i, out += image.size()) {
        const auto label = static_cast<std::uint8_t>(first + i);
        const bool present = metric.to_voxels ? map.run(label, out, outside, to_voxels, true)
                                              : map.run(label, out, outside, to_faces, true);
        if (!present) std::fill(out, out + image.size(), 0.0f);
    }
}

void distance_transform(const Image& image, const Metric& metric, Team& team, float* out) {
    auto distance = [](Floats squared) { return sqrt(squared); };
    Map map(image, metric, team);
    if (!map.run(0, out, distance, distance, false))
        std::fill(out, out + image.size(), std::numeric_limits<float>::infinity());
}

}  // namespace

extern const Kernels table{signed_distance, distance_transform};

}  // namespace boundaryloss::LEVEL
