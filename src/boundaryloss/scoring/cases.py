"""Scores of one case; misses are counted, and ``hd95_penalised_mm`` has a value for every case."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from boundaryloss.metrics import contour_distances
from boundaryloss.report.store import CaseScores, Contour, LesionScores
from boundaryloss.scoring.lesions import lesion_rows
from boundaryloss.scoring.objects import Object, checked_options, compare_objects

TOLERANCE = 1.0  # mm, of NSD and boundary IoU


def case_metrics(
    prediction: Any,
    truth: Any,
    objects: Mapping[int, Sequence[int]] | None = None,
    *,
    spacing: float | Sequence[float],
    name: str = "",
    tolerance: float = TOLERANCE,
    contour: Contour = "faces",
    ignore: int | None = None,
) -> list[CaseScores]:
    r"""Compare the label map of one case with its truth, 2-D or 3-D, object by object.

    With P the predicted voxels of an object and T the true ones:

    .. math:: \mathrm{dice} = \frac{2 |P \cap T|}{|P| + |T|}, \qquad
        \mathrm{hd95} = \max\bigl(Q_{95}\{d(p, \partial T) : p \in \partial P\},
        \; Q_{95}\{d(t, \partial P) : t \in \partial T\}\bigr)

    All measures and their special cases are listed under `CaseScores`. Distances are those of
    `boundaryloss.metrics.contour_distances`.

    Args:
        prediction: Labels `(*space)`: integers from 0 or booleans, an array or a tensor.
        truth: Labels of the same shape.
        objects: What is judged: a number that names it -> the labels that it consists of. Default: every
            label but 0 that either side holds, by itself.
        spacing: Size of a voxel in mm, one number per axis in array order, or one for all axes.
        name: Name of the case, for the rows.
        tolerance: Of NSD, and the width of the band of boundary IoU, in mm.
        contour: Where the contours run: on the ``"faces"`` between voxels, on the ``"centers"`` of the voxels
            at the rim as in MONAI and MedPy, or on ``"surfels"`` as in DeepMind's surface-distance.
        ignore: The label of true voxels that nobody labelled; they are left out of every measure.

    Returns:
        One row per object.

    Raises:
        ValueError: The shapes differ, there are not 2 or 3 axes, labels are negative, spacing or tolerance is
            no length, or the contour is unknown; the message says what to give.
        TypeError: The arrays hold probabilities or logits instead of labels.

    Example:
        A square of 2 x 2 voxels is predicted one voxel too far to the right:

        >>> import numpy as np
        >>> truth, prediction = np.zeros((6, 6), int), np.zeros((6, 6), int)
        >>> truth[2:4, 1:3] = 1
        >>> prediction[2:4, 2:4] = 1
        >>> (row,) = case_metrics(prediction, truth, spacing=(1.0, 0.5))
        >>> row.dice, row.hd95_mm, row.lesions_found, row.truth_mm2
        (0.5, 0.5, 1, 2.0)
    """
    options = checked_options(tolerance, contour)
    return [_row(one, name, *options) for one in compare_objects(prediction, truth, objects, spacing, ignore)]


def score_case(
    prediction: Any,
    truth: Any,
    objects: Mapping[int, Sequence[int]] | None = None,
    *,
    spacing: float | Sequence[float],
    name: str = "",
    tolerance: float = TOLERANCE,
    contour: Contour = "faces",
    ignore: int | None = None,
) -> tuple[list[CaseScores], list[LesionScores]]:
    """Return the rows of `case_metrics` and those of `lesion_metrics`, which costs less than to call both.

    The arguments, and what is raised, are those of `case_metrics`.

    Example:
        Of two lesions one is found:

        >>> import numpy as np
        >>> truth, prediction = np.array([[1, 0, 0, 1]]), np.array([[1, 0, 0, 0]])
        >>> (row,), lesions = score_case(prediction, truth, spacing=1.0)
        >>> row.lesions_found, [lesion.outcome for lesion in lesions]
        (1, ['found', 'missed'])
    """
    cases, lesions = [], []
    options = checked_options(tolerance, contour)
    for one in compare_objects(prediction, truth, objects, spacing, ignore):
        cases.append(_row(one, name, *options))
        lesions += lesion_rows(one, name, contour, cases[-1].hd95_mm)
    return cases, lesions


def _row(one: Object, name: str, tolerance: float, contour: Contour) -> CaseScores:
    """Return the scores of one object."""
    masks = [torch.from_numpy(mask)[None, None] for mask in (one.prediction, one.truth)]
    measured = contour_distances(*masks, spacing=one.spacing, tolerance=tolerance, contour=contour)
    distances = {field: value.item() for field, value in vars(measured).items()}
    size_p, size_t = int(one.prediction.sum()), int(one.truth.sum())
    overlap, penalty = int((one.prediction & one.truth).sum()), one.diagonal if size_p or size_t else 0.0
    found, true = (len(np.unique(side)) for side in one.pairs.T)
    lesions, predicted = int(one.lesions.max()), int(one.predicted.max())
    return CaseScores(
        name=name,
        label=one.label,
        dice=2 * overlap / (size_p + size_t) if size_p or size_t else float("nan"),
        hd95_mm=distances["hd95"],
        hd95_penalised_mm=distances["hd95"] if size_p and size_t else penalty,
        missed=int(distances["missed"]),
        false_alarm=int(distances["false_alarm"]),
        both_empty=int(distances["both_empty"]),
        lesions=lesions,
        lesions_found=found,
        false_lesions=predicted - true,
        **one.sizes(size_t, size_p),
        hd95_pooled_mm=distances["hd95_pooled"],
        assd_mm=distances["assd"],
        nsd=distances["nsd"],
        boundary_iou=distances["boundary_iou"],
        tolerance_mm=tolerance,
        contour=contour,
        predicted_lesions=predicted,
    )
