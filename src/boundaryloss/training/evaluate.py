"""A folder of predictions against a folder of truths -> cases.csv and summary.csv."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boundaryloss.training.data import class_indices, list_files
from boundaryloss.training.errors import UserError
from boundaryloss.training.files import checked_spacing, read_label_map
from boundaryloss.training.metrics import Row, case_metrics, summarise, write_csv


def evaluate(
    predictions: Path,
    truth: Path,
    out: Path,
    *,
    spacing: Sequence[float] | None = None,
    allow_missing: bool = False,
) -> list[Row]:
    """Compare label files of the same name, 2-D or 3-D.

    Args:
        predictions: Folder of predicted label files.
        truth: Folder of true label files, or a data folder with ``masks`` inside.
        out: Folder for ``cases.csv`` and ``summary.csv``.
        spacing: Size of a voxel in mm. Default: as the truth's file says; one for PNG and TIFF.
        allow_missing: Judge only the cases that have a prediction. By default a truth without one is an
            error, because a forgotten case is not a found lesion.

    Returns:
        The rows of the summary.
    """
    predictions, truth, out = Path(predictions), Path(truth), Path(out)
    truth = truth / "masks" if (truth / "masks").is_dir() else truth
    predicted, true = list_files(predictions), list_files(truth)
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
    values = _label_values(predicted, true)
    rows: list[Row] = []
    for name, path in predicted.items():
        rows += _case(path, true[name], values, spacing, name)
    out.mkdir(parents=True, exist_ok=True)
    summary = summarise(rows)
    write_csv(out / "cases.csv", rows)
    write_csv(out / "summary.csv", summary)
    return summary


def _case(
    predicted: Path, true: Path, values: tuple[int, ...], spacing: Sequence[float] | None, name: str
) -> list[Row]:
    prediction, _ = read_label_map(predicted)
    labels, found = read_label_map(true)
    if prediction.shape != labels.shape:
        raise UserError(
            f"{predicted}: shape {prediction.shape}, but the truth has {labels.shape}; resample it"
        )
    return case_metrics(
        class_indices(prediction, values),
        class_indices(labels, values),
        num_classes=len(values),
        spacing=found if spacing is None else checked_spacing(spacing, labels.ndim),
        name=name,
        label_values=values,
    )


def _label_values(predicted: dict[str, Path], true: dict[str, Path]) -> tuple[int, ...]:
    """Every value of either side: a predicted label that no truth has is a false alarm, not nothing."""
    mine, theirs = (
        {int(value) for name in predicted for value in np.unique(read_label_map(files[name])[0])} - {0}
        for files in (predicted, true)
    )
    if mine and theirs and not mine & theirs:
        path = next(iter(predicted.values()))
        raise UserError(
            f"{path.parent}: predictions have the values {sorted(mine)}, the truth {sorted(theirs)}; "
            "write the same values"
        )
    if not mine and not theirs:
        raise UserError(
            f"{next(iter(true.values())).parent}: all masks and predictions are empty; nothing to compare"
        )
    return (0, *sorted(mine | theirs))
