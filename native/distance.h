// Exact Euclidean distance maps of label maps on the CPU: what the Python module calls.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace boundaryloss {

enum class LabelType { uint8, int8, int16, int32, int64 };

// Label maps (batch, map, z, y, x) as the caller has them; strides count elements.
struct LabelMaps {
    const void* data;
    LabelType type;
    std::array<std::size_t, 5> shape;
    std::array<std::ptrdiff_t, 5> strides;
};

struct Settings {
    std::int64_t num_classes;
    std::int64_t first_class;
    std::optional<std::int64_t> ignored;
    std::array<double, 3> spacing;  // z, y, x
    double face_offset;             // 1/2: distances to faces between voxels; 0: between centres
    int threads;
};

// Writes (batch, map * class, z, y, x). Returns the position of the first label that is no class, if any.
std::optional<std::size_t> signed_distance(const LabelMaps& maps, const Settings& settings, float* out);

// Distance of every voxel that is not 0 to the nearest voxel that is; (batch, map, z, y, x).
void distance_transform(const LabelMaps& maps, const Settings& settings, float* out);

}  // namespace boundaryloss
