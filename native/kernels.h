// What kernels.cpp offers to distance.cpp, one table per instruction-set level.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "team.h"

namespace boundaryloss {

// One label map: contiguous bytes, a class each.
struct Image {
    const std::uint8_t* labels;
    std::size_t depth, height, width;
    std::size_t size() const { return depth * height * width; }
    const std::uint8_t* row(std::size_t z, std::size_t y) const { return labels + (z * height + y) * width; }
};

// Squared cost of every offset along one axis: at(k) for |k| <= reach, readable a vector beyond.
class Costs {
public:
    Costs(std::size_t length, double spacing, double face_offset);
    const float* at(std::ptrdiff_t offset) const { return table_.data() + reach_ + offset; }
    float per_unit() const { return per_unit_; }  // voxels

private:
    std::ptrdiff_t reach_;
    float per_unit_;
    std::vector<float> table_;
};

struct Metric {
    Costs z, y, x;
    double inside_offset;  // what a distance inside an object is reduced by: "pixel" takes one voxel
};

// Floats of scratch for an image: one per voxel and a little for the rows' padding.
std::size_t row_stride(std::size_t width);

struct Kernels {
    // Signed maps of classes [first, first + count), one plane each.
    void (*signed_distance)(const Image&, int first, int count, const Metric&, float* scratch, Team&,
                            float* out);
    // Distance to the nearest voxel of class 0.
    void (*distance_transform)(const Image&, const Metric&, float* scratch, Team&, float* out);
};

const Kernels& kernels();  // the best level that this processor has

}  // namespace boundaryloss
