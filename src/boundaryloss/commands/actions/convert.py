"""The paper's data sets, from the layout they come in to the slices the paper trained on.

Each becomes a folder with images/, masks/ and splits.json: 256 x 256 slices, one TIFF of all modalities each,
with intensities from the least to the largest value of the patient's volume as 0 to 255.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from boundaryloss.extras import require

require("train", __name__, "monai", "numpy", "tifffile")

import numpy as np
import tifffile
from monai.transforms.spatial.array import Resize

from boundaryloss.files import (
    UserError,
    atomic_write,
    check_names,
    group_names,
    prepare_directory,
    read_label_map,
    read_raw,
    write_labels,
)
from boundaryloss.training.callbacks import Progress

SIZE = 256


@dataclass(frozen=True)
class Volume:
    """One case: its name (the patient's before the first underscore), modalities and labels."""

    name: str
    images: tuple[Path, ...]
    labels: Path


@dataclass(frozen=True)
class Dataset:
    """How to find the cases, how many patients the paper tested on, and which labels count."""

    find: Callable[[Path], Iterator[Volume]]
    tested: int
    labels: tuple[int, ...]


def convert(name: str, source: Path, out: Path, *, progress: Progress) -> int:
    """Write the slices of a data set as a data folder.

    Args:
        name: one of `DATASETS`.
        source: the unpacked data set.
        out: the data folder, new or empty.
        progress: is called with cases done, cases in all, and the case's name.

    Returns:
        The number of slices.

    Raises:
        UserError: the layout is another one, a file is missing or unreadable, or shapes differ.
    """
    dataset = DATASETS[name]
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; give the one that the archive was unpacked into")
    volumes = sorted(dataset.find(source), key=lambda volume: volume.name)
    _check(name, source, volumes)
    prepare_directory(out)
    try:
        names = _write_slices(dataset, volumes, out, progress)
        _write_split(out / "splits.json", names, dataset.tested)
    except BaseException:  # half a data set looks like a whole one
        shutil.rmtree(out)
        raise
    return len(names)


def _write_slices(dataset: Dataset, volumes: list[Volume], out: Path, progress: Progress) -> list[str]:
    """Write every slice; return their names."""
    for folder in ("images", "masks"):
        (out / folder).mkdir()
    names: list[str] = []
    for done, volume in enumerate(volumes, start=1):
        for index, (image, labels) in enumerate(_slices(volume, dataset.labels)):
            name = f"{volume.name}_{index:03d}"
            names.append(name)
            path = out / "images" / f"{name}.tif"
            tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "CYX"})
            write_labels(out / "masks" / f"{name}.png", labels)
        progress(done, len(volumes), volume.name)
    return names


def _check(name: str, source: Path, volumes: list[Volume]) -> None:
    if not volumes:
        raise UserError(
            f"{source}: holds no case of {name}; give the folder that the archive was unpacked into"
        )
    for volume in volumes:
        for path in (*volume.images, volume.labels):
            if not path.is_file():
                raise UserError(f"{path}: is missing; unpack the archive once more")
    seen: dict[str, Path] = {}
    for volume in volumes:
        if volume.name in seen:
            raise UserError(
                f"{volume.labels}: the same case as {seen[volume.name]}; give one copy of the data"
            )
        seen[volume.name] = volume.labels
    check_names(seen, source)


def _slices(volume: Volume, keep: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return the image (modality, 256, 256) and labels (256, 256), uint8, along the third axis."""
    labels, _ = read_label_map(volume.labels)
    if labels.ndim != 3:
        raise UserError(f"{volume.labels}: shape {labels.shape}, but a volume was expected")
    images = []
    for path in volume.images:
        image = read_raw(path)[0].astype(np.float32)
        if image.shape != (1, *labels.shape):
            raise UserError(f"{path}: shape {image.shape[1:]}, but {volume.labels.name} has {labels.shape}")
        image = image[0]
        low, high = image.min(), image.max()
        if low == high:
            raise UserError(f"{path}: one value everywhere; leave the case out")
        images.append((image - low) / (high - low))
    image = _resized(np.stack(images), "bilinear")
    classes = _resized(np.where(np.isin(labels, keep), labels, 0)[None], "nearest")[0]
    for index in range(labels.shape[2]):
        yield (image[..., index] * 255).round().astype(np.uint8), classes[..., index].astype(np.uint8)


def _resized(volume: np.ndarray, mode: str) -> np.ndarray:
    """Return (channel, 256, 256, slices), each slice for itself."""
    if volume.shape[1:3] == (SIZE, SIZE):
        return volume
    slices = np.moveaxis(volume, 3, 0)
    return np.stack([np.asarray(Resize((SIZE, SIZE), mode=mode)(part)) for part in slices], axis=3)


def _write_split(path: Path, names: list[str], tested: int) -> None:
    """Hold out as many patients as the paper did; which ones it did not say."""
    groups = group_names(names)
    patients = sorted({*groups.values()})
    held_out = set(random.Random(0).sample(patients, max(1, min(tested, len(patients) // 2))))
    split = {
        part: [name for name in names if (groups[name] in held_out) == test]
        for part, test in (("train", False), ("test", True))
    }
    with atomic_write(path, "split") as file:
        file.write((json.dumps(split, indent=1) + "\n").encode())


def _training(source: Path, pattern: str) -> Iterator[Path]:
    """Return what matches `pattern`, but for the challenges' own test sets, which the paper did not have."""
    for path in source.rglob(pattern):
        if not {"test", "testing"} & {part.lower() for part in path.relative_to(source).parts}:
            yield path


def _isles2018(source: Path) -> Iterator[Volume]:
    """Find TRAINING/case_N/SMIR.Brain.XX.O.KIND.ID/SMIR.Brain.XX.O.KIND.ID.nii, with six kinds."""
    for case in _training(source, "case_*"):
        files = {path.name.split(".")[4]: path for path in case.rglob("SMIR.Brain.XX.O.*.nii")}
        kinds = ("CT", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax", "OT")
        *images, labels = (files.get(kind, case / f"SMIR.Brain.XX.O.{kind}.*.nii") for kind in kinds)
        yield Volume(case.name.replace("_", ""), tuple(images), labels)


def _wmh2017(source: Path) -> Iterator[Volume]:
    """Find training/SITE/NUMBER/wmh.nii.gz beside pre/FLAIR.nii.gz and T1.nii.gz; SITE may have two parts."""
    for labels in _training(source, "wmh.nii.gz"):
        case = labels.parent
        name = "".join(part for part in case.relative_to(source).parts if part != "training")
        yield Volume(name.replace("_", ""), (case / "pre/FLAIR.nii.gz", case / "pre/T1.nii.gz"), labels)


def _acdc(source: Path) -> Iterator[Volume]:
    """Find training/patientNNN/patientNNN_frameNN.nii.gz, each with its _gt.nii.gz."""
    for labels in _training(source, "patient*_frame*_gt.nii.gz"):
        name = labels.name.removesuffix("_gt.nii.gz")
        yield Volume(name, (labels.with_name(f"{name}.nii.gz"),), labels)


DATASETS = {
    "isles2018": Dataset(_isles2018, tested=20, labels=(1,)),
    "wmh2017": Dataset(_wmh2017, tested=10, labels=(1,)),  # 2 is other pathology
    "acdc": Dataset(_acdc, tested=25, labels=(1, 2, 3)),
}
