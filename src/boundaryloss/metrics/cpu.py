"""CPU tensors: the native code (`native/contours.cpp`), or the reference where an install has none."""

from functools import cache
from itertools import product

import torch
from torch import Tensor

from boundaryloss.distance.extension import native_code
from boundaryloss.metrics import reference
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
    if (native := native_code()) is None:
        return reference.measure(predictions, truths, one, contour, spacing, tolerance)
    flat = len(spacing) == 2
    if flat:  # a slice, whose thickness plays no part
        predictions, truths = predictions.unsqueeze(2), truths.unsqueeze(2)
    *sides, shared, either = native.contour_distances(
        predictions,
        truths,
        *one,
        contour,
        flat,
        [1.0, *spacing] if flat else spacing,
        _areas(contour, tuple(spacing)),
        tolerance,
        torch.get_num_threads(),
    )
    values = [torch.tensor(side, dtype=torch.float64) for side in sides]
    return Comparison(Distances(*values[:2]), Distances(*values[2:]), shared, either)


@cache
def _areas(contour: str, spacing: tuple[float, ...]) -> list[float]:
    """Return the area of a point by the 2x2x2 voxels around it, twice where it is at their centre.

    So the areas of faces are sixteenths (in 2-D quarters) of a face for each of the pairs that differ.
    """
    if contour == "centers":
        return [1.0] * 256
    if contour == "surfels":
        areas = areas_of_codes(spacing)
        return areas if len(spacing) == 3 else [areas[code % 16] for code in range(256)]
    flat = len(spacing) == 2
    z, y, x = (1.0, *spacing) if flat else spacing
    parts = [area / (8 if flat else 16) for area in (y * x, z * x, z * y)]
    areas = [0.0] * 256
    for code, (axis, part) in product(range(256), enumerate(parts)):
        stride = 4 >> axis
        pairs = [bit for bit in range(8) if not bit & stride]
        areas[code] += part * sum((code >> bit ^ code >> bit + stride) & 1 for bit in pairs)
    return areas
