"""One case -> its objects, each with its components and which of them overlap: what all scores begin with."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, get_args

import numpy as np
import torch
from scipy import ndimage

from boundaryloss.distance.op import components
from boundaryloss.files import IGNORE
from boundaryloss.report.store import Contour

MANY = 1 << 20  # pairs that are looked up in a table of all; of more they are sorted


@dataclass(frozen=True)
class Object:
    """Hold the masks of one object, cut to the box that holds both."""

    label: int
    prediction: np.ndarray
    truth: np.ndarray
    corner: tuple[int, ...]  # of the box, in the image
    spacing: tuple[float, ...]
    diagonal: float  # of the image

    @cached_property
    def lesions(self) -> np.ndarray:
        """Number the components of the truth."""
        return _number(self.truth)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Number the components of the prediction."""
        return _number(self.prediction)

    @cached_property
    def pairs(self) -> np.ndarray:
        """List the pairs (lesion, predicted component) that share a voxel: these match."""
        shared, base = self.prediction & self.truth, int(self.predicted.max()) + 1
        pairs = self.lesions[shared].astype(np.int64) * base + self.predicted[shared]
        few = pairs.max(initial=0) < MANY
        found = np.flatnonzero(np.bincount(pairs)) if few else np.unique(pairs)
        return np.stack(np.divmod(found, base), axis=1)

    def sizes(self, truth: int, prediction: int) -> dict[str, float | None]:
        """Return sizes in voxels as the columns of a table, in the unit of the case."""
        voxel, flat = float(np.prod(self.spacing)), self.truth.ndim == 2
        return {
            "truth_mm2": truth * voxel if flat else None,
            "prediction_mm2": prediction * voxel if flat else None,
            "truth_mm3": None if flat else truth * voxel,
            "prediction_mm3": None if flat else prediction * voxel,
        }


def compare_objects(
    prediction: Any,
    truth: Any,
    objects: Mapping[int, Sequence[int]] | None,
    spacing: float | Sequence[float],
    ignore: int | None,
) -> Iterator[Object]:
    """Yield the objects of a case, one after the other; the arguments are those of `case_metrics`."""
    prediction, truth = _labels(prediction, "prediction"), _labels(truth, "truth")
    steps = _checked(prediction, truth, spacing)
    if ignore is not None:
        prediction, truth = without_unlabelled(prediction, truth, ignore)
    if objects is None:
        held = np.union1d(np.unique(prediction), np.unique(truth)).tolist()
        objects = {value: (value,) for value in held if value}
    diagonal = float(np.hypot.reduce(np.multiply(truth.shape, steps)))
    whole = _held(prediction, truth)
    prediction, truth = prediction[whole], truth[whole]
    small = np.min_scalar_type(max(int(prediction.max()), int(truth.max())))  # less memory to go through
    prediction, truth = (np.ascontiguousarray(array.astype(small)) for array in (prediction, truth))
    boxes = [ndimage.find_objects(array) for array in (prediction, truth)]
    for label, values in objects.items():
        held = [one[v - 1] for one in boxes for v in values if 0 < v <= len(one) and one[v - 1]]
        box = union(held) or (slice(0, 1),) * truth.ndim
        p, t = (_is_any(array[box], values) for array in (prediction, truth))
        corner = tuple(side.start + outer.start for side, outer in zip(box, whole, strict=True))
        yield Object(label, p, t, corner, steps, diagonal)


def objects_of(
    label_values: Sequence[int], regions: Sequence[Sequence[int]] = (), painted: Sequence[int] = ()
) -> dict[int, tuple[int, ...]]:
    """Return the `objects` of `case_metrics` for arrays of class indices, named by their values in the files.

    They are the foreground classes, or the `regions` of classes, each named by the value of the class that
    it is `painted` as.
    """
    if regions:
        return {label_values[i]: tuple(region) for i, region in zip(painted, regions, strict=True)}
    return {value: (index,) for index, value in enumerate(label_values) if index}


def without_unlabelled(
    prediction: np.ndarray, truth: np.ndarray, ignore: int = IGNORE
) -> tuple[np.ndarray, np.ndarray]:
    """Return both with background where the truth says nothing, so that no metric counts it."""
    unlabelled = truth == ignore
    return np.where(unlabelled, 0, prediction), np.where(unlabelled, 0, truth)


def as_array(values: Any) -> np.ndarray:
    """Return an array or a tensor, wherever it lies, as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def checked_options(tolerance: float, contour: str) -> tuple[float, Any]:
    """Return both, or raise a ValueError that says what to give."""
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance {tolerance}: give a distance in mm, 0 or more")
    if contour not in get_args(Contour):
        raise ValueError(f"contour must be 'faces', 'centers' or 'surfels', got {contour!r}")
    return float(tolerance), contour


def boxes_of(numbers: np.ndarray) -> list[tuple[slice, ...]]:
    """Return the box around each component."""
    return [_held(numbers)] if numbers.max() == 1 else ndimage.find_objects(numbers)


def union(boxes: Iterable[tuple[slice, ...]]) -> tuple[slice, ...]:
    """Return the smallest box around all `boxes`; of none, no box."""
    return tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True)
    )


def _labels(values: Any, what: str) -> np.ndarray:
    labels = as_array(values)
    if labels.dtype == bool:
        return labels.astype(np.uint8)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"{what}: labels are integers or booleans, got {labels.dtype}; take argmax over the classes, or "
            "compare with a threshold"
        )
    if labels.size and labels.min() < 0:
        raise ValueError(f"{what}: labels count from 0, got {labels.min()}; give 0 to what is not judged")
    return labels


def _checked(
    prediction: np.ndarray, truth: np.ndarray, spacing: float | Sequence[float]
) -> tuple[float, ...]:
    """Return one size of a voxel per axis, if all fit together."""
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has the shape {prediction.shape}, truth {truth.shape}; give one grid")
    if truth.ndim not in (2, 3) or not truth.size:
        raise ValueError(
            f"a case is 2-D or 3-D and not empty, got the shape {truth.shape}; give one case at a time, "
            "without axes of batch and class"
        )
    steps = np.asarray(spacing, float)
    steps = tuple(np.broadcast_to(steps, truth.ndim).tolist()) if steps.ndim == 0 else tuple(steps.tolist())
    if len(steps) != truth.ndim or not all(0 < step < np.inf for step in steps):
        raise ValueError(f"spacing {spacing}: give {truth.ndim} positive numbers, in the order of the axes")
    return steps


def _held(*arrays: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box that holds whatever is not background in any; at least one voxel."""
    held = reduce(np.logical_or, (array != 0 for array in arrays))
    box = [slice(0, size) for size in held.shape]
    # First whole planes of the memory, then what is left.
    for axis in np.argsort(held.strides)[::-1].tolist():
        rest = tuple(other for other in range(held.ndim) if other != axis)
        places = np.flatnonzero(held[tuple(box)].any(axis=rest))
        box[axis] = slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 1)
    return tuple(box)


def _is_any(array: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return where one of a few values is."""
    found = np.zeros(array.shape, bool)
    for value in values:
        found |= array == value
    return found


def _number(mask: np.ndarray) -> np.ndarray:
    """Number the components of a mask from 1 on, by their first voxels; diagonal neighbours connect."""
    numbers = components(torch.from_numpy(mask)[None, None])[0, 0].numpy()  # 1 + index of the first voxel
    inside = numbers[mask]
    first = inside[inside == np.flatnonzero(mask) + 1]
    numbers[mask] = np.searchsorted(first, inside) + 1
    return numbers
