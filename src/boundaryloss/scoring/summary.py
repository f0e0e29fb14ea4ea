"""Scores of all cases -> one row per label, each mean with its interval; nothing hides an empty prediction.

A mean over cases means little when cases without a value vanish from it: MONAI's HD95 of a total miss is nan
and its ``aggregate`` drops nan, so that a network improves by finding nothing. Here every mean stands beside
the number of cases it is over.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np

from boundaryloss.files import group_names
from boundaryloss.report.statistics import by_unit, intervals, ratio
from boundaryloss.report.store import CaseScores, LabelScores


def summarise(rows: Iterable[CaseScores], patients: Mapping[str, str] | None = None) -> list[LabelScores]:
    """Summarise the rows of `case_metrics` over cases; the measures are listed under `LabelScores`.

    Args:
        rows: The rows of all cases.
        patients: The patient of each case, by their names: intervals draw whole patients. Default: as the
            names tell, by the rule of splits (``p07_z1`` and ``p07_z2`` are one patient). Cases without a
            name are a patient each.

    Returns:
        One row per label, by its number; of no rows, none.

    Raises:
        TypeError: The rows are not `CaseScores`.
        ValueError: They were measured on different contours or with different tolerances, or `patients` lacks
            a case.

    Example:
        One lesion is found and one is missed. The mean HD95 leaves the miss out; the penalised one counts it
        as the diagonal of the image of 3 x 4 mm:

        >>> import numpy as np
        >>> from boundaryloss.scoring import case_metrics
        >>> lesion, nothing = np.eye(3, 4, dtype=int), np.zeros((3, 4), int)
        >>> rows = case_metrics(lesion, lesion, spacing=1.0) + case_metrics(nothing, lesion, spacing=1.0)
        >>> (label,) = summarise(rows)
        >>> label.missed, label.dice, label.hd95_mm, label.hd95_cases, label.hd95_penalised_mm
        (1, 0.5, 0.0, 1, 2.5)
        >>> label.dice_low, label.dice_high  # of two cases
        (0.0, 1.0)
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
    names = [row.name for of_label in by_label.values() for row in of_label if row.name]
    patients = group_names(names) if patients is None else patients
    if lacking := [name for name in names if name not in patients]:
        raise ValueError(f"patients has no patient for the case {lacking[0]!r}; give one for every case")
    return [_summarise_label(label, by_label[label], patients) for label in sorted(by_label)]


def _summarise_label(label: int, rows: Sequence[CaseScores], patients: Mapping[str, str]) -> LabelScores:
    numbers = (field.name for field in fields(CaseScores) if field.type in (int, float))
    columns = SimpleNamespace(**{name: np.array([getattr(row, name) for row in rows]) for name in numbers})
    units = [patients[row.name] if row.name else f"case {place}" for place, row in enumerate(rows)]
    means = _means(columns)
    terms = by_unit(
        np.stack([np.stack(np.broadcast_arrays(*mean)) for mean in means.values()], axis=1), units
    )
    ends = zip(means, intervals(terms), strict=True)
    return LabelScores(
        label=label,
        cases=len(rows),
        patients=len(set(units)),
        cases_with_truth=int((columns.lesions > 0).sum()),
        dice_cases=int((1 - columns.both_empty).sum()),
        hd95_cases=int(np.isfinite(columns.hd95_mm).sum()),
        missed=int(columns.missed.sum()),
        false_alarms=int(columns.false_alarm.sum()),
        both_empty=int(columns.both_empty.sum()),
        lesions=int(columns.lesions.sum()),
        tolerance_mm=rows[0].tolerance_mm,
        contour=rows[0].contour,
        **dict(zip(means, ratio(terms).tolist(), strict=True)),
        **{
            f"{name}_{end}": value
            for name, pair in ends
            for end, value in zip(("low", "high"), pair, strict=True)
        },
    )


def _means(c: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each mean as what it divides, case by case."""
    exists, measured, each = c.both_empty == 0, np.isfinite(c.hd95_mm), np.ones(len(c.dice))
    where = {"dice": exists, "nsd": exists, "boundary_iou": exists}
    where |= dict.fromkeys(("hd95_mm", "hd95_pooled_mm", "assd_mm"), measured)
    return {
        **{name: (np.where(mask, getattr(c, name), 0), mask) for name, mask in where.items()},
        "hd95_penalised_mm": (c.hd95_penalised_mm, each),
        "lesion_sensitivity": (c.lesions_found, c.lesions),
        "false_lesions_per_image": (c.false_lesions, each),
        "lesion_precision": (c.predicted_lesions - c.false_lesions, c.predicted_lesions),
        "lesion_f1": (2 * c.lesions_found, c.lesions + c.lesions_found + c.false_lesions),
    }
