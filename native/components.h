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

}  // namespace boundaryloss
