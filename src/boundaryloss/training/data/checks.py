"""Every case is read once before hours of training: what it has, and what is wrong with it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from boundaryloss.files import (
    Case,
    Layout,
    UserError,
    is_file,
    read_affine,
    read_label_map,
    read_raw,
    same_grid,
    scaled_by_type,
)

SAMPLES = 1000  # voxels of a case that its share in the window of a CT is taken from
PERCENTILES = (0.5, 99.5)
OnBad = Callable[[str], None]
Keep = Callable[[Case, Sequence[np.ndarray], np.ndarray, Sequence[int]], None]  # images, labels, values


@dataclass(frozen=True)
class Found:
    """What a case has, by axis: those of the file in 2-D, right-anterior-superior in 3-D."""

    channels: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    voxels: dict[int, int]  # by the value in the file
    objects: dict[int, int]  # connected parts, by value
    foreground: np.ndarray = field(compare=False, repr=False)  # (channel, some voxels of objects)
    by_type: tuple[bool, ...] = ()  # by file: whether values are scaled by the range of their type
    digest: str = ""  # of the decoded image and labels, whatever their files are called or when written

    @property
    def values(self) -> set[int]:
        """Return the values in the file of the labels."""
        return {*self.voxels}


def inspect(
    cases: Sequence[Case],
    layout: Layout,
    *,
    same_spacing: bool,
    same_scale: bool,
    keep: Keep,
    on_bad: OnBad | None,
) -> tuple[dict[str, Found], list[str]]:
    """Return what each good case has, by name, and a line about each bad one; `keep` gets its arrays.

    Raises:
        UserError: a case is bad and there is no `on_bad` to be told so, or none is good.
    """
    found: dict[str, Found] = {}
    problems: list[str] = []

    def attempt(case: Case, check: Callable[[], Any]) -> None:
        try:
            check()
        except UserError as error:
            if on_bad is None:
                raise
            found.pop(case.name, None)
            problems.append(str(error))
            on_bad(problems[-1])

    for case in cases:
        attempt(case, lambda case=case: found.update({case.name: _inspect_case(case, layout, keep)}))
    if not found:
        raise UserError(f"{layout.folder}: no good case is left")
    usual = {
        "channels": _most_common([f.channels for f in found.values()]),
        "axes": _most_common([len(f.shape) for f in found.values()]),
    }
    by_type = _most_common([f.by_type for f in found.values()]) if same_scale else None
    first = next(iter(found.values())).spacing
    for case in [case for case in cases if case.name in found]:
        spacing = first if same_spacing and usual["axes"] == 2 else None
        attempt(case, lambda case=case, spacing=spacing: _compare(case, found[case.name], usual, spacing))
        if by_type is not None and case.name in found:
            attempt(case, lambda case=case: check_scale(case, found[case.name].by_type, by_type))
    return found, problems


def ct_windows(modalities: Sequence[str], found: Sequence[Found]) -> tuple[tuple[float, ...], ...]:
    """Return for each channel of CT the range of its objects' intensities, and `()` for the others."""
    windows = []
    for channel, modality in enumerate(modalities):
        values = np.concatenate([case.foreground[channel] for case in found])
        is_ct = modality.upper() == "CT" and values.size > 0
        windows.append(tuple(map(float, np.percentile(values, PERCENTILES))) if is_ct else ())
    return tuple(windows)


def oriented(values: Sequence[Any], affine: np.ndarray) -> tuple[Any, ...]:
    """Reorder one value per axis of the array to one per axis of the patient (right, anterior, superior)."""
    from nibabel.orientations import io_orientation

    order = io_orientation(affine)[:, 0].astype(int)
    return tuple(values[axis] for axis in np.argsort(order))


