"""A folder of images and masks -> cases, a split, and tensors.

    folder/images/NAME.png   folder/masks/NAME.png   folder/splits.json (optional)

Images and masks are PNG, TIFF or NIfTI slices, paired by name; the two may differ in format. Arrays keep the
order of their file (NIfTI: its first two axes), so a prediction lies on its image voxel by voxel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from boundaryloss.training.errors import UserError
from boundaryloss.training.files import (
    SUFFIXES,
    checked_spacing,
    read_image,
    read_labels,
    stem,
    write_labels,
)
from boundaryloss.training.split import patient, split_names

__all__ = [
    "Case",
    "Collection",
    "Slices",
    "class_indices",
    "collate",
    "find_cases",
    "find_images",
    "read_image",
    "read_labels",
    "write_labels",
]

MOST_LABELS = 32  # more distinct values than this in masks: they are grey pictures, not labels
MULTIPLE = 16  # four levels of halving in a U-Net


@dataclass(frozen=True)
class Case:
    """One image and, unless it is only to be predicted, its labels."""

    name: str
    image: Path
    labels: Path | None = None

    @property
    def patient(self) -> str:
        """The text before the first underscore: slices that share it never part in a random split."""
        return patient(self.name)


@dataclass(frozen=True)
class Collection:
    """The cases of a folder, split, and what they have in common."""

    train: list[Case]
    test: list[Case]
    label_values: tuple[int, ...]  # the value in the files of class 0 (background), 1, 2, ...
    channels: int
    spacing: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes, the background included."""
        return len(self.label_values)


def find_cases(
    folder: Path,
    *,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    test_prefix: str | Sequence[str] | None = None,
    test_fraction: float = 0.2,
    spacing: Sequence[float] | None = None,
) -> Collection:
    """Pair, check and split the cases of a folder.

    The split is the first of these that applies: names that begin with `test_prefix` against the others;
    ``splits.json`` with ``{"train": [names], "test": [names]}`` (cases in neither list are left out); names
    that all begin with ``train_`` or ``test_``; a random split from `seed` that keeps a patient (the text
    before the first underscore) together.

    Args:
        folder: Has the folders ``images`` and ``masks``.
        seed: Of the random split.
        labels: File values to keep as classes, in this order; every other value is background. Default: all.
        test_prefix: Beginning (or beginnings) of the names to test on.
        test_fraction: Share of the patients that a random split tests on.
        spacing: Size of a pixel in mm. Default: as the NIfTI files say; one for PNG and TIFF.
    """
    folder = Path(folder)
    cases = _pair(folder)
    by_name = {case.name: case for case in cases}
    train, test = (
        [by_name[name] for name in names]
        for names in split_names(
            folder, list(by_name), seed=seed, test_prefix=test_prefix, test_fraction=test_fraction
        )
    )
    values, channels, found = _inspect(
        train + test, spacing if spacing is None else checked_spacing(spacing, 2)
    )
    return Collection(train, test, _label_values(folder, values, labels), channels, found)


def find_images(folder: Path) -> list[Case]:
    """The images of a folder, to be predicted; a folder with ``images`` inside stands for that one."""
    folder = Path(folder)
    folder = folder / "images" if (folder / "images").is_dir() else folder
    return [Case(name, path) for name, path in list_files(folder).items()]


