"""What nnU-Net says of its folders (dataset.json), and what its evaluation writes (summary.json)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boundaryloss.files import Description, atomic_write, read_description, read_json
from boundaryloss.report.store import CaseScores
from boundaryloss.scoring.pairs import Pair

SUMMARY_JSON = "summary.json"
BESIDE = ("labelsTr", "gt_segmentations", "plans.json")  # one of them lies in a folder of nnU-Net's
DISTANCES = ("hd95_mm", "hd95_penalised_mm", "hd95_pooled_mm", "assd_mm", "nsd", "boundary_iou")


def find_description(predictions: Path, truth: Path) -> tuple[Path, Description] | None:
    """Find the dataset.json of the truth, or else that which nnU-Net copied to its predictions.

    The truth is a dataset, its labelsTr or labelsTs, or the gt_segmentations of a preprocessed one.
    Predictions have a copy inside; those of a validation have it in the folder of the folds.

    Raises:
        UserError: it is wrong.
    """
    for folder in (truth, truth.absolute().parent, predictions, predictions.absolute().parent.parent):
        path = folder / "dataset.json"
        if path.is_file() and any((folder / name).exists() for name in BESIDE):
            return path, read_description(path)
    return None


def label_keys(path: Path, found: Description) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return what nnU-Net calls each label or region -> the value that names its rows, and its values.

    A region is the text of a tuple, "(1, 2)"; a single value is a number where dataset.json has it so.
    """
    if not found.regions:
        return {str(value): (value, (value,)) for value in found.label_values}
    table = read_json(path)["labels"]
    written = [value for name, value in table.items() if name.casefold() not in ("background", "ignore")]
    keys = [
        str(region if isinstance(value, list) else region[0])
        for value, region in zip(written, found.regions, strict=True)
    ]
    return dict(zip(keys, zip(found.region_values, found.regions, strict=True), strict=True))


def case_record(
    pair: Pair,
    shared: Mapping[tuple[int, int], int],
    rows: Mapping[int, CaseScores],
    keys: Mapping[str, tuple[int, tuple[int, ...]]],
) -> dict[str, Any]:
    """Return the entry of a case in summary.json: nnU-Net's counts, Dice and IoU, and our distances.

    Args:
        pair: The case.
        shared: Number of voxels by predicted and true value, without unlabelled ones.
        rows: The scores by label.
        keys: As `label_keys` returns them.
    """
    metrics = {
        key: _overlap(shared, values) | {name: getattr(rows[label], name) for name in DISTANCES}
        for key, (label, values) in keys.items()
    }
    return {"metrics": metrics, "prediction_file": str(pair.prediction), "reference_file": str(pair.truth)}


def write_summary_json(path: Path, cases: Sequence[Mapping[str, Any]]) -> None:
    """Write the summary.json of nnU-Net, means over cases and over labels; what has no value is null.

    As in nnU-Net, the mean of a label leaves out cases without a value, and the mean of all labels has none
    if a label has none.
    """
    means = {
        key: {name: _mean(case["metrics"][key][name] for case in cases) for name in table}
        for key, table in cases[0]["metrics"].items()
    }
    names = next(iter(means.values()))
    foreground = {name: float(np.mean([table[name] for table in means.values()])) for name in names}
    content = {"foreground_mean": foreground, "mean": means, "metric_per_case": cases}
    with atomic_write(path, "summary") as file:
        text = json.dumps(_without_nan(content), indent=4, sort_keys=True, allow_nan=False)
        file.write((text + "\n").encode())


def _overlap(shared: Mapping[tuple[int, int], int], values: Sequence[int]) -> dict[str, float]:
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for (mine, true), voxels in shared.items():
        counts[mine in values, true in values] += voxels
    tp, fp, fn, tn = counts.values()
    either = tp + fp + fn
    return {
        "Dice": 2 * tp / (tp + either) if either else float("nan"),
        "IoU": tp / either if either else float("nan"),
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "TN": tn,
        "n_pred": tp + fp,
        "n_ref": tp + fn,
    }


def _mean(values: Iterable[float]) -> float:
    existing = [value for value in values if not np.isnan(value)]
    return float(np.mean(existing)) if existing else float("nan")


def _without_nan(value: Any) -> Any:
    """Return the same with None for nan: JSON has no nan."""
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value
