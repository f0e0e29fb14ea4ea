// Connected components of masks on the CPU: what the Python module calls.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace boundaryloss {

// Labels `count` contiguous masks (z, y, x) of bytes 0 and 1, in which voxels that share a face, an edge or a
// corner belong together. A voxel gets the index of its component's first voxel within the mask, plus one.
// A mask has fewer than 2^31 voxels.
void components(const std::uint8_t* masks, std::size_t count, std::array<std::size_t, 3> shape, int threads,
                std::int32_t* out);

// Writes the factor of every voxel that gives the components of a class the same total of `sizes`: the mean
// total of those of the class, in all images, by the component's own, no more than `most` and no less than
// 1 / most; 1 outside. `numbers` is what `components` gave, and then used up.
void component_factors(const float* sizes, std::int32_t* numbers, std::size_t images, std::size_t classes,
                       std::size_t voxels, double most, int threads, float* out);

}  // namespace boundaryloss
