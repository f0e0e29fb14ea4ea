// From points of a grid to the nearest points of a contour: what nearest.cpp offers to contours.cpp.
//
// Along x a grid may have two kinds of points, which are apart in memory: even ones, where contours may be,
// and odd ones, where only points look that are odd themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace boundaryloss {

constexpr float unreached = 1e37f;  // squared: more than spacings of 1e12 lead to
constexpr int most_lanes = 16;      // rows can be read so far before and after their points

// The steps along y from points of the grid to the nearest point of the contour, in some planes.
template <class Steps>
struct Columns {
    static constexpr Steps none = std::numeric_limits<Steps>::max();  // so far at least, or there is none

    int first_plane = 0, last_plane = -1;  // those to look at
    std::vector<const Steps*> planes;      // a plane's first row; null where the contour has no point
    int rows = 0, count[2] = {0, 0};     // points of each kind in a row: of one kind only if the second is 0
    std::ptrdiff_t stride = 0, odd = 0;  // from row to row, and from the even points to the odd ones
    // Squared distances: along z from plane to plane; along x to the even points before and after one of a
    // kind.
    std::vector<float> z, x[2];
    float y = 0;  // of a step

    const float* along_x(int kind) const { return x[kind].data() + count[0] + most_lanes; }
};

template <class Steps>
struct NearestIn {
    // Fills a plane from its points: rows of bits, `words` for each kind, `row_words` apart.
    void (*fill)(const Columns<Steps>&, const std::uint64_t* points, std::size_t words, std::size_t row_words,
                 Steps* plane);
    // Lowers the squared distances from points of one kind in a row to those to the nearest point in the
    // planes.
    void (*lower)(const Columns<Steps>&, int z, int y, int kind, const int* at, int points, float* squared);
};

struct Nearest {
    NearestIn<std::uint8_t> bytes;
    NearestIn<std::uint32_t> words;
};

}  // namespace boundaryloss
