"""Read and write single files: PNG, TIFF, JPEG (images only) and NIfTI."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boundaryloss.files.errors import UserError
from boundaryloss.files.nifti import is_nifti, read_nifti
from boundaryloss.files.rasters import JPEG, PNG, TIFF, read_raster

ROUNDING = 1e-3  # 2.9999999993 is 3: what a label may have lost in floating point, or by a scaled header
MOST = 65535  # the largest label, that of 16 bits
SUFFIXES = (*PNG, *TIFF, *JPEG, ".nii", ".nii.gz")


def stem(path: Path) -> str:
    """Return the name of a case: the file's name without its suffix, be it ``.nii.gz``."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def checked_spacing(spacing: Sequence[float], axes: int) -> tuple[float, ...]:
    """Return the spacing a user gave, one number for each axis or for all, if it fits."""
    spacing = tuple(spacing) * axes if len(spacing) == 1 else spacing
    if len(spacing) != axes or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise UserError(
            f"spacing {tuple(spacing)}: give {axes} positive numbers, the size of a voxel along each axis"
        )
    return tuple(map(float, spacing))


def read_image(path: Path, windows: Sequence[Sequence[float]] = ()) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read a slice or a NIfTI volume as float32 (C, *space) in [0, 1], and its spacing.

    A window `(low, high)` goes to 0 and 1, cut there, `()` stands for none; one for each channel. Without,
    8-bit pictures are divided by 255; everything else (NIfTI, and 16 bits, signed or float: the type's range
    says nothing there) goes from its own percentiles 0.5 and 99.5 to 0 and 1, channel by channel.
    """
    array, spacing = read_raw(path)
    return scale_image(array, windows), spacing


def scale_image(array: np.ndarray, windows: Sequence[Sequence[float]] = ()) -> np.ndarray:
    """Return what `read_image` makes of the values that `read_raw` gives."""
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if array.dtype == np.uint8 and not any(windows):
        return array.astype(np.float32) / np.float32(255)
    windows = windows or [()] * len(array)
    return np.stack([_rescale(channel, window) for channel, window in zip(array, windows, strict=True)])


def scaled_by_type(array: np.ndarray) -> bool:
    """Tell whether `read_image` scales values by the range of their type, and not by the image's own."""
    return array.dtype in (np.bool_, np.uint8)


def read_raw(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read the values of an image as they are, (C, *space), and its spacing in mm.

    NIfTI values of 8 bits come as float32: there, the type is only how they are stored.

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
    if is_nifti(path) and array.dtype == np.uint8:
        array = array.astype(np.float32)
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


def _rescale(channel: np.ndarray, window: Sequence[float] = ()) -> np.ndarray:
    channel = channel.astype(np.float64)
    low, high = window or np.percentile(channel, (0.5, 99.5))
    if low == high:  # a nearly empty slice: its few other values are all there is to see
        low, high = channel.min(), channel.max()
    scale = high - low or 1.0
    return np.clip((channel - low) / scale, 0, 1).astype(np.float32)


def _read(path: Path, *, labels: bool = False) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return the array of a file, channels first, and its spacing."""
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise UserError(f"{path}: unknown format; use PNG, TIFF or NIfTI, or JPEG for images")
    if is_nifti(path):
        return read_nifti(path, labels=labels)
    return read_raster(path, labels=labels), (1.0, 1.0)
