// Components by runs and union-find. The forest lives in the result: the first voxel of a run points to the
// first voxel of an earlier run, or to itself. So the root of a component is its first voxel, whatever the
// order in which runs met, and threads need nothing of each other but the result:
//
//   scan    every slab of rows by itself: finds the runs, and unites those of neighbouring rows
//   meet    unites the runs on both sides of every cut between slabs, on one thread
//   write   every slab by itself: runs get their root, all else 0
#include "components.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <vector>

#include "memory.h"
#include "team.h"

namespace boundaryloss {

namespace {

constexpr std::size_t voxels_per_thread = 1 << 18;  // fewer are not worth a thread

struct Run {
    std::int32_t begin, end;  // along x
};

struct Slab {
    std::size_t begin = 0, end = 0;  // rows
    std::vector<Run> runs;
    std::vector<std::size_t> first;  // of each row, and the end
    std::span<const Run> row(std::size_t r) const {
        return {runs.data() + first[r - begin], runs.data() + first[r - begin + 1]};
    }
};

// The next up to 64 voxels as bits.
std::uint64_t bits(const std::uint8_t* voxels, std::size_t count) {
    std::uint8_t bytes[64] = {};
    std::memcpy(bytes, voxels, count);
    std::uint64_t result = 0;
    for (int i = 0; i < 8; ++i) {
        std::uint64_t eight = 0;
        for (int j = 0; j < 8; ++j) eight |= static_cast<std::uint64_t>(bytes[8 * i + j]) << (8 * j);
        // The product moves the lowest bit of byte j to bit 56 + j; no two of its terms meet.
        result |= (eight * 0x0102040810204080u >> 56) << (8 * i);
    }
    return result;
}

void find_runs(const std::uint8_t* row, std::size_t width, std::vector<Run>& runs) {
    std::uint64_t before = 0;  // whether a run is open
    for (std::size_t x = 0; x < width; x += 64) {
        const std::size_t count = std::min<std::size_t>(width - x, 64);
        const std::uint64_t here = count == 64 ? bits(row + x, 64) : bits(row + x, count);
        std::uint64_t edges = here ^ (here << 1 | before);
        for (; edges; edges &= edges - 1) {
            const auto at = static_cast<std::int32_t>(x) + std::countr_zero(edges);
            if (before)
                runs.back().end = at;
            else
                runs.push_back({at, static_cast<std::int32_t>(width)});
            before ^= 1;
        }
    }
}

class Labelling {
public:
    Labelling(const std::uint8_t* mask, std::array<std::size_t, 3> shape, std::int32_t* out)
        : mask_(mask), height_(shape[1]), width_(shape[2]), rows_(shape[0] * shape[1]), out_(out) {}

    void run(Team& team) {
        slabs_.resize(std::min<std::size_t>(team.size(), rows_));
        for (std::size_t s = 0; s < slabs_.size(); ++s) {
            slabs_[s].begin = rows_ * s / slabs_.size();
            slabs_[s].end = rows_ * (s + 1) / slabs_.size();
        }
        team.each(slabs_.size(), [&](std::size_t s, int) { scan(slabs_[s]); });
        for (std::size_t s = 1; s < slabs_.size(); ++s) meet(s);
        team.each(slabs_.size(), [&](std::size_t s, int) { write(slabs_[s]); });
    }

private:
    void scan(Slab& slab) {
        slab.first.push_back(0);
        for (std::size_t r = slab.begin; r < slab.end; ++r) {
            find_runs(mask_ + r * width_, width_, slab.runs);
            slab.first.push_back(slab.runs.size());
            for (const Run& run : slab.row(r)) set(r * width_ + run.begin, r * width_ + run.begin);
            each_earlier_neighbour(r, [&](std::size_t other) {
                if (other >= slab.begin) unite_rows(slab.row(other), other, slab.row(r), r);
            });
        }
    }

    void meet(std::size_t s) {
        const Slab& slab = slabs_[s];
        for (std::size_t r = slab.begin; r < std::min(slab.begin + height_ + 1, slab.end); ++r)
            each_earlier_neighbour(r, [&](std::size_t other) {
                if (other >= slab.begin) return;
                std::size_t home = s - 1;
                while (other < slabs_[home].begin) --home;
                unite_rows(slabs_[home].row(other), other, slab.row(r), r);
            });
    }

    void write(const Slab& slab) {
        for (std::size_t r = slab.begin; r < slab.end; ++r) {
            std::int32_t* const row = out_ + r * width_;
            std::int32_t x = 0;
            for (const Run& run : slab.row(r)) {
                std::fill(row + x, row + run.begin, 0);
                const std::size_t root = root_of(r * width_ + run.begin);
                set(r * width_ + run.begin, root);  // others may pass here on their way
                std::fill(row + run.begin + 1, row + run.end, static_cast<std::int32_t>(root + 1));
                x = run.end;
            }
            std::fill(row + x, row + width_, 0);
        }
    }

