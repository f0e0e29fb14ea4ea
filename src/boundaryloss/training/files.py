"""Read and write single files: PNG, TIFF, JPEG (images only) and NIfTI."""

import gzip
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from boundaryloss.training.errors import UserError
from boundaryloss.training.nifti import is_nifti, nifti_bytes, read_affine, read_nifti, same_grid
from boundaryloss.training.rasters import JPEG, PNG, TIFF, read_raster

__all__ = [
    "SUFFIXES",
    "atomic_write",
    "checked_spacing",
    "is_nifti",
    "make_folder",
    "read_affine",
    "read_image",
    "read_label_map",
    "read_labels",
    "read_raw",
    "same_grid",
    "stem",
    "write_labels",
]

ROUNDING = 1e-3  # 2.9999999993 is 3: what a label may have lost in floating point, or by a scaled header
MOST = 65535  # the largest label, that of 16 bits
SUFFIXES = (*PNG, *TIFF, *JPEG, ".nii", ".nii.gz")


@contextmanager
def atomic_write(path: Path, what: str, *, keep_as: Path | None = None) -> Iterator[BinaryIO]:
    """Give a file to write to that takes the place of `path` when it is whole; until then `path` stays.

    What was there before is then called `keep_as`, if that is given.

    Raises:
        UserError: the disc is full, or the folder cannot be written to.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # some file systems tell only now that they are full
        temporary.chmod(0o644)  # mkstemp's own mode shuts out everybody else
        if keep_as is not None and path.exists():
            path.replace(keep_as)
        temporary.replace(path)
    except OSError as error:
        whole = " (the previous one is whole)" if path.exists() else ""
        raise UserError(
            f"cannot write the {what} {path}: {error.strerror}; "
            f"free some space or choose another folder{whole}"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}; choose another one") from None


def stem(path: Path) -> str:
    """Return the name of a case: the file's name without its suffix, be it ``.nii.gz``."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def checked_spacing(spacing: Sequence[float], axes: int) -> tuple[float, ...]:
    """Return the spacing a user gave, if it fits."""
    if len(spacing) != axes or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise UserError(
            f"spacing {tuple(spacing)}: give {axes} positive numbers, the size of a voxel along each axis"
        )
    return tuple(map(float, spacing))


def read_image(path: Path, windows: Sequence[Sequence[float]] = ()) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read a slice or a NIfTI volume as float32 (C, *space) in [0, 1], and its spacing.

    A window `(low, high)` goes to 0 and 1, cut there, `()` stands for none; one for each channel. Without,
    8-bit values are divided by 255; everything else (16 bits, signed, float: the type's range says nothing
    there) goes from its own percentiles 0.5 and 99.5 to 0 and 1, channel by channel.
    """
    array, spacing = read_raw(path)
    if array.dtype == np.bool_:
        return array.astype(np.float32), spacing
    if array.dtype == np.uint8 and not any(windows):
        return array.astype(np.float32) / np.float32(255), spacing
    windows = windows or [()] * len(array)
    return np.stack(
        [_rescale(channel, window) for channel, window in zip(array, windows, strict=True)]
    ), spacing


def read_raw(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read the values of an image as they are, (C, *space), and its spacing in mm.

    Raises:
        UserError: the file is damaged or ambiguous, or holds NaN, infinite or complex values.
    """
    array, spacing = _read(path)
    if array.ndim == len(spacing):
        array = array[None]
    if array.ndim != len(spacing) + 1 or 0 in array.shape:
        raise UserError(
            f"{path}: shape {array.shape} is neither a slice nor a volume; write one file per case"
        )
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: values of type {array.dtype}; write real numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{path}: has NaN or infinite values; replace them")
    return array, spacing


def read_labels(path: Path, threshold: float | None = None) -> np.ndarray:
    """Read a mask as int32 (*space), with the values of the file; see `read_label_map`."""
    return read_label_map(path, threshold)[0]


