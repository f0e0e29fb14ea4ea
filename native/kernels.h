// What kernels.cpp and nearest.cpp offer, one table per instruction-set level.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nearest.h"
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
    float face_offset() const { return face_offset_; }
    float squared_spacing() const { return squared_spacing_; }

private:
    std::ptrdiff_t reach_;
    float face_offset_, squared_spacing_;
    std::vector<float> table_;
};

struct Metric {
    Costs z, y, x;
    bool to_voxels;  // between voxels' centres: inside an object, what the official code takes off
};

struct Kernels {
    // Signed maps of classes [first, first + count), one plane each.
    void (*signed_distance)(const Image&, int first, int count, const Metric&, Team&, float* out);
    // Distance to the nearest voxel of class 0; false, and nothing is written, if there is none.
    bool (*distance_transform)(const Image&, const Metric&, Team&, float* out);
    const Nearest* nearest;
};

struct Level {
    const char* name;
    const Kernels* table;
};

const std::vector<Level>& levels();  // those that this processor has, the best one last
void use_level(std::size_t index);   // of `levels`, from the next call on; without it, the best one
const Kernels& kernels();            // of the level in use

}  // namespace boundaryloss
