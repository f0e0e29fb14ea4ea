"""Where nnU-Net leaves what a trainer came to, and whether it is finished.

nnUNet_results/DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION/
    dataset.json                    what the labels are
    fold_0/training_log_*.txt       one for each start
    fold_0/debug.json               machine and versions
    fold_0/validation/CASE.nii.gz   predictions of the cases that this fold was not trained on
    fold_0/validation/CASE.npz      their probabilities, with --npz
    fold_0/validation/summary.json  written when all of them are there
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from boundaryloss.files import (
    Description,
    UserError,
    find_labels,
    list_files,
    read_description,
    read_json,
    read_layout,
    stem,
)


@dataclass(frozen=True)
class Trained:
    """Hold the folder of a trainer, and which folds are in it."""

    folder: Path
    folds: tuple[int, ...]

    @property
    def dataset(self) -> str:
        """Return what nnU-Net calls the dataset."""
        return self.folder.parent.name

    @property
    def parts(self) -> list[str]:
        """Return trainer, plans and configuration; the name of a folder that was renamed."""
        return self.folder.name.split("__")

    def fold(self, number: int) -> Path:
        """Return the folder of a fold."""
        return self.folder / f"fold_{number}"

    def predictions(self, number: int) -> dict[str, Path]:
        """Return the predictions of a fold's validation by the names of their cases.

        Raises:
            UserError: training or validation is not finished, or a prediction is missing.
        """
        fold = self.fold(number)
        if (fold / "checkpoint_latest.pth").exists() and not (fold / "checkpoint_final.pth").exists():
            raise UserError(
                f"{fold}: training is not finished; go on with nnUNetv2_train ... --c, or give other --folds"
            )
        summary = fold / "validation" / "summary.json"
        if not summary.is_file():
            raise UserError(
                f"{fold}: no validation/summary.json, so the validation is not finished; run nnUNetv2_train "
                "... --val, or give other --folds"
            )
        try:
            paths = [case["prediction_file"] for case in read_json(summary)["metric_per_case"]]
            judged = [PureWindowsPath(path).name for path in paths]  # which takes both kinds of slashes
        except (KeyError, TypeError):
            raise UserError(f"{summary}: is no summary of nnU-Net; validate again with --val") from None
        if missing := [name for name in judged if not (summary.parent / name).is_file()]:
            raise UserError(
                f"{summary.parent}: no {missing[0]}, which its summary.json has; validate again with --val"
            )
        return list_files(summary.parent)

    def machine(self, number: int) -> tuple[str, dict[str, str]]:
        """Return what a fold was trained on, and the version of torch, as far as nnU-Net wrote it."""
        found = None
        with suppress(UserError):
            found = read_json(self.fold(number) / "debug.json")
        if not isinstance(found, dict):
            return "", {}
        torch = {"torch": str(found["torch_version"])} if "torch_version" in found else {}
        return str(found.get("gpu_name") or found.get("device", "")), torch


def probabilities_of(prediction: Path) -> Path:
    """Return where nnU-Net writes the probabilities of a prediction."""
    return prediction.with_name(f"{stem(prediction)}.npz")


def find_trained(folder: Path) -> Trained:
    """Find the folds of a trainer.

    Raises:
        UserError: there are none.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give nnU-Net's folder of a trainer")
    matches = (re.fullmatch(r"fold_(0|[1-9]\d*)", path.name) for path in folder.iterdir() if path.is_dir())
    folds = sorted(int(match[1]) for match in matches if match)
    if not folds:
        everything = (
            "; fold_all is judged on what it was trained on" if (folder / "fold_all").exists() else ""
        )
        raise UserError(
            f"{folder}: no fold_0, fold_1, ... in it{everything}; give nnU-Net's folder of a trainer, "
            "nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION"
        )
    return Trained(folder, tuple(folds))


def names_of(trained: Sequence[Trained]) -> list[str]:
    """Return what each is called: its trainer, and plans and configuration where they differ.

    Raises:
        UserError: two have the same name, or they are of different datasets.
    """
    if len(datasets := {one.dataset for one in trained}) > 1:
        raise UserError(f"results of different datasets: {', '.join(sorted(datasets))}; give those of one")
    parts = [one.parts for one in trained]
    if any(len(part) != 3 for part in parts):
        names = [one.folder.name for one in trained]
    else:
        differ = [place for place in (1, 2) if len({part[place] for part in parts}) > 1]
        names = [", ".join([part[0], *(part[place] for place in differ)]) for part in parts]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{twice[0]} is given twice; give each result once")
    return names


def declared(trained: Sequence[Trained]) -> Description:
    """Read the dataset.json that all results must share.

    Raises:
        UserError: it is missing or wrong, they differ in their labels, or it has regions.
    """
    read = {one.folder: read_description(one.folder / "dataset.json") for one in trained}
    (folder, first), *others = read.items()
    for other, description in others:
        if (description.label_values, description.regions, description.ignore) != (
            first.label_values,
            first.regions,
            first.ignore,
        ):
            raise UserError(
                f"{other / 'dataset.json'}: has other labels than that of {folder}; give one dataset"
            )
    if first.regions:
        raise UserError(
            f"{folder / 'dataset.json'}: regions overlap, which no report shows yet; judge each result with "
            "`boundaryloss evaluate`"
        )
    return first


def find_truth(dataset: str, truth: Path | None) -> tuple[Path, dict[str, Path]]:
    """Return the folder of true labels, as given or as nnU-Net keeps it, and its files by name.

    Raises:
        UserError: there is none.
    """
    if truth is not None:
        return truth, find_labels(truth)
    for variable, inside in (("nnUNet_preprocessed", "gt_segmentations"), ("nnUNet_raw", "labelsTr")):
        if (folder := _folder(variable, dataset) / inside).is_dir():
            return folder, list_files(folder)
    raise UserError(f"no true labels of {dataset}; give them with --truth FOLDER, or set nnUNet_preprocessed")


def find_images(dataset: str, truth: Path) -> dict[str, Path]:
    """Return the image, or its first channel, of every case of the dataset; nothing where it is not found."""
    for folder in (truth, truth.parent, _folder("nnUNet_raw", dataset)):
        with suppress(UserError):
            if (folder / "dataset.json").is_file():
                return {case.name: case.image for case in read_layout(folder).cases if case.images}
    return {}


def _folder(variable: str, dataset: str) -> Path:
    """Return where one of nnU-Net's variables of the environment says that a dataset is."""
    return Path(os.environ.get(variable) or os.devnull, dataset)
