// Distances between contours: a bit a voxel, and a bit a point of the grid on which contours lie.
//
//   pack     both masks, cut to the box around them, with a margin of zeros
//   grid     the points of each contour: every second point lies between voxels, the others at their centres
//   columns  from every point of the grid, the steps along y to the nearest point of a contour
//   nearest  from there, for every point of the other contour: along z and x, until nothing can be nearer
//   tally    distances that occur often are few: the area at each
//
// A face's nearest point to a point of the half-voxel grid lies between voxels along every axis, or at the
// point's own coordinate. So "faces" looks at every second point only, and at its own.
#include "contours.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>

#include "bands.h"
#include "grid.h"
#include "kernels.h"
#include "nearest.h"

namespace boundaryloss {

namespace {

constexpr size_t voxels_per_thread = 1 << 16;

// ---- columns

template <class Steps>
const NearestIn<Steps>& nearest_in() {
    if constexpr (sizeof(Steps) == 1)
        return kernels().nearest->bytes;
    else
        return kernels().nearest->words;
}

// Planes of a contour's columns, of which `capacity` in a row are held at a time.
template <class Steps>
class Field {
public:
    Field(const Grid& grid, const std::array<double, 3>& spacing, int capacity)
        : grid_(grid), held_(std::min(capacity, grid.planes.size()), -1) {
        auto square = [](double steps, double unit) {
            return static_cast<float>(steps * unit * steps * unit);
        };
        columns.planes.resize(grid.points.planes);
        columns.rows = static_cast<int>(grid.points.rows);
        columns.count[0] = grid.count[0], columns.count[1] = grid.count[1];
        columns.odd = grid.count[0] + most_lanes;
        columns.stride = most_lanes + columns.odd + grid.count[1];
        columns.y = square(1, spacing[1]);
        for (int k = 0; k < static_cast<int>(grid.points.planes); ++k)
            columns.z.push_back(square(k, spacing[0]));
        const int reach = grid.count[0] + most_lanes;
        for (int kind = 0; kind < 2; ++kind)
            for (int k = -reach; k <= reach + most_lanes; ++k)
                columns.x[kind].push_back(square(grid.kinds * k - kind, spacing[2]));
        steps_.reset(new Steps[held_.size() * plane_size()]);
    }

    // Makes these planes, fewer than there is room for, the ones to look at.
    void hold(int first, int last) {
        columns.first_plane = std::max(first, grid_.planes.first);
        columns.last_plane = std::min(last, grid_.planes.last);
        for (int z = columns.first_plane; z <= columns.last_plane; ++z) {
            const size_t slot = z % held_.size();
            if (held_[slot] == z || grid_.in_plane[z].empty()) continue;
            Steps* const plane = steps_.get() + slot * plane_size() + most_lanes;
            nearest_in<Steps>().fill(columns, grid_.points.row(z, 0), grid_.words, grid_.points.words, plane);
            columns.planes[z] = plane;
            held_[slot] = z;
        }
    }

    void lower(int z, int y, int kind, const int* at, int points, float* squared) const {
        nearest_in<Steps>().lower(columns, z, y, kind, at, points, squared);
    }

    // Squared distances below this one hold, whatever lies more than so many planes away.
    float limit(int planes) const {
        const float most = columns.none, along_y = most * most * columns.y;  // rounded as what is compared
        return planes + 1 < static_cast<int>(columns.z.size()) ? std::min(along_y, columns.z[planes + 1])
                                                               : along_y;
    }

    Columns<Steps> columns;

private:
    size_t plane_size() const { return columns.stride * grid_.points.rows; }

