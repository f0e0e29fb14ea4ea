// The voxels of masks along their contours.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "bits.h"
#include "contours.h"

namespace boundaryloss {

namespace {

// Rows of a band's reach: how far to both sides within `tolerance` of a voxel's centre voxels begin.
struct Reach {
    int z, y, x;
};

std::vector<Reach> reaches(const ContourSettings& settings, const Bits& mask) {
    auto cost = [](int k, double spacing) {
        const double steps = std::max(std::abs(k) - 0.5, 0.0) * spacing;
        return steps * steps;
    };
    const double limit = settings.tolerance * settings.tolerance;
    const auto& [sz, sy, sx] = settings.spacing;
    auto farthest = [&](double spent, double spacing, size_t size) {
        const double steps = std::sqrt(limit - spent) / spacing + 0.5;
        int k = static_cast<int>(std::min<double>(steps, static_cast<double>(size)));
        while (k > 0 && spent + cost(k, spacing) > limit) --k;
        while (k < static_cast<int>(size) && spent + cost(k + 1, spacing) <= limit) ++k;
        return k;
    };
    std::vector<Reach> result;
    const int most_z = settings.flat ? 0 : farthest(0, sz, mask.planes);
    for (int z = -most_z; z <= most_z; ++z) {
        const int most_y = farthest(cost(z, sz), sy, mask.rows);
        for (int y = -most_y; y <= most_y; ++y)
            result.push_back({z, y, farthest(cost(z, sz) + cost(y, sy), sx, 64 * mask.words)});
    }
    std::sort(result.begin(), result.end(), [](const Reach& a, const Reach& b) { return a.x < b.x; });
    return result;
}

// The voxels of a mask that are farther than `tolerance` from what is not in it.
Bits deep_in(const Bits& mask, const std::vector<Reach>& reaches, Team& team) {
    Bits deep = mask, eroded = mask;  // along x, by so many voxels as those of a reach have
    const int last_z = static_cast<int>(mask.planes) - 1, last_y = static_cast<int>(mask.rows) - 1;
    for (size_t first = 0, end, x = 0; first < reaches.size(); first = end, ++x) {
        for (end = first; end < reaches.size() && reaches[end].x == static_cast<int>(x);) ++end;
        team.each(mask.planes, [&](size_t plane, int) {
            for (int y = 0; y <= last_y; ++y) {
                Word* const out = deep.row(plane, y);
                for (size_t i = first; i < end && any_bit(out, mask.words); ++i) {
                    const Word* const row =
                        eroded.row(std::clamp(static_cast<int>(plane) + reaches[i].z, 0, last_z),
                                   std::clamp(y + reaches[i].y, 0, last_y));
                    for (size_t w = 0; w < mask.words; ++w) out[w] &= row[w];
                }
            }
        });
        team.each(mask.planes, [&](size_t plane, int) {
            for (int y = 0; y <= last_y; ++y) {
                Word *const row = eroded.row(plane, y), before = 0;
                for (size_t w = 0; w < mask.words; ++w) {
                    const Word own = row[w], after = w + 1 < mask.words ? row[w + 1] : 0;
                    row[w] &= (own << 1 | before >> 63) & (own >> 1 | after << 63);
                    before = own;
                }
            }
        });
    }
    return deep;
}

void compare_bands(const Bits& one, const Bits& other, const ContourSettings& settings, Team& team,
                   ContourComparison& result) {
    const std::vector<Reach> reach = reaches(settings, one);
    const Bits one_deep = deep_in(one, reach, team), other_deep = deep_in(other, reach, team);
    std::vector<std::int64_t> shared(one.planes), either(one.planes);
    team.each(one.planes, [&](size_t z, int) {
        for (size_t y = 0; y < one.rows; ++y)
            for (size_t w = 0; w < one.words; ++w) {
                const Word a = one.row(z, y)[w] & ~one_deep.row(z, y)[w];
                const Word b = other.row(z, y)[w] & ~other_deep.row(z, y)[w];
                shared[z] += std::popcount(a & b), either[z] += std::popcount(a | b);
            }
    });
    result.band_shared = std::accumulate(shared.begin(), shared.end(), std::int64_t{0});
    result.band_either = std::accumulate(either.begin(), either.end(), std::int64_t{0});
}

}  // namespace

}  // namespace boundaryloss