def read_label_map(path: Path, threshold: float | None = None) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read labels as int32 (H, W), or (H, W, D) from a NIfTI volume, and their spacing.

    With a `threshold` what is above it becomes 1 and the rest 0; the values are then any real numbers.

    Raises:
        UserError: no mask, or values that are not integers from 0 to 65535.
    """
    array, spacing = _read(path, labels=True)
    if array.ndim == 3 and len(spacing) == 2:  # channels of a picture
        if (
            len(array) in (2, 4)
            and array.dtype.kind == "u"
            and (array[-1] == np.iinfo(array.dtype).max).all()
        ):
            array = array[:-1]  # alpha that hides nothing
        if not (array == array[:1]).all():
            raise UserError(
                f"{path}: a colour picture, or one with transparency; "
                "a mask has one channel with one integer per class"
            )
        array = array[0]
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UserError(f"{path}: shape {array.shape}; a mask is a 2-D slice or a 3-D volume")
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: values of type {array.dtype}; a mask has one integer per class")
    if array.dtype.kind == "f":
        array = array.astype(np.float64)  # float16 cannot be compared with `MOST`
        if not np.isfinite(array).all():
            raise UserError(f"{path}: has NaN or infinite values; a mask has one integer per class")
    if threshold is not None:
        return (array > threshold).astype(np.int32), spacing
    if array.dtype.kind == "f":
        whole = np.round(array)
        other = array[np.abs(array - whole) > ROUNDING]
        if other.size:
            raise UserError(
                f"{path}: labels are not integers, {other[0]:g} for one; "
                "write one integer per class, or give a threshold"
            )
        array = whole
    if array.min() < 0 or array.max() > MOST:
        raise UserError(f"{path}: labels from {array.min()} to {array.max()}; use integers from 0 to {MOST}")
    return array.astype(np.int32), spacing


def write_labels(
    path: Path,
    classes: np.ndarray,
    label_values: tuple[int, ...] | None = None,
    like: Path | None = None,
) -> None:
    """Write class indices with their file values (8 bits; 16 if a value needs them), whole or not at all.

    A `path` in .nii.gz lies where the NIfTI file `like` lies, on its very grid; any other is PNG.

    Raises:
        ValueError: a class without a value, or a value that no label file can hold.
        UserError: the disc is full, or the folder cannot be written to.
    """
    from PIL import Image

    values = np.asarray(label_values if label_values is not None else range(int(classes.max(initial=0)) + 1))
    if classes.min(initial=0) < 0 or classes.max(initial=0) >= len(values):
        raise ValueError(f"classes from {classes.min()} to {classes.max()}, but {len(values)} label values")
    if values.min() < 0 or values.max() > MOST:
        raise ValueError(f"label values from {values.min()} to {values.max()}; a file holds 0 to {MOST}")
    labels = values.astype(np.uint8 if values.max() <= 255 else np.uint16)[classes]
    with atomic_write(path, "labels") as file:
        if like is not None and path.name.endswith(".nii.gz"):
            file.write(gzip.compress(nifti_bytes(labels, like), mtime=0))
        else:
            Image.fromarray(labels).save(file, format="PNG")


def _rescale(channel: np.ndarray, window: Sequence[float] = ()) -> np.ndarray:
    channel = channel.astype(np.float64)
    low, high = window or np.percentile(channel, (0.5, 99.5))
    if low == high:  # a nearly empty slice: its few other values are all there is to see
        low, high = channel.min(), channel.max()
    scale = high - low or 1.0
    return np.clip((channel - low) / scale, 0, 1).astype(np.float32)


def _read(path: Path, *, labels: bool = False) -> tuple[np.ndarray, tuple[float, ...]]:
    """The array of a file, channels first, and its spacing."""
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise UserError(f"{path}: unknown format; use PNG, TIFF or NIfTI, or JPEG for images")
    if is_nifti(path):
        return read_nifti(path, labels=labels)
    return read_raster(path, labels=labels), (1.0, 1.0)
