"""The area of the surface, or the length of the contour, through the voxels around a corner.

The areas are those of DeepMind's surface-distance (github.com/google-deepmind/surface-distance, Apache-2.0)
and of MONAI's `use_subvoxels`, which list all 256 patterns of eight voxels. Up to reflections, permutations
of the axes and the exchange of object and background there are 13, which follow.
"""

from collections.abc import Sequence
from functools import cache
from itertools import permutations, product
from math import hypot, prod

# Pattern -> normals of its triangles, in eighths of a voxel's face along each axis. Of the voxels (z, y, x),
# each 0 or 1, bit 7 - (4 z + 2 y + x) of a pattern stands for one.
_TRIANGLES = {
    1: ((1, 1, 1),),
    3: ((2, 2, 0), (2, 2, 0)),
    6: ((1, 1, 1), (1, 1, 1)),
    7: ((1, 1, 1), (2, 2, 2), (4, 0, 0)),
    15: ((4, 0, 0), (4, 0, 0)),
    22: ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    23: ((1, 1, 1), (1, 1, 1), (2, 2, 2), (2, 2, 2)),
    24: ((1, 1, 1), (1, 1, 1)),
    25: ((0, 2, 2), (0, 2, 2), (1, 1, 1)),
    27: ((0, 2, 2), (1, 1, 1), (2, 0, 2), (3, 3, 3)),
    30: ((1, 1, 1), (1, 1, 1), (2, 2, 2), (4, 0, 0)),
    60: ((2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)),
    105: ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
}
_VOXELS = list(product((0, 1), repeat=3))


@cache
def areas_of_codes(spacing: tuple[float, ...]) -> list[float]:
    """Return the area of each of the 256 patterns of 2x2x2 voxels, or the length of each of 16 of 2x2."""
    if len(spacing) == 2:
        return _lengths(*spacing)
    face = [prod(spacing) / step for step in spacing]
    areas = [0.0] * 256
    for pattern, triangles in _TRIANGLES.items():
        for axes in permutations(range(3)):
            area = sum(hypot(*(n[a] / 8 * face[i] for i, a in enumerate(axes))) for n in triangles)
            for flips in _VOXELS:
                moved = _moved(pattern, axes, flips)
                areas[moved] = areas[255 - moved] = area
    return areas


def _moved(pattern: int, axes: Sequence[int], flips: Sequence[int]) -> int:
    """Return the pattern with its axes in another order, and some of them reversed."""
    result = 0
    for bit, voxel in enumerate(reversed(_VOXELS)):
        if pattern >> bit & 1:
            z, y, x = (voxel[axis] ^ flip for axis, flip in zip(axes, flips, strict=True))
            result |= 1 << 7 - (4 * z + 2 * y + x)
    return result


def _lengths(vertical: float, horizontal: float) -> list[float]:
    """Return the patterns as 0b(top left)(top right)(bottom left)(bottom right)."""
    corner = hypot(vertical, horizontal) / 2
    lengths = [corner] * 16
    lengths[0b0000] = lengths[0b1111] = 0.0
    lengths[0b0011] = lengths[0b1100] = horizontal
    lengths[0b0101] = lengths[0b1010] = vertical
    lengths[0b0110] = lengths[0b1001] = 2 * corner
    return lengths
