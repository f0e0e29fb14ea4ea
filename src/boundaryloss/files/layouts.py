"""What lies where in a dataset: plain folder, nnU-Net v2 raw, or Medical Segmentation Decathlon.

plain        images/NAME.*          masks/NAME.*
nnU-Net v2   imagesTr/NAME_0000.*   labelsTr/NAME.*    dataset.json   (one file per channel)
Decathlon    imagesTr/NAME.nii.gz   labelsTr/NAME...   dataset.json   (channels on the last axis)
"""

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr

from boundaryloss.files.dataset_json import Listed, read_description
from boundaryloss.files.errors import UserError
from boundaryloss.files.names import check_names
from boundaryloss.files.read import SUFFIXES, stem

JUNK = ("thumbs.db", "desktop.ini")  # what Windows leaves in folders; macOS begins its files with a dot
MORE = (".npz", ".pkl")  # probabilities, which nnU-Net writes beside the labels of the same name
PAIRS = (("images", "masks"), ("imagesTs", "labelsTs"), ("imagesTr", "labelsTr"))
CHANNEL = re.compile(r"(.+)_(\d{4})$")  # how nnU-Net ends the name of an image


@dataclass(frozen=True)
class Case:
    """One image, in one file or in one per channel, and its labels unless it is only to be predicted."""

    name: str
    images: tuple[Path, ...]
    labels: Path | None = None
    threshold: float | None = None  # of grey labels: what is above it is the object

    @property
    def image(self) -> Path:
        """Return the file of the image, or of its first channel."""
        return self.images[0]


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
    notes: tuple[str, ...] = ()  # what the user should know before training


def read_layout(folder: Path) -> Layout:
    """Find out which layout `folder` has, and list its cases.

    Raises:
        UserError: a folder is missing, dataset.json is wrong, or a name could not be that of a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with images/ and masks/, or with dataset.json")
    if (folder / "dataset.json").exists():
        layout = _described(folder)
    else:
        images, labels = list_files(folder / "images"), list_files(folder / "masks")
        layout = Layout("plain", folder, _pair({name: (path,) for name, path in images.items()}, labels))
    check_names([case.name for case in layout.cases], folder)
    return layout


def find_images(folder: Path, *, numbered: bool = False) -> list[Case]:
    """List the images of a folder, to be predicted; of a dataset those that `find_labels` has the truth of.

    Of a dataset they are the first of images/ (with masks/), imagesTs/ (with labelsTs/) and imagesTr/ (with
    labelsTr/) that has both. Without any labels they are the first that is there.

    Args:
        folder: of images, or a dataset; or one image.
        numbered: names end in _0000, _0001, ..., one file per channel, as in nnU-Net.
    """
    folder = Path(folder)
    if folder.is_file():
        return [_one_image(folder, numbered=numbered)]
    if (cases := _labelled(folder)) is not None:
        return [case for case in cases if case.images]
    images = _first(folder, 0)
    files = list_files(images)
    grouped = _group_channels(files) if numbered else {name: (path,) for name, path in files.items()}
    check_names(grouped, images)
    return [Case(name, paths) for name, paths in grouped.items()]


def _one_image(path: Path, *, numbered: bool) -> Case:
    """Return the case that a file belongs to; where every channel has a file, with those beside it."""
    _check_format(path)
    files, match = {stem(path): path}, CHANNEL.fullmatch(stem(path))
    if numbered and match:
        ending = path.name.removeprefix(stem(path))
        others = sorted(path.parent.glob(f"{glob.escape(match[1])}_[0-9][0-9][0-9][0-9]{ending}"))
        files = {stem(other): other for other in others}
    ((name, paths),) = (_group_channels(files) if numbered else {stem(path): (path,)}).items()
    return Case(name, paths)


def find_labels(folder: Path) -> dict[str, Path]:
    """Return name -> label file of a folder; of a dataset, those of the images that `find_images` lists."""
    folder = Path(folder)
    if (cases := _labelled(folder)) is not None:
        return {case.name: case.labels for case in cases if case.labels}
    return list_files(_first(folder, 1))


def _labelled(folder: Path) -> tuple[Case, ...] | None:
    """Return the cases that dataset.json describes, if it is they that are predicted and judged."""
    first = _first(folder, 0)
    described = (folder / "dataset.json").is_file() and first in (folder, folder / "imagesTr")
    return read_layout(folder).cases if described else None


def _first(folder: Path, part: int) -> Path:
    """Return the folder of images (part 0) or labels (1) in a dataset; `folder` itself if it is none."""
    pairs = [(folder / images, folder / labels) for images, labels in PAIRS]
    whole = [pair for pair in pairs if pair[0].is_dir() and pair[1].is_dir()]
    return next((pair[part] for pair in whole or pairs if pair[part].is_dir()), folder)


def list_files(folder: Path) -> dict[str, Path]:
    """Name -> file, sorted by name; anything that is not an image is an error, not a surprise later."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; check the path (a data folder has images/ and masks/)")
    files: dict[str, Path] = {}
    there = sorted(folder.iterdir())
    known = {stem(path) for path in there if path.name.lower().endswith(SUFFIXES)}
    for path in there:
        junk = path.name.startswith(".") or path.name.lower() in JUNK
        more = path.suffix in MORE and path.stem in known
        if junk or more or path.is_dir() or path.suffix == ".json":
            continue
        _check_format(path)
        if stem(path) in files:
            raise UserError(f"{path}: has the same name as {files[stem(path)].name}; keep one of the two")
        files[stem(path)] = path
    if not files:
        raise UserError(f"{folder}: no PNG, TIFF or NIfTI file in it; put the images there")
    return files