def list_files(folder: Path) -> dict[str, Path]:
    """Name -> file, sorted by name; anything that is not an image is an error, not a surprise later."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; check the path (a data folder has images/ and masks/)")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        if not path.name.lower().endswith(SUFFIXES):
            raise UserError(f"{path}: unknown format; convert it to PNG, TIFF or NIfTI, or move it away")
        if stem(path) in files:
            raise UserError(f"{path}: has the same name as {files[stem(path)].name}; keep one of the two")
        files[stem(path)] = path
    if not files:
        raise UserError(f"{folder}: no PNG, TIFF or NIfTI file in it; put the images there")
    return files


def class_indices(labels: np.ndarray, label_values: Sequence[int]) -> np.ndarray:
    """File values -> class indices (uint8 where they fit); a value that is not a class is background."""
    classes = np.zeros(labels.shape, np.uint8 if len(label_values) <= 256 else np.int32)
    for index, value in enumerate(label_values[1:], start=1):
        classes[labels == value] = index
    return classes


class Slices(Dataset[dict[str, Any]]):
    """Slices in memory: ``{"image": float32 (C, H, W), "labels": int64 (1, H, W), "name": str}``.

    `labels` may be missing (prediction). Sizes may differ: batch them with `collate`.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray] | None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.images, self.labels = images, labels
        self.names = [f"{i:04d}" for i in range(len(images))] if names is None else list(names)

    @classmethod
    def from_cases(cls, cases: Sequence[Case], label_values: Sequence[int] = (0,)) -> "Slices":
        """Read the files of the cases once."""
        labels = [class_indices(read_labels(case.labels), label_values) for case in cases if case.labels]
        if labels and len(labels) != len(cases):
            raise ValueError("either all cases have labels or none")
        return cls(
            [read_image(case.image)[0] for case in cases], labels or None, [case.name for case in cases]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"image": torch.from_numpy(self.images[index]), "name": self.names[index]}
        if self.labels is not None:
            item["labels"] = torch.from_numpy(self.labels[index]).long()[None]
        return item


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch slices of any size: zeros at the bottom and right, up to the largest and a multiple of 16.

    ``"size"`` holds the (H, W) of each sample, to cut a prediction back: ``logits[i, :, :h, :w]``.
    """
    sizes = [tuple(sample["image"].shape[-2:]) for sample in samples]
    height, width = (-(-max(side) // MULTIPLE) * MULTIPLE for side in zip(*sizes, strict=True))
    batch: dict[str, Any] = {"name": [sample["name"] for sample in samples], "size": sizes}
    for key in ("image", "labels"):
        if key in samples[0]:
            batch[key] = torch.stack(
                [
                    functional.pad(sample[key], (0, width - w, 0, height - h))
                    for sample, (h, w) in zip(samples, sizes, strict=True)
                ]
            )
    return batch


def _pair(folder: Path) -> list[Case]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with images/ and masks/")
    images, masks = list_files(folder / "images"), list_files(folder / "masks")
    for name in sorted(images.keys() ^ masks.keys()):
        lone, other = (images[name], "masks") if name in images else (masks[name], "images")
        raise UserError(f"{lone}: no file of the same name in {folder / other}; add it or move this one away")
    return [Case(name, image, masks[name]) for name, image in images.items()]


def _inspect(cases: list[Case], spacing: tuple[float, ...] | None) -> tuple[set[int], int, tuple[float, ...]]:
    """Read every file once, before hours of training: label values, channels, spacing."""
    values: set[int] = set()
    channels, found, first = 0, (), cases[0]
    for case in cases:
        assert case.labels is not None
        image, here = read_image(case.image)
        labels = read_labels(case.labels)
        if image.shape[1:] != labels.shape:
            raise UserError(
                f"{case.labels}: {labels.shape[0]} x {labels.shape[1]}, but its image is "
                f"{image.shape[1]} x {image.shape[2]}; give both the same size"
            )
        channels = channels or len(image)
        if len(image) != channels:
            raise UserError(
                f"{case.image}: {len(image)} channels, but {first.image.name} has {channels}; convert one"
            )
        found = found or here
        if spacing is None and not np.allclose(here, found, rtol=1e-3):
            raise UserError(
                f"{case.image}: spacing {here}, but {first.image.name} has {found}; "
                "resample one, or give the spacing"
            )
        values.update(np.unique(labels).tolist())
    return values, channels, spacing or found


def _label_values(folder: Path, found: set[int], wanted: Sequence[int] | None) -> tuple[int, ...]:
    if wanted is None and len(found) > MOST_LABELS:
        raise UserError(
            f"{folder / 'masks'}: {len(found)} different values, so grey pictures and not labels; "
            "write one integer per class, or name the labels to keep"
        )
    chosen = sorted(found - {0}) if wanted is None else [int(value) for value in wanted]
    if wanted is not None:
        for value in chosen:
            if value not in found or value == 0:
                raise UserError(
                    f"{folder / 'masks'}: no label {value} to keep; there are {sorted(found - {0})}"
                )
    if not chosen:
        raise UserError(f"{folder / 'masks'}: every mask is empty; there is nothing to learn")
    return (0, *dict.fromkeys(chosen))