def _inspect_case(case: Case, layout: Layout, keep: Keep) -> Found:
    _check_files(case, layout)
    assert case.labels is not None
    images = [read_raw(path) for path in case.images]
    shape, spacing = images[0][0].shape[1:], images[0][1]
    for path, (image, _) in zip(case.images, images, strict=True):
        if image.shape[1:] != shape:
            raise UserError(f"{path}: {_size(image.shape[1:])}, but {case.image.name} is {_size(shape)}")
    labels, _ = read_label_map(case.labels, case.threshold)
    if labels.shape != shape:
        raise UserError(
            f"{case.labels}: {_size(labels.shape)}, but its image is {_size(shape)}; give both the same size"
        )
    for path in (*case.images[1:], case.labels):
        same_grid(path, case.image)
    for path, (image, _) in zip(case.images, images, strict=True):  # a slice may well be blank, a volume not
        if len(shape) == 3 and any(channel.min() == channel.max() for channel in image):
            raise UserError(f"{path}: one value everywhere, so there is nothing to see; remove the case")
    voxels = _count(labels)
    values = {*voxels}
    declared = {0, layout.ignore, *layout.label_values}
    if layout.label_values and not values <= declared:
        raise UserError(
            f"{case.labels}: label {min(values - declared)} is not in dataset.json; correct one of them"
        )
    array = images[0][0] if len(images) == 1 else np.concatenate([image for image, _ in images])
    if layout.modalities and len(array) != len(layout.modalities):
        raise _wrong_channels(case, layout, f"{len(array)} channels")
    marked = array[:, np.isin(labels, list(values - {0, layout.ignore}))]
    foreground = marked[:, :: max(1, marked.shape[1] // SAMPLES)].astype(np.float32)
    if len(shape) == 3:
        affine = read_affine(case.image)
        shape, spacing = oriented(shape, affine), oriented(spacing, affine)
    objects = _count_objects(labels, values - {0, layout.ignore})
    by_type = tuple(scaled_by_type(image) for image, _ in images)
    digest = _digest(array, labels)
    keep(case, [image for image, _ in images], labels, [*voxels])
    return Found(len(array), tuple(shape), spacing, voxels, objects, foreground, by_type, digest)


def _count(labels: np.ndarray) -> dict[int, int]:
    """Count how many voxels each value has."""
    counts = np.zeros(int(labels.max()) + 1, np.int64)
    for part in labels:  # of a large volume all at once would need eight bytes a voxel
        counts += np.bincount(part.ravel(), minlength=len(counts))
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _count_objects(labels: np.ndarray, values: Collection[int]) -> dict[int, int]:
    """Count how many connected parts each value has; voxels that touch in a corner are connected."""
    from scipy import ndimage

    touching = np.ones((3,) * labels.ndim)
    boxes = ndimage.find_objects(labels)
    return {
        value: ndimage.label(labels[boxes[value - 1]] == value, touching)[1]  # pyright: ignore
        for value in values
    }


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_files(case: Case, layout: Layout) -> None:
    """Refuse files that are missing, or that would be waited for for ever, such as a pipe."""
    for path in (*case.images, *((case.labels,) if case.labels else ())):
        if not is_file(path):
            raise UserError(f"{path}: no such file, or not an ordinary one; add it or remove the case")
    images, masks = ("imagesTr", "labelsTr") if layout.kind != "plain" else ("images", "masks")
    for lone, other, folder in ((case.labels, case.images, images), (case.images, case.labels, masks)):
        if lone and not other:
            path = lone[0] if isinstance(lone, tuple) else lone
            raise UserError(
                f"{path}: no file of the same name in {layout.folder / folder}; add it or move this one away"
            )
    if layout.numbered:
        numbers = [path.name[len(case.name) + 1 :][:4] for path in case.images]
        if numbers != [f"{channel:04d}" for channel in range(len(numbers))]:
            raise _wrong_channels(case, layout, f"files {', '.join(numbers)}")


def _wrong_channels(case: Case, layout: Layout, what: str) -> UserError:
    declared = f"{len(layout.modalities)} channels ({', '.join(layout.modalities)})"
    return UserError(f"{case.image}: {what}, but dataset.json names {declared}; make them agree")


def check_scale(case: Case, by_type: tuple[bool, ...], usual: tuple[bool, ...]) -> None:
    """Refuse an image whose intensities would mean something else than those of the others.

    Raises:
        UserError: it has 8 bits and the others have more, or the other way round.
    """
    if by_type != usual:
        kinds = ["8-bit" if eight else "other than 8-bit" for eight in (by_type[0], usual[0])]
        raise UserError(
            f"{case.image}: has {kinds[0]} values, the others have {kinds[1]} ones, so the same intensity "
            "would not come out the same; convert one kind, or train with a window"
        )


def _compare(case: Case, found: Found, usual: dict[str, int], spacing: tuple[float, ...] | None) -> None:
    if len(found.shape) != usual["axes"]:
        raise UserError(
            f"{case.image}: {len(found.shape)}-D, but the others are {usual['axes']}-D; keep one kind"
        )
    if found.channels != usual["channels"]:
        raise UserError(f"{case.image}: {found.channels} channels, but the others have {usual['channels']}")
    if spacing is not None and not np.allclose(found.spacing, spacing, rtol=1e-3):
        raise UserError(
            f"{case.image}: spacing {found.spacing}, but the first has {spacing}; "
            "resample one, or give the spacing"
        )


def _most_common(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
