"""The definition, in plain torch, on any device: the points of a contour, their areas, their distances.

A contour is the rim of the object against anything else, what lies outside the image included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from boundaryloss.distance import distance_transform, signed_distance_map
from boundaryloss.distance.checks import differ
from boundaryloss.metrics.statistics import Comparison, Distances
from boundaryloss.metrics.surfels import areas_of_codes


def measure(
    predictions: Tensor,
    truths: Tensor,
    one: tuple[int, int, int],
    contour: str,
    spacing: list[float],
    tolerance: float,
) -> Comparison:
    """Compare the voxels with the label of `one` (sample, map, label) of maps `(batch, map, *space)`."""
    sample, channel, label = one
    masks = [~differ(maps[sample, channel], label) for maps in (predictions, truths)]
    box = _box(masks[0] | masks[1])
    masks = [mask[box] for mask in masks]
    first, second = (_CONTOURS[contour](mask, spacing) for mask in masks)
    bands = [_band(mask, spacing, tolerance) for mask in masks]
    return Comparison(
        _distances(first, second),
        _distances(second, first),
        int((bands[0] & bands[1]).sum()),
        int((bands[0] | bands[1]).sum()),
    )


def _box(mask: Tensor) -> tuple[slice, ...]:
    """Return the smallest box around a mask; of an empty one, a voxel."""
    box = []
    for axis in range(mask.ndim):
        others = [other for other in range(mask.ndim) if other != axis]
        where = mask.any(others).nonzero()[:, 0].tolist() or [0]
        box.append(slice(where[0], where[-1] + 1))
    return tuple(box)


def _distances(one: "Points", other: "Points") -> Distances:
    return Distances.of(distance_transform(~other.on, spacing=other.steps)[one.on], one.areas)


def _band(mask: Tensor, spacing: list[float], tolerance: float) -> Tensor:
    """Return the voxels of a mask within `tolerance` of its contour, the edge of the image included."""
    distance = signed_distance_map(F.pad(mask, (1, 1) * mask.ndim)[None, None], spacing=spacing)[0, 0]
    return mask & (distance[tuple(slice(1, -1) for _ in mask.shape)] >= -tolerance)


@dataclass(frozen=True)
class Points:
    """Points of a contour: where they are on a grid, how fine that is, and their areas in its order."""

    on: Tensor
    steps: list[float]
    areas: Tensor


def faces(mask: Tensor, spacing: Sequence[float]) -> Points:
    """Sample the faces of the voxels at their centres, the midpoints of their edges and their corners.

    On a grid of half the voxel size a point lies on the contour if the 1 to 8 voxels around it are not all
    alike. The composite trapezoid rule gives a centre 4/16 of its face, a midpoint 2/16, a corner 1/16
    (of a pixel's side: the middle 2/4, an end 1/4); what several faces share has the sum of its parts.
    """
    padded = _padded(mask)
    some = every = padded
    for axis in range(mask.ndim):
        some, every = _refined(torch.logical_or, some, axis), _refined(torch.logical_and, every, axis)
    on = some & ~every
    areas = on.new_zeros(int(on.sum()), dtype=wide(mask))
    for normal in range(mask.ndim):
        others = [axis for axis in range(mask.ndim) if axis != normal]
        parts = torch.logical_xor(*_neighbours(padded, normal)).byte()
        for axis in others:
            parts = _refined(torch.add, parts, axis, centre=2)
        shares = torch.zeros_like(on, dtype=torch.uint8)
        shares.movedim(normal, 0)[::2] = parts.movedim(normal, 0)
        areas += shares[on] * (prod(spacing[axis] for axis in others) / 4 ** len(others))
    return Points(on, [step / 2 for step in spacing], areas)


def centers(mask: Tensor, spacing: Sequence[float]) -> Points:
    """Take the centres of the voxels at the rim, each with an area of 1: the mask minus its erosion."""
    inside = mask
    for axis in range(mask.ndim):
        padded = F.pad(mask.movedim(axis, -1), (1, 1)).movedim(-1, axis)
        size = mask.shape[axis]
        inside = inside & padded.narrow(axis, 0, size) & padded.narrow(axis, 2, size)
    on = mask & ~inside
    return Points(on, list(spacing), on.new_ones(int(on.sum()), dtype=wide(mask)))


def surfels(mask: Tensor, spacing: Sequence[float]) -> Points:
    """Take the corners between voxels, each with the area of a surface through the voxels around it."""
    codes = _padded(mask).byte()
    for axis in range(mask.ndim):  # the first voxel around a corner has the highest bit
        first, second = _neighbours(codes, axis)
        codes = (first << 2 ** (mask.ndim - 1 - axis)) | second
    on = (codes != 0) & (codes != 2**2**mask.ndim - 1)
    areas = torch.tensor(areas_of_codes(tuple(spacing)), dtype=wide(mask), device=mask.device)
    return Points(on, list(spacing), areas[codes[on].long()])


_CONTOURS: dict[str, Callable[[Tensor, Sequence[float]], Points]] = {
    "faces": faces,
    "centers": centers,
    "surfels": surfels,
}


def wide(values: Tensor) -> torch.dtype:
    """Return the widest floating type on the device of `values`."""
    return torch.float32 if values.device.type == "mps" else torch.float64


def _padded(mask: Tensor) -> Tensor:
    return F.pad(mask, (1, 1) * mask.ndim)


def _neighbours(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return all values but the last along an axis, and all but the first: those around every gap."""
    between = values.shape[axis] - 1
    return values.narrow(axis, 0, between), values.narrow(axis, 1, between)


def _refined(share: Callable[[Tensor, Tensor], Tensor], values: Tensor, axis: int, centre: int = 1) -> Tensor:
    """Go from n + 2 voxels along an axis to 2 n + 1 points: what neighbours share, and the voxels between."""
    gaps = share(*_neighbours(values, axis)).movedim(axis, 0)
    points = gaps.new_empty((2 * len(gaps) - 1, *gaps.shape[1:]))
    points[::2] = gaps
    points[1::2] = values.movedim(axis, 0)[1:-1] * centre
    return points.movedim(0, axis)