def _check_format(path: Path) -> None:
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: unknown format; convert it to PNG, TIFF or NIfTI, or move it away")


def _described(folder: Path) -> Layout:
    """Read what a folder with dataset.json has."""
    path = folder / "dataset.json"
    found = read_description(path)
    if found.listed is not None:
        cases = _listed(folder, found.listed)
    else:
        cases = _pair(_group_channels(list_files(folder / "imagesTr")), list_files(folder / "labelsTr"))
    notes = ()
    if found.count is not None and found.count != len(cases):
        notes = (
            f"{path}: numTraining is {repr(found.count)}, but there are {len(cases)} cases; is any missing?",
        )
    return Layout(
        found.kind,
        folder,
        cases,
        found.modalities,
        found.label_values,
        found.regions,
        found.region_values,
        found.ignore,
        numbered=found.listed is None,
        notes=notes,
    )


def _listed(folder: Path, entries: Sequence[Listed]) -> tuple[Case, ...]:
    """List the cases whose files dataset.json names; those without a name have that of their image.

    Images of the same name in several folders are told apart by these: siteA_scan, siteB_scan.
    """
    entries = [entry for entry in entries if not Path(entry.images[0]).name.startswith("._")]
    paths = [Path(os.path.normpath(entry.images[0])) for entry in entries]
    names = [entry.name or stem(path) for entry, path in zip(entries, paths, strict=True)]
    if len({*names}) < len(names):
        common = Path(os.path.commonpath([path.parent for path in paths]))
        names = ["_".join([*path.relative_to(common).parent.parts, stem(path)]) for path in paths]
    cases = [
        Case(name, tuple(folder / image for image in entry.images), folder / entry.label)
        for name, entry in zip(names, entries, strict=True)
    ]
    return tuple(sorted(cases, key=lambda case: case.name))


def _group_channels(files: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
    groups: dict[str, list[Path]] = {}
    for name, path in files.items():
        match = CHANNEL.fullmatch(name)
        if not match:
            raise UserError(f"{path}: nnU-Net names end in the channel; call it {name}_0000")
        groups.setdefault(match[1], []).append(path)
    return {name: tuple(paths) for name, paths in groups.items()}


def _pair(images: Mapping[str, tuple[Path, ...]], labels: Mapping[str, Path]) -> tuple[Case, ...]:
    """Return the cases by name; one that lacks its image or its labels is kept, and named when it is read."""
    return tuple(Case(name, images.get(name, ()), labels.get(name)) for name in sorted({*images, *labels}))
