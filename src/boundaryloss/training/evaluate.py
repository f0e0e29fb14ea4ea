"""A folder of predictions against a folder of truths -> cases.csv and summary.csv."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from boundaryloss.training.data import class_indices
from boundaryloss.training.errors import UserError
from boundaryloss.training.files import checked_spacing, read_affine, read_label_map, read_labels
from boundaryloss.training.layouts import find_labels, list_files, read_layout
from boundaryloss.training.metrics import (
    TOLERANCE,
    Row,
    case_metrics,
    summarise,
    without_unlabelled,
    write_csv,
)


def evaluate(
    predictions: Path,
    truth: Path,
    out: Path,
    *,
    spacing: Sequence[float] | None = None,
    allow_missing: bool = False,
    tolerance: float = TOLERANCE,
    on_bad: Callable[[str], None] | None = None,
) -> list[Row]:
    """Compare label files of the same name, 2-D or 3-D.

    Args:
        predictions: Folder of predicted label files.
        truth: Folder of true label files, or a data folder with ``masks`` or ``labelsTr`` inside; the
            ``ignore`` label of nnU-Net's dataset.json is left out of every measure.
        out: Folder for ``cases.csv`` and ``summary.csv``.
        spacing: Size of a voxel in mm. Default: as the truth's file says; one for PNG and TIFF.
        allow_missing: Judge only the cases that have a prediction. By default a truth without one is an
            error, because a forgotten case is not a found lesion.
        tolerance: Of the normalised surface dice, in mm.
        on_bad: Gets a line about each case that cannot be compared, which is left out. By default it is an
            error.

    Returns:
        The rows of the summary.
    """
    predictions, truth, out = Path(predictions), Path(truth), Path(out)
    predicted, true = list_files(predictions), find_labels(truth)
    ignore = _ignored(truth)
    for name in predicted.keys() - true.keys():
        raise UserError(
            f"{predicted[name]}: no truth of the same name in {truth}; add it or remove the prediction"
        )
    missing = sorted(true.keys() - predicted.keys())
    if missing and not allow_missing:
        raise UserError(
            f"{true[missing[0]]}: no prediction in {predictions} (for {len(missing)} of {len(true)} cases); "
            "predict them too, or ask for the predicted cases only"
        )
    found: dict[str, tuple[set[int], set[int]]] = {}
    for name, path in predicted.items():
        try:
            found[name] = _values_of(path, true[name])
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(str(error))
    if not found:
        raise UserError(f"{predictions}: no prediction in it can be compared")
    values = _label_values(predictions, truth, list(found.values()), ignore)
    rows: list[Row] = []
    for name in found:
        rows += _case(predicted[name], true[name], values, ignore, spacing, name, tolerance)
    out.mkdir(parents=True, exist_ok=True)
    summary = summarise(rows)
    write_csv(out / "cases.csv", rows)
    write_csv(out / "summary.csv", summary)
    return summary


def _ignored(truth: Path) -> int | None:
    """The value of unlabelled voxels, if the truth is part of a dataset that has one."""
    for folder in (truth, truth.parent):
        if (folder / "dataset.json").exists() and (folder / "labelsTr").is_dir():
            return read_layout(folder).ignore
    return None


def _values_of(predicted: Path, true: Path) -> tuple[set[int], set[int]]:
    """The label values of a prediction and of its truth, which must fit each other."""
    prediction, labels = read_labels(predicted), read_labels(true)
    if prediction.shape != labels.shape:
        raise UserError(
            f"{predicted}: shape {prediction.shape}, but the truth has {labels.shape}; resample it"
        )
    if prediction.ndim == 3 and not np.allclose(read_affine(predicted), read_affine(true), atol=1e-2):
        raise UserError(f"{predicted}: its affine is not that of the truth; resample it")
    return set(np.unique(prediction).tolist()), set(np.unique(labels).tolist())


def _case(
    predicted: Path,
    true: Path,
    values: tuple[int, ...],
    ignore: int | None,
    spacing: Sequence[float] | None,
    name: str,
    tolerance: float,
) -> list[Row]:
    prediction = read_labels(predicted)
    labels, steps = read_label_map(true)
    prediction, truth = class_indices(prediction, values), class_indices(labels, values, ignore)
    if ignore is not None:
        prediction, truth = without_unlabelled(prediction, truth)
    return case_metrics(
        prediction,
        truth,
        num_classes=len(values),
        spacing=steps if spacing is None else checked_spacing(spacing, labels.ndim),
        name=name,
        label_values=values,
        tolerance=tolerance,
    )


def _label_values(
    predictions: Path, truth: Path, found: list[tuple[set[int], set[int]]], ignore: int | None
) -> tuple[int, ...]:
    """Every value of either side: a predicted label that no truth has is a false alarm, not nothing."""
    mine, theirs = (set().union(*sides) - {0, ignore} for sides in zip(*found, strict=True))
    if mine and theirs and not mine & theirs:
        raise UserError(
            f"{predictions}: predictions have the values {sorted(mine)}, the truth {sorted(theirs)}; "
            "write the same values"
        )
    if not mine and not theirs:
        raise UserError(f"{truth}: all masks and predictions are empty; nothing to compare")
    return (0, *sorted(mine | theirs))