    const Grid& grid_;
    std::vector<int> held_;
    std::unique_ptr<Steps[]> steps_;
};

// ---- tally

// Sums of whole numbers, so that threads may add in any order.
class Tally {
public:
    void add(float squared, std::int64_t area) {
        const auto key = std::bit_cast<std::uint32_t>(squared);
        if (key == 0) {
            zero_ += area;
            return;
        }
        if (2 * used_ >= slots_.size()) grow();
        size_t at = key * 0x9e3779b97f4a7c15u >> 32 & (slots_.size() - 1);
        while (slots_[at].key != 0 && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
        used_ += slots_[at].key == 0;
        slots_[at].key = key;
        slots_[at].area += area;
    }

    void add(const Tally& other) {
        zero_ += other.zero_;
        for (const Slot& slot : other.slots_)
            if (slot.key != 0) add(std::bit_cast<float>(slot.key), slot.area);
    }

    Spectrum spectrum(double unit) const {
        std::vector<Slot> sorted;
        if (zero_) sorted.push_back({0, zero_});
        for (const Slot& slot : slots_)
            if (slot.key != 0) sorted.push_back(slot);
        // Of floats that are not negative, the bits have their order.
        std::sort(sorted.begin(), sorted.end(), [](const Slot& a, const Slot& b) { return a.key < b.key; });
        Spectrum result;
        for (const Slot& slot : sorted) {
            result.distances.push_back(std::sqrt(static_cast<double>(std::bit_cast<float>(slot.key))));
            result.areas.push_back(static_cast<double>(slot.area) * unit);
        }
        return result;
    }

private:
    struct Slot {
        std::uint32_t key = 0;  // the bits of a squared distance; 0: free
        std::int64_t area = 0;
    };

    void grow() {
        Tally larger;
        larger.slots_.resize(std::max<size_t>(1024, 4 * slots_.size()));
        larger.add(*this);
        *this = std::move(larger);
    }

    std::vector<Slot> slots_;
    std::int64_t zero_ = 0;
    size_t used_ = 0;
};

// ---- measure

// The area of a point by what `Around::pairs` says of it, in multiples of a unit: sums are exact in any
// order.
struct Areas {
    double unit;
    std::array<std::int64_t, 256> of_kind[2];

