"""Metrics of one case and their summary; nothing hides an empty prediction.

A mean over cases means little when cases without a value vanish from it: MONAI's HD95 of a total miss is nan
and its ``aggregate`` drops nan, so that a network improves by finding nothing. Here every mean stands beside
the number of cases it is over, misses are counted, and ``hd95_penalised_mm`` has a value for every case.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance
from scipy import ndimage

from boundaryloss.files import IGNORE

Row = dict[str, Any]
TOLERANCE = 1.0  # mm, of the normalised surface dice


def case_metrics(
    prediction: np.ndarray,
    truth: np.ndarray,
    objects: Mapping[int, Sequence[int]],
    *,
    spacing: Sequence[float],
    name: str,
    tolerance: float = TOLERANCE,
) -> list[Row]:
    """Compare one prediction with its truth, 2-D or 3-D.

    The columns of a row (lengths in the unit of `spacing`, called mm):

    - ``name``, ``label``: the case, and what is judged: a key of `objects`.
    - ``dice``: 2 |P & T| / (|P| + |T|); 0 for a miss and for a false alarm; nan if both are empty.
    - ``hd95_mm``: the larger of the two directed 95th percentiles of the surface distances; nan if P or T is
      empty.
    - ``hd95_penalised_mm``: the same, but the image's diagonal if just one is empty, and 0 if both are.
    - ``missed``, ``false_alarm``, ``both_empty``: 1 if only P, only T, or both are empty; otherwise 0.
    - ``assd_mm``: mean distance between the two surfaces, both ways; nan if P or T is empty.
    - ``nsd``: normalised surface dice, the share of both surfaces within `tolerance` of the other; 0 if just
      one of P and T is empty, nan if both are.
    - ``lesions``, ``lesions_found``: connected components of T (diagonal neighbours connect), and how many of
      them P touches.
    - ``predicted_lesions``, ``false_lesions``: connected components of P, and how many of them touch no T.
    - ``truth_mm2``, ``prediction_mm2`` (``_mm3`` in 3-D): sizes.

    Args:
        prediction: Integers from 0 (*space).
        truth: Integers from 0 (*space).
        objects: What is judged: a number that names it -> the values of the arrays that it consists of.
        spacing: Size of a voxel, one number per axis.
        name: Name of the case.
        tolerance: Of ``nsd``, in mm.

    Returns:
        One row per object.

    Raises:
        ValueError: The shapes differ, or `spacing` has another number of axes.
    """
    if prediction.shape != truth.shape or len(spacing) != truth.ndim:
        raise ValueError(
            f"{name}: prediction {prediction.shape}, truth {truth.shape}, spacing {tuple(spacing)}"
        )
    diagonal = float(np.hypot.reduce(np.multiply(truth.shape, spacing)))
    boxes = [ndimage.find_objects(array) for array in (prediction, truth)]
    rows = []
    for label, values in objects.items():
        box = _union(boxes, values) or (slice(0, 1),) * truth.ndim
        p, t = (np.isin(array[box], values) for array in (prediction, truth))
        rows.append({"name": name, "label": label, **_compare(p, t, spacing, tolerance, diagonal)})
    return rows


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


def summarise(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Summarise the rows of `case_metrics`, one row per label.

    ``dice`` and ``hd95_mm`` are means over the ``dice_cases`` and ``hd95_cases`` in which they exist (nan if
    in none); ``hd95_penalised_mm`` and ``false_lesions_per_image`` are means over all ``cases``. ``missed``
    counts misses among the ``cases_with_truth``. ``lesion_sensitivity`` is the share of ``lesions`` found,
    ``lesion_precision`` that of predicted lesions that are true, ``lesion_f1`` is 2 TP / (2 TP + FP + FN), of
    the lesions found, false and missed.
    """
    by_label: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    return [{"label": label, **_summarise_label(by_label[label])} for label in sorted(by_label)]


