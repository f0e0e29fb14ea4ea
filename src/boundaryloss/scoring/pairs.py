"""Label files of the same name in two folders: what was predicted, and what is true."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boundaryloss.files import (
    UserError,
    find_labels,
    is_nifti,
    list_files,
    read_label_map,
    read_split,
    same_grid,
)


@dataclass(frozen=True)
class Pair:
    """Hold the files of a prediction and its truth."""

    name: str
    prediction: Path
    truth: Path

    def read(
        self, threshold: float | None = None, threshold_predicted: float | None = None
    ) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
        """Read both (*space), and the size of a voxel: as a NIfTI file of the two says, the truth's first.

        Values of the truth above `threshold`, and of the prediction above `threshold_predicted`, become 1.

        Raises:
            UserError: a file cannot be read, or the two do not lie on the same grid.
        """
        (prediction, steps), (truth, spacing) = (
            read_label_map(path, limit)
            for path, limit in ((self.prediction, threshold_predicted), (self.truth, threshold))
        )
        same_grid(self.prediction, self.truth)
        if prediction.shape != truth.shape:
            raise UserError(
                f"{self.prediction}: shape {prediction.shape}, but the truth has {truth.shape}; resample it"
            )
        return prediction, truth, spacing if is_nifti(self.truth) else steps


def find_pairs(
    predictions: Path, truth: Path, *, allow_missing: bool = False, split: str | None = None
) -> tuple[list[Pair], str | None]:
    """List the pairs by name, and say how many of them a run was trained on, if a splits.json tells.

    It is looked for in the folder of the predictions, in that of the truth and in the data folder around it.

    Args:
        predictions: Folder of label files.
        truth: Folder of label files, or a data folder.
        allow_missing: Leave out what has no prediction; by default a forgotten case is an error.
        split: Take the cases only that splits.json has under this name: ``train`` or ``test``.

    Raises:
        UserError: a folder or file is missing or has no counterpart, or splits.json cannot be used.
    """
    predicted, true = list_files(predictions), find_labels(truth)
    path, parts = _find_split((predictions, truth, truth.parent))
    if split is not None:
        if split not in parts:
            where = path or predictions / "splits.json"
            raise UserError(f'{where}: no list "{split}" to choose the cases by; judge all of them instead')
        predicted, true = (
            {n: f for n, f in files.items() if n in parts[split]} for files in (predicted, true)
        )
        if not true:
            raise UserError(f'{path}: no case of its list "{split}" is in {truth}')
    for name in predicted.keys() - true.keys():
        raise UserError(
            f"{predicted[name]}: no truth of the same name in {truth}; add it or remove the prediction"
        )
    missing = sorted(true.keys() - predicted.keys())
    if missing and not (allow_missing and predicted):
        raise UserError(
            f"{true[missing[0]]}: no prediction in {predictions} (for {len(missing)} of {len(true)} cases); "
            "predict them too, or judge the predicted cases alone (--only-predicted)"
        )
    pairs = [Pair(name, file, true[name]) for name, file in predicted.items()]
    if path is None:
        return pairs, None
    trained = sum(pair.name in parts.get("train", ()) for pair in pairs)
    return pairs, f"{trained} of the {len(pairs)} judged cases were trained on, says {path}"


def _find_split(folders: tuple[Path, ...]) -> tuple[Path | None, dict[str, list[str]]]:
    """Find the first splits.json there is, and its lists of names."""
    path = next((folder / "splits.json" for folder in folders if (folder / "splits.json").exists()), None)
    return path, read_split(path) if path else {}
