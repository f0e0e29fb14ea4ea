"""Metrics of one case and their summary; nothing hides an empty prediction.

A mean over cases means little when cases without a value vanish from it: MONAI's HD95 of a total miss is nan
and its ``aggregate`` drops nan, so that a network improves by finding nothing. Here every mean stands beside
the number of cases it is over, misses are counted, and ``hd95_penalised_mm`` has a value for every case.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from boundaryloss.metrics import contour_distances
from boundaryloss.report.store import CaseScores, Contour, LabelScores, LesionScores
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
    """Return the rows of `case_metrics` and those of `lesion_metrics`, which costs less than to call both."""
    cases, lesions = [], []
    options = checked_options(tolerance, contour)
    for one in compare_objects(prediction, truth, objects, spacing, ignore):
        cases.append(_row(one, name, *options))
        lesions += lesion_rows(one, name, contour)
    return cases, lesions


def summarise(rows: Iterable[CaseScores]) -> list[LabelScores]:
    """Summarise the rows of `case_metrics` over cases; the measures are listed under `LabelScores`.

    Args:
        rows: The rows of all cases.

    Returns:
        One row per label, by its number; of no rows, none.

    Raises:
        TypeError: The rows are not `CaseScores`.
        ValueError: They were measured on different contours, or with different tolerances.

    Example:
        One lesion is found and one is missed. The mean HD95 leaves the miss out; the penalised one counts it
        as the diagonal of the image of 3 x 4 mm:

        >>> import numpy as np
        >>> lesion, nothing = np.eye(3, 4, dtype=int), np.zeros((3, 4), int)
        >>> rows = case_metrics(lesion, lesion, spacing=1.0) + case_metrics(nothing, lesion, spacing=1.0)
        >>> (label,) = summarise(rows)
        >>> label.missed, label.dice, label.hd95_mm, label.hd95_cases, label.hd95_penalised_mm
        (1, 0.5, 0.0, 1, 2.5)
    """
    by_label: dict[int, list[CaseScores]] = {}
    ways: set[tuple[str, float]] = set()
    for row in rows:
        if not isinstance(row, CaseScores):
            raise TypeError(f"summarise takes the rows of case_metrics, got {type(row).__name__}")
        by_label.setdefault(row.label, []).append(row)
        ways.add((row.contour, row.tolerance_mm))
    if len(ways) > 1:
        raise ValueError(f"rows of different contours or tolerances: {sorted(ways)}; summarise each alone")
    return [_summarise_label(label, by_label[label]) for label in sorted(by_label)]


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


def _summarise_label(label: int, rows: Sequence[CaseScores]) -> LabelScores:
    dice, distance = _existing(row.dice for row in rows), _existing(row.hd95_mm for row in rows)
    lesions, predicted = sum(row.lesions for row in rows), sum(row.predicted_lesions for row in rows)
    found, false = sum(row.lesions_found for row in rows), sum(row.false_lesions for row in rows)
    return LabelScores(
        label=label,
        cases=len(rows),
        cases_with_truth=sum(row.lesions > 0 for row in rows),
        dice=_mean(dice),
        dice_cases=len(dice),
        hd95_mm=_mean(distance),
        hd95_cases=len(distance),
        hd95_penalised_mm=_mean([row.hd95_penalised_mm for row in rows]),
        missed=sum(row.missed for row in rows),
        false_alarms=sum(row.false_alarm for row in rows),
        both_empty=sum(row.both_empty for row in rows),
        lesions=lesions,
        lesion_sensitivity=found / lesions if lesions else float("nan"),
        false_lesions_per_image=false / len(rows),
        lesion_precision=1 - false / predicted if predicted else float("nan"),
        lesion_f1=2 * found / (lesions + found + false) if lesions + false else float("nan"),
        assd_mm=_mean(_existing(row.assd_mm for row in rows)),
        hd95_pooled_mm=_mean(_existing(row.hd95_pooled_mm for row in rows)),
        nsd=_mean(_existing(row.nsd for row in rows)),
        boundary_iou=_mean([row.boundary_iou for row in rows if not row.both_empty]),
        tolerance_mm=rows[0].tolerance_mm,
        contour=rows[0].contour,
    )


def _existing(values: Iterable[float]) -> list[float]:
    return [value for value in values if not np.isnan(value)]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