def without_unlabelled(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with background where the truth says nothing, so that no metric counts it."""
    unlabelled = truth == IGNORE
    return np.where(unlabelled, 0, prediction), np.where(unlabelled, 0, truth)


def surface_metrics(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float
) -> tuple[float, float, float]:
    """HD95, ASSD and NSD of two non-empty masks, by MONAI.

    Surfaces are voxels with a face on the background or on the edge of the image; each directed distance of
    HD95 is a percentile of its own, and the larger one counts.
    """
    box = ndimage.find_objects((prediction | truth).astype(np.uint8))[0]  # elsewhere there is no surface
    p, t = (
        torch.from_numpy(np.ascontiguousarray(np.pad(mask[box], 1)))[None, None]
        for mask in (prediction, truth)
    )
    options: Any = {"include_background": True, "spacing": [float(step) for step in spacing]}
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "monai.metrics.utils get_mask_edges", FutureWarning
        )  # MONAI's own call
        hausdorff = compute_hausdorff_distance(p, t, percentile=95, **options)
        average = compute_average_surface_distance(p, t, symmetric=True, **options)
        surface_dice = compute_surface_dice(p, t, class_thresholds=[tolerance], **options)
    return float(hausdorff), float(average), float(surface_dice)


def _union(boxes: Sequence[Sequence[Any]], values: Sequence[int]) -> tuple[slice, ...]:
    """The smallest box around those of `values`, from lists as `find_objects` makes them; none, no box."""
    found = [one[v - 1] for one in boxes for v in values if 0 < v <= len(one) and one[v - 1]]
    return tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*found, strict=True)
    )


def _compare(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float, diagonal: float
) -> Row:
    """The measures of two masks, which may be cut to what they hold."""
    size_p, size_t = int(prediction.sum()), int(truth.sum())
    exists, empty = size_p > 0 and size_t > 0, size_p == 0 and size_t == 0
    none = float("nan")
    distance, average, surface_dice = (
        surface_metrics(prediction, truth, spacing, tolerance)
        if exists
        else (none, none, none if empty else 0.0)
    )
    lesions, found = _components(truth, prediction)
    components, true = _components(prediction, truth)
    voxel, unit = float(np.prod(spacing)), f"mm{truth.ndim}"
    return {
        "dice": none if empty else 2 * int((prediction & truth).sum()) / (size_p + size_t),
        "hd95_mm": distance,
        "hd95_penalised_mm": distance if exists else 0.0 if empty else diagonal,
        "missed": int(size_t > 0 and size_p == 0),
        "false_alarm": int(size_p > 0 and size_t == 0),
        "both_empty": int(empty),
        "lesions": lesions,
        "lesions_found": found,
        "false_lesions": components - true,
        f"truth_{unit}": size_t * voxel,
        f"prediction_{unit}": size_p * voxel,
        "assd_mm": average,
        "nsd": surface_dice,
        "nsd_tolerance_mm": tolerance,
        "predicted_lesions": components,
    }


def _components(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Number of connected components of `mask`, and of those among them that overlap `other`."""
    components, count = ndimage.label(mask, np.ones((3,) * mask.ndim))  # pyright: ignore[reportGeneralTypeIssues]
    touched = np.unique(components[other & mask])
    return int(count), len(touched)


def _summarise_label(rows: Sequence[Mapping[str, Any]]) -> Row:
    def total(key: str) -> int:
        return sum(int(row[key]) for row in rows)

    dice, distance = (_existing(row[key] for row in rows) for key in ("dice", "hd95_mm"))
    lesions, predicted = total("lesions"), total("predicted_lesions")
    found, false = total("lesions_found"), total("false_lesions")
    return {
        "cases": len(rows),
        "cases_with_truth": sum(row["lesions"] > 0 for row in rows),
        "dice": _mean(dice),
        "dice_cases": len(dice),
        "hd95_mm": _mean(distance),
        "hd95_cases": len(distance),
        "hd95_penalised_mm": _mean([float(row["hd95_penalised_mm"]) for row in rows]),
        "missed": total("missed"),
        "false_alarms": total("false_alarm"),
        "both_empty": total("both_empty"),
        "lesions": lesions,
        "lesion_sensitivity": found / lesions if lesions else float("nan"),
        "false_lesions_per_image": false / len(rows),
        "lesion_precision": 1 - false / predicted if predicted else float("nan"),
        "lesion_f1": 2 * found / (lesions + found + false) if lesions + false else float("nan"),
        "assd_mm": _mean(_existing(row["assd_mm"] for row in rows)),
        "nsd": _mean(_existing(row["nsd"] for row in rows)),
        "nsd_tolerance_mm": rows[0]["nsd_tolerance_mm"],
    }


def _existing(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if not np.isnan(float(value))]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
