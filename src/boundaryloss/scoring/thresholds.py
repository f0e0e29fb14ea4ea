"""Lesions found and false lesions at every threshold: a better network, or only a bolder one?"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from boundaryloss.report.store import OperatingPoint
from boundaryloss.scoring.objects import as_array

LOGITS = np.linspace(
    -6, 6, 25
)  # networks are sure of themselves: even steps of probability would miss it all
THRESHOLDS = tuple((1 / (1 + np.exp(-LOGITS))).round(4).tolist())

MANY = 200_000  # voxels; a tree of more takes longer than to label them at each threshold


def operating_points(
    probabilities: Any, truth: Any, *, name: str = "", label_values: Sequence[int] | None = None
) -> list[OperatingPoint]:
    """Count lesions at every threshold of `THRESHOLDS`, per foreground class of one case.

    A class is predicted where its probability exceeds the threshold. The curve of lesions found against
    false lesions tells a better network from one that only predicts more. The columns are listed under
    `OperatingPoint`; lesions are components, as in `case_metrics`.

    Args:
        probabilities: Floats from 0 to 1, `(class, *space)`, an array or a tensor; class 0 is background.
        truth: Class indices `(*space)`.
        name: Name of the case, for the rows.
        label_values: The label that names each class, background included. Default: its index.

    Returns:
        One row per foreground class and threshold.

    Raises:
        ValueError: The shapes do not fit, or the probabilities do not lie between 0 and 1.

    Example:
        Two lesions, of which one is seen with a probability of 0.4 only:

        >>> import numpy as np
        >>> truth, p = np.array([[1, 0, 0, 0, 1]]), np.array([[0.9, 0, 0, 0, 0.4]])
        >>> points = operating_points(np.stack([1 - p, p]), truth)
        >>> [(point.threshold, point.lesions_found) for point in points if 0.3 < point.threshold < 0.6]
        [(0.3775, 2), (0.5, 1)]
    """
    probabilities, truth = as_array(probabilities), as_array(truth)
    if truth.ndim not in (2, 3) or probabilities.shape[1:] != truth.shape or len(probabilities) < 2:
        raise ValueError(
            f"probabilities {probabilities.shape}, truth {truth.shape}: give (class, *space) with background "
            "first, and (*space), without an axis of batch"
        )
    if not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError("probabilities lie between 0 and 1; apply softmax or sigmoid to the logits")
    label_values = range(len(probabilities)) if label_values is None else label_values
    if len(label_values) != len(probabilities):
        raise ValueError(f"{len(label_values)} label_values for {len(probabilities)} classes; give one each")
    rows = []
    for index, label in enumerate(label_values[1:], start=1):
        level, wanted = _levels(probabilities[index]), truth == index
        box = (ndimage.find_objects(((level > 0) | wanted).astype(np.uint8)) or [...])[0]
        level, wanted = level[box], wanted[box]
        components, lesions = _label(wanted)
        peaks = np.zeros(lesions + 1, np.uint8)
        np.maximum.at(peaks, components[wanted], level[wanted])
        predicted, overlap, false = _above(level), _above(level[wanted]), _false_components(level, wanted)
        for place, threshold in enumerate(THRESHOLDS):
            rows.append(
                OperatingPoint(
                    name,
                    label,
                    threshold,
                    lesions,
                    lesions_found=int((peaks > place).sum()),
                    false_lesions=int(false[place]),
                    dice=float(2 * overlap[place] / (predicted[place] + wanted.sum())) if lesions else np.nan,
                )
            )
    return rows


def _levels(probability: np.ndarray) -> np.ndarray:
    """Return how many of the thresholds each voxel exceeds."""
    level = np.zeros(probability.shape, np.uint8)
    for threshold in THRESHOLDS:
        level += probability > threshold
    return level


def _above(levels: np.ndarray) -> np.ndarray:
    """Count what exceeds each threshold."""
    counts = np.bincount(levels.ravel(), minlength=len(THRESHOLDS) + 1)
    return counts[:0:-1].cumsum()[::-1]


def _label(mask: np.ndarray) -> tuple[np.ndarray, int]:
    found: Any = ndimage.label(mask, np.ones((3,) * mask.ndim))  # diagonal neighbours connect
    return found


def _false_components(level: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Count at each threshold the components of what exceeds it that touch nothing `wanted`."""
    above = _above(level)
    first = int((above > MANY).sum())  # from this threshold on one tree has the answer for all
    false = _by_tree(np.where(level > first, level, 0), wanted)
    for place in range(first):
        components, count = _label(level > place)
        false[place] = count - np.count_nonzero(np.unique(components[wanted]))
    return false


def _by_tree(level: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Count as `_false_components`, from a maximum spanning tree of the voxels.

    Neighbours are connected as long as both exceed the threshold. A graph has as many components as nodes
    less edges of its spanning tree, and those edges that exceed a threshold span what exceeds it. One more
    node, connected to all that is wanted, makes one component of those that touch it.
    """
    level = np.pad(level, 1)
    places, strides = np.flatnonzero(level), np.array(level.strides) // level.itemsize
    steps = [int(np.dot(step, strides)) for step in itertools.product((-1, 0, 1), repeat=level.ndim)]
    around = places[:, None] + [step for step in steps if step > 0]
    number = np.zeros(level.size, np.int32)
    number[places] = np.arange(len(places))
    level, own = level.ravel(), level.ravel()[places]
    ends = np.c_[number[around], np.full(len(places), len(places))]
    strengths = np.c_[np.minimum(level[around], own[:, None]), own * np.pad(wanted, 1).ravel()[places]]
    edges = strengths > 0
    starts = np.r_[0, edges.sum(axis=1).cumsum(), np.count_nonzero(edges)]
    weights = len(THRESHOLDS) + 1.0 - strengths[edges]  # SciPy's tree is the minimum one
    tree = minimum_spanning_tree(csr_array((weights, ends[edges], starts), shape=(len(places) + 1,) * 2))
    return _above(own) - _above((len(THRESHOLDS) + 1 - tree.data).astype(int))