    template <class Visit>
    void each_earlier_neighbour(std::size_t r, Visit visit) {
        const std::size_t y = r % height_;
        if (y > 0) visit(r - 1);
        if (r < height_) return;
        if (y > 0) visit(r - height_ - 1);
        visit(r - height_);
        if (y + 1 < height_) visit(r - height_ + 1);
    }

    void unite_rows(std::span<const Run> earlier, std::size_t other, std::span<const Run> later,
                    std::size_t r) {
        const Run *a = earlier.data(), *b = later.data();
        const Run *const last_a = a + earlier.size(), *const last_b = b + later.size();
        while (a != last_a && b != last_b) {
            if ((a->end >= b->begin) & (b->end >= a->begin))
                unite(other * width_ + a->begin, r * width_ + b->begin);
            const bool next = a->end < b->end;  // without a branch, which nobody could predict
            a += next;
            b += !next;
        }
    }

    void unite(std::size_t a, std::size_t b) {
        if (get(a) == get(b)) return;
        a = shortened(a);
        b = shortened(b);
        if (a != b) set(std::max(a, b), std::min(a, b));
    }

    std::size_t shortened(std::size_t i) {
        for (std::size_t up; (up = get(i)) != i; i = up) {
            up = get(up);
            set(i, up);
        }
        return i;
    }

    std::size_t root_of(std::size_t i) const {
        for (std::size_t up; (up = get(i)) != i;) i = up;
        return i;
    }

    // As the result has it, one more. While slabs are written, threads read what others may be writing.
    std::size_t get(std::size_t i) const { return __atomic_load_n(out_ + i, __ATOMIC_RELAXED) - 1; }
    void set(std::size_t i, std::size_t parent) {
        __atomic_store_n(out_ + i, static_cast<std::int32_t>(parent + 1), __ATOMIC_RELAXED);
    }

    const std::uint8_t* mask_;
    const std::size_t height_, width_, rows_;
    std::int32_t* out_;
    std::vector<Slab> slabs_;
};

// Numbers the components 1, 2, .. by their first voxels, in place, and returns their totals.
std::vector<double> add_up(const float* sizes, std::int32_t* numbers, std::size_t voxels) {
    constexpr std::size_t stretch = 16;
    std::vector<double> totals;
    for (std::size_t begin = 0; begin < voxels; begin += stretch) {
        const std::size_t end = std::min(begin + stretch, voxels);
        std::int32_t some = 0;
        for (std::size_t i = begin; i < end; ++i) some |= numbers[i];
        if (!some) continue;
        for (std::size_t i = begin; i < end; ++i) {
            if (!numbers[i]) continue;
            const auto first = static_cast<std::size_t>(numbers[i]) - 1;
            if (first == i) {
                totals.push_back(0);
                numbers[i] = static_cast<std::int32_t>(totals.size());
            } else {
                numbers[i] = numbers[first];
            }
            totals[numbers[i] - 1] += static_cast<double>(sizes[i]);
        }
    }
    return totals;
}

int worth_threads(std::size_t voxels, int threads) {
    const std::size_t worth = std::max<std::size_t>(voxels / voxels_per_thread, 1);
    return static_cast<int>(std::min<std::size_t>(std::max(threads, 1), worth));
}

}  // namespace

void components(const std::uint8_t* masks, std::size_t count, std::array<std::size_t, 3> shape, int threads,
                std::int32_t* out) {
    const std::size_t voxels = shape[0] * shape[1] * shape[2];
    threads = worth_threads(count * voxels, threads);
    const bool side_by_side = count >= static_cast<std::size_t>(threads);
    expect_writes(out, count * voxels);
    Team outer(side_by_side ? threads : 1), alone(1), together(side_by_side ? 1 : threads);
    outer.each(count, [&](std::size_t item, int) {
        Labelling(masks + item * voxels, shape, out + item * voxels).run(side_by_side ? alone : together);
    });
}

void component_factors(const float* sizes, std::int32_t* numbers, std::size_t images, std::size_t classes,
                       std::size_t voxels, double most, int threads, float* out) {
    const std::size_t count = images * classes;
    std::vector<std::vector<double>> totals(count);
    expect_writes(out, count * voxels);
    Team team(worth_threads(count * voxels, threads));
    team.each(count, [&](std::size_t item, int) {
        totals[item] = add_up(sizes + item * voxels, numbers + item * voxels, voxels);
    });
    std::vector<double> means(classes);
    for (std::size_t c = 0; c < classes; ++c) {
        double sum = 0;
        std::size_t found = 0;
        for (std::size_t item = c; item < count; item += classes) {
            for (double total : totals[item]) sum += total;
            found += totals[item].size();
        }
        means[c] = sum / static_cast<double>(std::max<std::size_t>(found, 1));
    }
    team.each(count, [&](std::size_t item, int) {
        std::vector<float> factors{1};
        for (double total : totals[item])
            factors.push_back(static_cast<float>(std::clamp(means[item % classes] / total, 1 / most, most)));
        const std::int32_t* const own = numbers + item * voxels;
        for (std::size_t i = 0; i < voxels; ++i) out[item * voxels + i] = factors[own[i]];
    });
}

}  // namespace boundaryloss
