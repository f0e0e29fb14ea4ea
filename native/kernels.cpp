// Exact signed distances of one class after the other, worked on in place.
//
// A squared distance separates: along each axis, d'(t) = min_k d(k) + cost(t - k). The passes are
//
//   x   in every row that holds the class: runs of it, and what is between them (rows.h)
//   z   (volumes only) for every y that holds the class, over the slices that hold it there (search.h)
//   y   last, so that results leave in order (search.h)
//
// Between the passes a voxel holds one signed number: positive outside the class, the squared distance to the
// nearest voxel of the class along the axes done so far; negative inside, to the nearest of any other. So
// outside, the heights of a search are max(d, 0), and inside max(-d, 0): each is 0 on the other's side. Rows
// without the class are no sources for the outside, are never looked at, and so never written; the inside is
// searched only between the first and the last row that the class has in a block.
//
// The result is its own scratch: beside it there are a slice and two blocks of heights for each thread.
//
// Vectors are the compiler's; this file is compiled once per instruction-set level.

#include "kernels.h"

#include "rows.h"
#include "search.h"
#include "vectors.h"

namespace boundaryloss::LEVEL {

extern const Nearest nearest;

namespace {

constexpr size_t rows_at_once = 16;  // of an image
constexpr size_t line = 16;          // floats of a cache line, which two threads had better not share

// What becomes of squared distances when a pass is done. In a class that fills the image no voxel is reached.
struct KeepOutside {
    static constexpr bool inside_too = false;
    static Floats outside(Floats squared) { return squared; }
    static Floats inside(Floats) { return Floats{}; }
};
struct KeepSigned : KeepOutside {
    static constexpr bool inside_too = true;
    static Floats inside(Floats squared) { return -squared; }
};
struct OutsideOnly : KeepOutside {
    using Before = KeepOutside;
    static Floats outside(Floats squared) { return sqrt(squared); }
};
struct ToFaces : OutsideOnly {
    using Before = KeepSigned;
    static constexpr bool inside_too = true;
    static Floats inside(Floats squared) {
        return squared < Floats{} + unreached ? -sqrt(squared) : Floats{};
    }
};
struct ToVoxels : ToFaces {
    // As the official code: the difference is rounded once, from double precision.
    static Floats inside(Floats squared) {
        float items[lanes];
        std::memcpy(items, &squared, sizeof items);
        for (float& item : items) item = static_cast<float>(1 - __builtin_sqrt(static_cast<double>(item)));
        return squared < Floats{} + unreached ? load<Floats>(items) : Floats{};
    }
};

// A pass across rows, which all blocks share.
struct Across {
    Sources sources;
    const Costs& costs;
    const RowInfo* info;
    size_t info_stride;
    bool meets(int source, int x, int count) const {
        return info[sources.position[source] * info_stride].meets(x, count);
    }
};

// What a thread needs for itself.
class Worker {
public:
    Worker(const Image& image, size_t stride)
        : row_pass(rows_of(image), image.width),
          field(new float[rows_of(image) * stride]),
          squares(new float[image.depth > 1 ? image.depth * stride : 0]),
          outside_(new Floats[longest(image) + 2 * margin]),
          inside_(new Floats[longest(image) + 2 * margin]) {
        for (size_t t = 0; t < longest(image) + margin; ++t) every_row_.push_back(static_cast<int>(t));
    }

    RowPass row_pass;
    std::unique_ptr<float[]> field, squares;  // a slice at some y, after the x pass and after the z pass
    SourceRows slices;

    // Searches a block of columns at x, from `from` to `to`, which may be the same.
    template <class Finish>
    void columns(const Across& pass, int x, int count, const float* from, size_t stride, float* to,
                 size_t to_stride) {
        const Sources& sources = pass.sources;
        int first = 0, last = sources.count - 1;
        while (Finish::inside_too && first <= last && !pass.meets(first, x, count)) ++first;
        while (Finish::inside_too && first < last && !pass.meets(last, x, count)) --last;
        const bool inside_too = Finish::inside_too && first <= last;
        // The rows next to the class bound it: beyond them nothing is nearer.
        const int base = inside_too ? std::max(sources.position[first] - 1, 0) : 0;
        const int rows = inside_too ? std::min(sources.position[last] + 1, sources.rows - 1) - base + 1 : 0;

        Floats *const outside = outside_.get() + margin, *const inside = inside_.get() + margin;
        auto field = [=](int k) { return load(from + sources.position[k] * stride, count); };
        for (int k = 0; k < sources.count; ++k) outside[k] = max(field(k), Floats{});
        for (int t = 0; t < rows; ++t) inside[t] = Floats{};
        if (inside_too)
            for (int k = first; k <= last; ++k) inside[sources.position[k] - base] = max(-field(k), Floats{});
        for (int i = 0; i < margin; ++i) {
            outside[i - margin] = outside[sources.count + i] = Floats{} + out_of_reach;
            inside[i - margin] = inside[rows + i] = Floats{} + out_of_reach;
        }

        auto take = [=](int t, Floats best) { store(to + t * to_stride, Finish::outside(best), count); };
        Search(outside, sources, pass.costs, found_, take).run(0, sources.rows);
        if (!inside_too) return;
        auto take_inside = [=](int t, Floats best) {
            float* const at = to + (t + base) * to_stride;
            const Ints member = inside[t] > Floats{};
            store(at, member ? Finish::inside(best) : load(at, count), count);
        };
        const Sources others{every_row_.data(), every_row_.data(), rows, rows};
        Search(inside, others, pass.costs, found_, take_inside)
            .run(sources.position[first] - base, sources.position[last] - base + 1);
    }

private:
    static size_t rows_of(const Image& image) { return image.depth > 1 ? image.depth : rows_at_once; }
    static size_t longest(const Image& image) { return std::max(image.depth, image.height); }

