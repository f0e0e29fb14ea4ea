// The grid on which contours lie: a bit a point.
#pragma once

#include <vector>

#include "bits.h"
#include "contours.h"

namespace boundaryloss {

namespace {

// Points along an axis of n voxels in half voxels: even ones lie between voxels, odd ones at centres.
struct Axis {
    int first, stride, count;
    int at(int index) const { return first + stride * index; }
};

Axis axis_of(size_t voxels, Contour contour, bool none) {
    const int n = static_cast<int>(voxels);
    if (none) return {1, 2, 1};
    if (contour == Contour::faces) return {0, 1, 2 * n + 1};
    return contour == Contour::surfels ? Axis{0, 2, n + 1} : Axis{1, 2, n};
}

// Of the voxels with a margin, those before and after a point; one and the same at a centre.
int before(int at) { return (at + 1) / 2; }
int after(int at) { return at / 2 + 1; }

struct Around {  // the rows of voxels around a row of points
    const Word* rows[4];
    Around(const Bits& mask, int z, int y)
        : rows{mask.row(before(z), before(y)), mask.row(before(z), after(y)), mask.row(after(z), before(y)),
               mask.row(after(z), after(y))} {}
    Word some(size_t w) const { return rows[0][w] | rows[1][w] | rows[2][w] | rows[3][w]; }
    Word every(size_t w) const { return rows[0][w] & rows[1][w] & rows[2][w] & rows[3][w]; }
    // Of each row, the voxel with margin `x` and the next one: bits 2 k and 2 k + 1.
    unsigned pairs(int x) const {
        unsigned result = 0;
        for (int k = 0; k < 4; ++k) {
            const Word* const at = rows[k] + x / 64;
            const Word two = at[0] >> x % 64 | at[1] << 1 << (63 - x % 64);
            result |= static_cast<unsigned>(two & 3) << 2 * k;
        }
        return result;
    }
};

// Where a point of a grid belongs to a contour. Of "faces" a row has the points between voxels first (bit x:
// between x and x + 1, the margin included), then those at centres (bit x: at x + 1); the others have one of
// these.
class Grid {
public:
    Grid(const Bits& mask, Contour contour, bool flat, int width, Team& team)
        : mask(mask),
          z(axis_of(mask.planes - 2, contour, flat)),
          y(axis_of(mask.rows - 2, contour, false)),
          kinds(contour == Contour::faces ? 2 : 1),
          first_kind(contour == Contour::centers ? 1 : 0),
          count{width + 1 - first_kind, kinds == 2 ? width : 0},
          words(mask.words - 1),
          points(z.count, y.count, 64 * kinds * words),
          in_plane(z.count) {
        team.each(points.planes, [&](size_t plane, int) {
            for (size_t row = 0; row < points.rows; ++row) {
                const int z_at = z.at(static_cast<int>(plane)), y_at = y.at(static_cast<int>(row));
                Word* const out = points.row(plane, row);
                const bool some = contour == Contour::centers ? rim(before(z_at), before(y_at), flat, out)
                                                              : fill(Around(mask, z_at, y_at), out);
                if (some) in_plane[plane].add(static_cast<int>(row));
            }
        });
        for (size_t plane = 0; plane < points.planes; ++plane)
            if (!in_plane[plane].empty()) planes.add(static_cast<int>(plane));
    }

    const Bits& mask;
    Axis z, y;
    int kinds, first_kind;
    int count[2];
    size_t words;  // of one kind
    Bits points;
    std::vector<Range> in_plane;
    Range planes;

private:
    // A point belongs to a contour if the voxels around it differ.
    bool fill(const Around& around, Word* out) const {
        Word any = 0, s = around.some(0), e = around.every(0);
        for (size_t w = 0; w < words; ++w) {
            const Word after_s = around.some(w + 1), after_e = around.every(w + 1);
            const Word next_s = s >> 1 | after_s << 63, next_e = e >> 1 | after_e << 63;
            out[w] = (s | next_s) & ~(e & next_e);
            if (kinds == 2) out[words + w] = next_s & ~next_e;
            any |= out[w];
            s = after_s, e = after_e;
        }
        return any != 0;
    }

    bool rim(int z, int y, bool flat, Word* out) const {
        const Word* const own = mask.row(z, y);
        Word any = 0;
        for (size_t w = 0; w < words; ++w) {
            auto shifted = [&](const Word* row) { return row[w] >> 1 | row[w + 1] << 63; };
            Word inside = own[w] & (own[w] >> 2 | own[w + 1] << 62) & shifted(mask.row(z, y - 1)) &
                          shifted(mask.row(z, y + 1));
            if (!flat) inside &= shifted(mask.row(z - 1, y)) & shifted(mask.row(z + 1, y));
            any |= out[w] = shifted(own) & ~inside;
        }
        return any != 0;
    }
};

}  // namespace

}  // namespace boundaryloss