    explicit Areas(const std::vector<double>& of_codes)
        : unit(std::ldexp(1.0, std::ilogb(*std::max_element(of_codes.begin(), of_codes.end())) - 30)) {
        for (unsigned pairs = 0; pairs < 256; ++pairs) {
            unsigned codes[2] = {};
            for (int k = 0; k < 4; ++k) {
                const unsigned first = pairs >> 2 * k & 1, second = pairs >> (2 * k + 1) & 1;
                codes[0] = codes[0] << 2 | first << 1 | second;
                codes[1] = codes[1] << 2 | second << 1 | second;
            }
            for (int kind = 0; kind < 2; ++kind)
                of_kind[kind][pairs] = std::llround(of_codes[codes[kind]] / unit);
        }
    }
};

// A point that nothing is near to, and the area that it stands for.
struct Far {
    int z, y, kind, x;
    std::int64_t area;
    float squared;
};

// What a thread needs for itself.
struct Worker {
    Field<std::uint8_t> field;
    Tally tally;
    std::vector<Far> far;
    std::vector<int> at;  // the points of a row
    std::vector<float> squared;
};

constexpr int near = 31;  // planes, to either side
constexpr size_t far_at_once = 256;

// Planes are looked at one after the other, so that few are held; at each, every point.
void look_far(std::vector<Far>& points, const Grid& to, const std::array<double, 3>& spacing, Team& team) {
    Field<std::uint32_t> field(to, spacing, near);
    for (int z = to.planes.first; z <= to.planes.last; z += near) {
        field.hold(z, z + near - 1);
        team.each((points.size() + far_at_once - 1) / far_at_once, [&](size_t part, int) {
            for (size_t i = part * far_at_once; i < std::min(points.size(), (part + 1) * far_at_once); ++i)
                field.lower(points[i].z, points[i].y, points[i].kind, &points[i].x, 1, &points[i].squared);
        });
    }
}

Spectrum measure(const Grid& from, const Grid& to, const ContourSettings& settings, Team& team) {
    const Areas areas(settings.areas);
    std::array<double, 3> spacing = settings.spacing;
    if (settings.contour == Contour::faces)
        for (double& step : spacing) step /= 2;
    std::vector<Worker> workers;
    for (int i = 0; i < team.size(); ++i) workers.push_back({{to, spacing, 2 * near + 1}, {}, {}, {}, {}});
    const float limit = workers[0].field.limit(near);

    const size_t slabs = team.size();
    auto row = [&](Worker& worker, int z, int y, int kind) {
        const Word* const words = from.points.row(z, y) + kind * from.words;
        worker.at.clear();
        for (size_t w = 0; w < from.words; ++w)
            for (Word word = words[w]; word; word &= word - 1)
                worker.at.push_back(static_cast<int>(64 * w) + std::countr_zero(word));
        const int points = static_cast<int>(worker.at.size());
        worker.squared.assign(points, unreached);
        worker.field.lower(z, y, kind, worker.at.data(), points, worker.squared.data());
        const Around around(from.mask, from.z.at(z), from.y.at(y));
        for (int i = 0; i < points; ++i) {
            const int x = worker.at[i];
            const std::int64_t area = areas.of_kind[kind][around.pairs(x + from.first_kind)];
            if (worker.squared[i] < limit)
                worker.tally.add(worker.squared[i], area);
            else
                worker.far.push_back({z, y, kind, x, area, unreached});
        }
    };
    team.each(slabs, [&](size_t slab, int index) {
        Worker& worker = workers[index];
        const size_t planes = from.points.planes;
        for (size_t plane = slab * planes / slabs; plane < (slab + 1) * planes / slabs; ++plane) {
            const int z = static_cast<int>(plane);
            if (from.in_plane[z].empty()) continue;
            worker.field.hold(z - near, z + near);
            for (int y = from.in_plane[z].first; y <= from.in_plane[z].last; ++y)
                for (int kind = 0; kind < from.kinds; ++kind) row(worker, z, y, kind);
        }
    });

    Worker& all = workers[0];
    for (size_t i = 1; i < workers.size(); ++i) {
        all.tally.add(workers[i].tally);
        all.far.insert(all.far.end(), workers[i].far.begin(), workers[i].far.end());
    }
    if (!all.far.empty()) look_far(all.far, to, spacing, team);
    const float infinity = std::numeric_limits<float>::infinity();
    for (const Far& point : all.far)
        all.tally.add(point.squared < unreached ? point.squared : infinity, point.area);
    return all.tally.spectrum(areas.unit);
}

}  // namespace

ContourComparison contour_distances(const LabelMaps& predictions, const LabelMaps& truths, size_t batch,
                                    size_t map, std::int64_t label, const ContourSettings& settings) {
    const size_t voxels = truths.shape[2] * truths.shape[3] * truths.shape[4];
    const size_t worth = std::max<size_t>(voxels / voxels_per_thread, 1);
    Team team(static_cast<int>(std::min<size_t>(std::max(settings.threads, 1), worth)));

    int width;
    std::vector<Bits> masks;
    {
        const Bits prediction = pack(predictions, batch, map, label, team);
        const Bits truth = pack(truths, batch, map, label, team);
        Box box;
        box.add(prediction);
        box.add(truth);
        if (box.z.empty()) return {};
        width = box.x.size();
        for (const Bits* bits : {&prediction, &truth}) masks.push_back(cut(*bits, box));
    }
    const Grid prediction(masks[0], settings.contour, settings.flat, width, team);
    const Grid truth(masks[1], settings.contour, settings.flat, width, team);
    ContourComparison result{};
    result.to_truth = measure(prediction, truth, settings, team);
    result.to_prediction = measure(truth, prediction, settings, team);
    compare_bands(masks[0], masks[1], settings, team, result);
    return result;
}

}  // namespace boundaryloss