    std::unique_ptr<Floats[]> outside_, inside_;  // heights of a block
    Vector<int> every_row_;
    std::vector<Found> found_;
};

class Map {
public:
    Map(const Image& image, const Metric& metric, Team& team)
        : image_(image),
          metric_(metric),
          team_(team),
          slice_(image.height * image.width),
          // Padded for what is written beyond a row; an odd number of cache lines spreads columns over the
          // cache.
          stride_(16 * (((image.width + 63) / 64 * 4 + 1) | 1)) {
        for (int i = 0; i < team.size(); ++i) workers_.emplace_back(image, stride_);
        for (size_t z = 0; z < image.depth; ++z)
            for (size_t y = 0; y < image.height; ++y) info_.emplace_back(image.row(z, y), image.width);
    }

    // False, and nothing is written, if the class is nowhere.
    template <class Finish>
    bool run(std::uint8_t label, float* out) {
        Vector<std::uint8_t> holds(image_.height);
        if (image_.depth > 1)
            team_.each(image_.height, [&](size_t y, int worker) {
                holds[y] = slice<typename Finish::Before>(label, y, workers_[worker], out);
            });
        else
            team_.each((image_.height + rows_at_once - 1) / rows_at_once, [&](size_t item, int worker) {
                rows(label, item * rows_at_once, workers_[worker], out, holds);
            });
        SourceRows holding;
        holding.clear(image_.height);
        for (size_t y = 0; y < image_.height; ++y)
            if (holds[y]) holding.add(y);
        const Sources sources = holding.index();
        if (sources.count == 0) return false;
        const size_t lines = (image_.width + line - 1) / line;
        team_.each(image_.depth * lines, [&](size_t item, int worker) {
            const size_t z = item / lines, begin = item % lines * line;
            const Across y_pass{sources, metric_.y, &info_[z * image_.height], 1};
            for (size_t x = begin; x < std::min(begin + line, image_.width); x += lanes) {
                float* const at = out + z * slice_ + x;
                workers_[worker].columns<Finish>(y_pass, static_cast<int>(x),
                                                 static_cast<int>(std::min<size_t>(lanes, image_.width - x)),
                                                 at, image_.width, at, image_.width);
            }
        });
        return true;
    }

private:
    // x pass over the next rows of an image.
    void rows(std::uint8_t label, size_t y, Worker& worker, float* out, Vector<std::uint8_t>& holds) {
        const size_t count = std::min(rows_at_once, image_.height - y);
        worker.row_pass.run({image_.row(0, y), image_.width, count, image_.width, &info_[y], 1}, label,
                            metric_.x, worker.field.get(), stride_);
        for (size_t i = 0; i < count; ++i)
            if ((holds[y + i] = info_[y + i].holds()))
                std::memcpy(out + (y + i) * image_.width, worker.field.get() + i * stride_, 4 * image_.width);
    }

    // x and z passes over the slice at y. False if the class is not in it.
    template <class Keep>
    bool slice(std::uint8_t label, size_t y, Worker& worker, float* out) {
        worker.row_pass.run({image_.row(0, y), slice_, image_.depth, image_.width, &info_[y], image_.height},
                            label, metric_.x, worker.field.get(), stride_);
        worker.slices.clear(image_.depth);
        for (size_t z = 0; z < image_.depth; ++z)
            if (info_[z * image_.height + y].holds()) worker.slices.add(z);
        const Across z_pass{worker.slices.index(), metric_.z, &info_[y], image_.height};
        if (z_pass.sources.count == 0) return false;
        for (size_t x = 0; x < image_.width; x += lanes)
            worker.columns<Keep>(z_pass, static_cast<int>(x), lanes, worker.field.get() + x, stride_,
                                 worker.squares.get() + x, stride_);
        for (size_t z = 0; z < image_.depth; ++z)
            std::memcpy(out + z * slice_ + y * image_.width, worker.squares.get() + z * stride_,
                        4 * image_.width);
        return true;
    }

    const Image& image_;
    const Metric& metric_;
    Team& team_;
    const size_t slice_, stride_;
    std::vector<Worker> workers_;
    std::vector<RowInfo> info_;  // (z, y)
};

void signed_distance(const Image& image, int first, int count, const Metric& metric, Team& team, float* out) {
    Map map(image, metric, team);
    for (int i = 0; i < count; ++i, out += image.size()) {
        const auto label = static_cast<std::uint8_t>(first + i);
        const bool found = metric.to_voxels ? map.run<ToVoxels>(label, out) : map.run<ToFaces>(label, out);
        if (!found) std::fill(out, out + image.size(), 0.0f);
    }
}

bool distance_transform(const Image& image, const Metric& metric, Team& team, float* out) {
    return Map(image, metric, team).run<OutsideOnly>(0, out);
}

}  // namespace

extern const Kernels table{signed_distance, distance_transform, &nearest};

}  // namespace boundaryloss::LEVEL
