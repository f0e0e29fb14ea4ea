"""What lies where in a dataset: plain folder, nnU-Net v2 raw, or Medical Segmentation Decathlon.

plain        images/NAME.*          masks/NAME.*
nnU-Net v2   imagesTr/NAME_0000.*   labelsTr/NAME.*    dataset.json   (one file per channel)
Decathlon    imagesTr/NAME.nii.gz   labelsTr/NAME...   dataset.json   (channels on the last axis)
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boundaryloss.training.errors import UserError
from boundaryloss.training.files import SUFFIXES, stem
from boundaryloss.training.split import patient

CHANNEL = re.compile(r"(.+)_(\d{4})$")  # how nnU-Net ends the name of an image


@dataclass(frozen=True)
class Case:
    """One image, in one file or in one per channel, and its labels unless it is only to be predicted."""

    name: str
    images: tuple[Path, ...]
    labels: Path | None = None

    @property
    def image(self) -> Path:
        """The file of the image, or of its first channel."""
        return self.images[0]

    @property
    def patient(self) -> str:
        """The text before the first underscore: slices that share it never part in a random split."""
        return patient(self.name)


@dataclass(frozen=True)
class Layout:
    """The labelled cases of a dataset, and what its dataset.json declares."""

    kind: str  # "plain", "nnunet" or "msd"
    folder: Path
    cases: tuple[Case, ...]
    modalities: tuple[str, ...] = ()  # by channel
    label_values: tuple[int, ...] = ()  # declared, without the background and `ignore`
    regions: tuple[tuple[int, ...], ...] = ()  # values of each region; none: the labels exclude each other
    region_values: tuple[int, ...] = ()  # the value to write for each region
    ignore: int | None = None  # the value of unlabelled voxels
    numbered: bool = False  # whether images have one file per channel, named so


def read_layout(folder: Path) -> Layout:
    """Find out which layout `folder` has, and list its cases."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with images/ and masks/, or with dataset.json")
    if not (folder / "dataset.json").exists():
        images, labels = list_files(folder / "images"), list_files(folder / "masks")
        return Layout("plain", folder, _pair({name: (path,) for name, path in images.items()}, labels))
    description = _read_description(folder / "dataset.json")
    if isinstance(description.get("training"), list):
        return _msd(folder, description)
    if "channel_names" in description:
        return _nnunet(folder, description)
    raise UserError(
        f"{folder / 'dataset.json'}: it has neither channel_names (nnU-Net v2) "
        "nor a training list (Decathlon); add one of them"
    )


def find_images(folder: Path, *, numbered: bool = False) -> list[Case]:
    """The images of a folder, to be predicted; for a dataset, those in images/ or imagesTs/.

    With `numbered` names end in _0000, _0001, ..., one file per channel, as in nnU-Net.
    """
    folder = Path(folder)
    inside = [folder / name for name in ("images", "imagesTs") if (folder / name).is_dir()]
    files = list_files(inside[0] if inside else folder)
    grouped = _group_channels(files) if numbered else {name: (path,) for name, path in files.items()}
    return [Case(name, paths) for name, paths in grouped.items()]


def find_labels(folder: Path) -> dict[str, Path]:
    """Name -> label file of a folder; for a dataset, those in masks/ or labelsTr/."""
    inside = [folder / name for name in ("masks", "labelsTr") if (folder / name).is_dir()]
    return list_files(inside[0] if inside else folder)


def list_files(folder: Path) -> dict[str, Path]:
    """Name -> file, sorted by name; anything that is not an image is an error, not a surprise later."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; check the path (a data folder has images/ and masks/)")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir() or path.suffix == ".json":
            continue
        if not path.name.lower().endswith(SUFFIXES):
            raise UserError(f"{path}: unknown format; convert it to PNG, TIFF or NIfTI, or move it away")
        if stem(path) in files:
            raise UserError(f"{path}: has the same name as {files[stem(path)].name}; keep one of the two")
        files[stem(path)] = path
    if not files:
        raise UserError(f"{folder}: no PNG, TIFF or NIfTI file in it; put the images there")
    return files


def _nnunet(folder: Path, description: Mapping[str, Any]) -> Layout:
    listed = description.get("dataset")
    if listed:  # files anywhere
        cases = tuple(_listed(folder, name, listed[name]) for name in sorted(listed))
    else:
        cases = _pair(_group_channels(list_files(folder / "imagesTr")), list_files(folder / "labelsTr"))
    values, regions, ignore = _declared_labels(folder, description)
    order = tuple(description.get("regions_class_order") or ())
    if regions and (len(order) != len(regions) or not {*order} <= {*values}):
        raise UserError(
            f"{folder / 'dataset.json'}: regions_class_order must name one value "
            f"for each of the {len(regions)} regions"
        )
    return Layout(
        "nnunet",
        folder,
        cases,
        tuple(str(name) for name in description["channel_names"].values()),
        values,
        regions,
        order if regions else (),
        ignore,
        numbered=not listed,
    )


def _listed(folder: Path, name: str, files: Any) -> Case:
    try:
        return Case(name, tuple(folder / image for image in files["images"]), folder / files["label"])
    except (KeyError, TypeError):
        raise UserError(
            f'{folder / "dataset.json"}: {name!r} in "dataset" must have "images": [files] and "label": file'
        ) from None


def _msd(folder: Path, description: Mapping[str, Any]) -> Layout:
    try:
        cases = [
            Case(stem(Path(entry["image"])), (folder / entry["image"],), folder / entry["label"])
            for entry in description["training"]
        ]
        named = {name: int(value) for value, name in description["labels"].items()}
        modalities = tuple(str(name) for name in description.get("modality", {}).values())
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(
            f'{folder / "dataset.json"}: must have "training": [{{"image": ..., "label": ...}}] and '
            '"labels": {"0": "background", ...}'
        ) from None
    values, _, _ = _declared_labels(folder, {"labels": named})
    return Layout("msd", folder, tuple(sorted(cases, key=lambda case: case.name)), modalities, values)


def _declared_labels(
    folder: Path, description: Mapping[str, Any]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...], int | None]:
    """The values, the regions among them if there are any, and the value of unlabelled voxels."""
    try:
        labels = dict(description["labels"])
        ignore = labels.pop("ignore", None)
        labels.pop("background", None)
        groups = [tuple(map(int, v if isinstance(v, list) else [v])) for v in labels.values()]
        ignore = None if ignore is None else int(ignore)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(
            f'{folder / "dataset.json"}: "labels" must be a table such as {{"background": 0, "lesion": 1}}'
        ) from None
    values = tuple(sorted({value for group in groups for value in group} - {0}))
    overlapping = any(len(group) > 1 for group in groups)
    return values, tuple(groups) if overlapping else (), ignore


def _group_channels(files: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
    groups: dict[str, list[Path]] = {}
    for name, path in files.items():
        match = CHANNEL.fullmatch(name)
        if not match:
            raise UserError(f"{path}: nnU-Net names end in the channel; call it {name}_0000")
        groups.setdefault(match[1], []).append(path)
    return {name: tuple(paths) for name, paths in groups.items()}


def _pair(images: Mapping[str, tuple[Path, ...]], labels: Mapping[str, Path]) -> tuple[Case, ...]:
    """Cases by name; one that lacks its image or its labels is kept, and named when it is read."""
    return tuple(Case(name, images.get(name, ()), labels.get(name)) for name in sorted({*images, *labels}))


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); repair it") from None
    if not isinstance(description, dict):
        raise UserError(f"{path}: must be a table, as nnU-Net and the Decathlon write it")
    return description
