// Distances between the contours of two masks on the CPU: what the Python module calls.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "distance.h"

namespace boundaryloss {

// Which points stand for a contour: centres, edges and corners of its faces; centres of the voxels at the
// rim; corners between voxels.
enum class Contour { faces, centers, surfels };

struct ContourSettings {
    Contour contour;
    bool flat;                      // images: the first axis is none
    std::array<double, 3> spacing;  // z, y, x
    // Of a point, by the 2x2x2 voxels around it: (z, y, x) in bit 7 - (4z + 2y + x).
    std::vector<double> areas;
    double tolerance;
    int threads;
};

// The distances that occur, ascending, and the area of the points that are so far; infinite to an empty mask.
struct Spectrum {
    std::vector<double> distances, areas;
};

struct ContourComparison {
    Spectrum to_truth, to_prediction;
    // Voxels within `tolerance` of their own mask's faces: in both, in any.
    std::int64_t band_shared, band_either;
};

// Compares the voxels that are `label` in one map of each.
ContourComparison contour_distances(const LabelMaps& predictions, const LabelMaps& truths, std::size_t batch,
                                    std::size_t map, std::int64_t label, const ContourSettings& settings);

}  // namespace boundaryloss
