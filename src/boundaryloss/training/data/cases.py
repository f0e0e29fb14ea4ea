"""A dataset -> cases, a split, and what they have in common.

Images and masks are PNG, TIFF or NIfTI, paired by name; the two may differ in format. Arrays keep the
order of their file, so a prediction lies on its image voxel by voxel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from boundaryloss.files import (
    IGNORE,
    Case,
    Layout,
    UserError,
    check_label_values,
    checked_spacing,
    group_names,
    read_layout,
)
from boundaryloss.training.data.checks import Found, OnBad, ct_windows, inspect
from boundaryloss.training.data.decoded import Decoded
from boundaryloss.training.data.split import TEST_SHARE, split_names


@dataclass(frozen=True)
class Collection:
    """The cases of a dataset, split, and what they have in common."""

    train: list[Case]
    test: list[Case]
    label_values: tuple[int, ...]  # the value in the files of class 0 (background), 1, 2, ...
    channels: int
    spacing: tuple[float, ...]  # of slices: of all; of volumes: the median
    layout: Layout
    found: dict[str, Found]  # by the name of the case
    patients: dict[str, str]  # by the name of every case of the dataset
    windows: tuple[tuple[float, ...], ...] = ()  # by channel, as `read_image` takes them
    skipped: tuple[str, ...] = ()  # a line about each bad case
    decoded: dict[str, Decoded] = field(default_factory=dict, compare=False, repr=False)  # slices

    @property
    def num_classes(self) -> int:
        """Return the number of classes, the background included."""
        return len(self.label_values)

    @property
    def dimensions(self) -> int:
        """Return 2 for slices, 3 for volumes."""
        return len(self.spacing)


def find_cases(
    folder: Path,
    *,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    test_prefix: str | Sequence[str] | None = None,
    test_fraction: float = TEST_SHARE,
    spacing: Sequence[float] | None = None,
    fold: int = 0,
    split: Path | None = None,
    group: str | None = None,
    window: Sequence[float] | None = None,
    ignore: int | None = None,
    threshold: float | None = None,
    on_bad: OnBad | None = None,
) -> Collection:
    """Find, check and split the cases of a dataset, of whichever layout.

    The split is the first of these that applies: the file `split`; names that begin with `test_prefix`
    against the others; ``splits.json`` with ``{"train": [names], "test": [names]}`` (cases in neither list
    are left out); `fold` of nnU-Net's ``splits_final.json``, tested on its ``val``; names that all begin with
    ``train_`` or ``test_``; fold `fold` of a random split from `seed` that keeps a patient together, as
    `boundaryloss.files.group_names` tells them apart.

    Args:
        folder: Has ``images`` and ``masks``, or a ``dataset.json`` of nnU-Net v2 or the Decathlon.
        seed: Of the random split.
        labels: File values to keep as classes, in this order; every other value is background. Default: all.
        test_prefix: Beginning (or beginnings) of the names to test on.
        test_fraction: Share of the patients that a random split tests on.
        spacing: Size of a pixel of slices in mm. Default: as the NIfTI files say; one for PNG and TIFF.
        fold: Which fold to test on, from 0.
        split: A file like ``splits.json``, and the last word.
        group: Regular expression whose first group, at the beginning of a name, is the patient.
        window: Intensities that become 0 and 1. Default: for CT the range of its objects, else by image.
        ignore: File value of unlabelled voxels. Default: as nnU-Net's ``dataset.json`` says, else none.
        threshold: File values above it are the one class, of masks with grey edges. Default: they are labels.
        on_bad: Gets a line about each bad case, which is left out; without it that is an error.

    Raises:
        UserError: what is wrong with the folder, a file, the labels or the split, and what to do.
    """
    layout = _with_ignore(read_layout(Path(folder)), ignore, threshold)
    by_name = {case.name: replace(case, threshold=threshold) for case in layout.cases}
    patients = group_names(list(by_name), group)
    train, test = split_names(
        layout.folder,
        list(by_name),
        seed=seed,
        groups=patients,
        test_prefix=test_prefix,
        test_fraction=test_fraction,
        fold=fold,
        split=split,
    )
    decoded: dict[str, Decoded] = {}
    is_ct = window is None and "CT" in map(str.upper, layout.modalities)

    def keep(case: Case, images: Sequence[np.ndarray], labels: np.ndarray, values: Sequence[int]) -> None:
        if labels.ndim == 3 or (is_ct and max(image.itemsize for image in images) > 4):
            return
        channels = sum(map(len, images))
        windows = None if is_ct else () if window is None else (tuple(window),) * channels
        decoded[case.name] = Decoded.of(images, labels, values, windows)

    found, problems = inspect(
        [by_name[name] for name in (*train, *test)],
        layout,
        same_spacing=spacing is None,
        same_scale=window is None and not is_ct,
        keep=keep,
        on_bad=on_bad,
    )
    parts = [[by_name[name] for name in names if name in found] for names in (train, test)]
    for part, purpose in zip(parts, ("train", "test"), strict=True):
        if not part:
            raise UserError(f"{folder}: no good case left to {purpose} on")
    learned = [found[case.name] for case in parts[0]]
    common = tuple(np.median([case.spacing for case in learned], axis=0).tolist())
    if spacing is not None:
        if len(common) == 3:
            raise UserError(
                "spacing: volumes have theirs in their headers; leave it out (see target_spacing)"
            )
        common = checked_spacing(spacing, 2)
    channels = learned[0].channels
    modalities = layout.modalities or ("",) * channels
    windows = ct_windows(modalities, learned) if window is None else (tuple(window),) * channels
    return Collection(
        train=parts[0],
        test=parts[1],
        label_values=_label_values(layout, found, [case.name for case in parts[0]], labels),
        channels=channels,
        spacing=common,
        layout=layout,
        found=found,
        patients=patients,
        windows=windows if any(windows) else (),
        skipped=tuple(problems),
        decoded=decoded,
    )


def _with_ignore(layout: Layout, ignore: int | None, threshold: float | None) -> Layout:
    """Return the layout with the value of unlabelled voxels that the user gives, if that goes together."""
    path = layout.folder / "dataset.json"
    if ignore is not None and (layout.ignore not in (None, ignore) or ignore in layout.label_values):
        declared = "a label" if ignore in layout.label_values else f"not {layout.ignore}"
        raise UserError(f"ignore = {ignore} is {declared} in {path}; make them agree")
    if threshold is not None and layout.ignore is not None:
        raise UserError(f"threshold: {path} has a value to ignore, which it would lose; remove one of them")
    return layout if ignore is None else replace(layout, ignore=ignore)


def _label_values(
    layout: Layout, found: Mapping[str, Found], learned: Sequence[str], wanted: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the file value of each class, 0 first."""
    masks = layout.folder / ("masks" if layout.kind == "plain" else "labelsTr")
    values = set[int]().union(*(case.values for case in found.values())) - {0, layout.ignore}
    if wanted is not None and layout.regions:
        raise UserError(f"{layout.folder / 'dataset.json'}: has regions, of which labels cannot keep a part")
    if wanted is None and not layout.label_values:
        check_label_values(values, masks)
    for value in wanted or ():
        if value not in values:
            raise UserError(f"{masks}: no label {value} to keep; there are {_some(sorted(values))}")
    chosen = wanted if wanted is not None else layout.label_values or sorted(values)
    for part, which in ((found, "every mask"), (learned, "every training mask")):
        if not any(found[name].values & {*chosen} for name in part):
            above = (
                ", or nothing in it exceeds the threshold" if layout.cases[0].threshold is not None else ""
            )
            raise UserError(f"{masks}: {which} is empty{above}; there is nothing to learn")
    if len(chosen) >= IGNORE:
        raise UserError(f"{masks}: {len(chosen)} classes; at most {IGNORE - 1}, so name the labels to keep")
    return (0, *dict.fromkeys(map(int, chosen)))


def _some(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:20])) + ", ..." * (len(values) > 20)
