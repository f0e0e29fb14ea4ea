"""Reading and writing single PNG, TIFF and NIfTI files."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from boundaryloss.training.errors import UserError

SUFFIXES = (".png", ".tif", ".tiff", ".nii", ".nii.gz")


@contextmanager
def atomic_write(path: Path, what: str) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when it is whole; until then `path` stays as it is.

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
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write the {what} {path}: {error.strerror}; free some space or choose another folder "
            "(the previous one is whole)"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def stem(path: Path) -> str:
    """The name of a case: the file's name without its suffix, be it ``.nii.gz``."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def checked_spacing(spacing: Sequence[float], axes: int) -> tuple[float, ...]:
    """The spacing a user gave, if it fits."""
    if len(spacing) != axes or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise UserError(
            f"spacing {tuple(spacing)}: give {axes} positive numbers, the size of a voxel along each axis"
        )
    return tuple(map(float, spacing))


def read_image(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read a slice as float32 (C, H, W) in [0, 1], and its spacing.

    8-bit values are divided by 255. Everything else (16 bits, signed, float: the type's range says nothing
    there) goes from its own percentiles 0.5 and 99.5 to 0 and 1 and is cut there, channel by channel.
    """
    array, spacing = _read(path)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise UserError(f"{path}: shape {array.shape} is not a slice; export 2-D slices, one file each")
    if array.dtype == np.bool_:
        return array.astype(np.float32), spacing
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255), spacing
    if not np.isfinite(array).all():
        raise UserError(f"{path}: has NaN or infinite values; replace them")
    return np.stack([_rescale(channel.astype(np.float64)) for channel in array]), spacing


def read_labels(path: Path) -> np.ndarray:
    """Read a mask as int32 (H, W), with the values of the file."""
    labels, _ = read_label_map(path)
    if labels.ndim != 2:
        raise UserError(f"{path}: a volume of shape {labels.shape}; export 2-D slices, one file each")
    return labels


def read_label_map(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read labels as int32 (H, W), or (H, W, D) from a NIfTI volume, and their spacing."""
    array, spacing = _read(path, labels=True)
    if array.ndim == 3 and len(spacing) == 2:  # channels of a picture
        if not (array == array[:1]).all():
            raise UserError(f"{path}: a colour picture; a mask has one channel with one integer per class")
        array = array[0]
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UserError(f"{path}: shape {array.shape}; a mask is a 2-D slice or a 3-D volume")
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.round(array)).all()):
        raise UserError(f"{path}: labels are not integers; write one integer per class")
    if array.size and (array.min() < 0 or array.max() > 65535):
        raise UserError(f"{path}: labels from {array.min()} to {array.max()}; use integers from 0 to 65535")
    return array.astype(np.int32), spacing


def write_labels(path: Path, classes: np.ndarray, label_values: tuple[int, ...] | None = None) -> None:
    """Write class indices as PNG with their file values (8 bits; 16 if a value needs them)."""
    from PIL import Image

    values = np.asarray(label_values if label_values is not None else range(int(classes.max(initial=0)) + 1))
    dtype = np.uint8 if values.max() <= 255 else np.uint16
    Image.fromarray(values.astype(dtype)[classes]).save(path, format="PNG")


def _rescale(channel: np.ndarray) -> np.ndarray:
    low, high = np.percentile(channel, (0.5, 99.5))
    if low == high:  # a nearly empty slice: its few other values are all there is to see
        low, high = channel.min(), channel.max()
    scale = high - low or 1.0
    return np.clip((channel - low) / scale, 0, 1).astype(np.float32)


def _read(path: Path, *, labels: bool = False) -> tuple[np.ndarray, tuple[float, ...]]:
    """The array of a file, channels first, and its spacing."""
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise UserError(f"{path}: unknown format; use PNG, TIFF or NIfTI")
    try:
        if name.endswith(".png"):
            return _read_pillow(path, labels), (1.0, 1.0)
        if name.endswith((".tif", ".tiff")):
            return _read_tiff(path, labels), (1.0, 1.0)
        return _read_nifti(path, labels)
    except (UserError, ImportError):
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # three decoders, a dozen exceptions for broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({reason}); write it again or move it away") from error


def _read_pillow(path: Path, labels: bool) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        if picture.mode in ("LA", "La"):
            picture = picture.getchannel(0)
        indices = labels and picture.mode == "P"  # of a palette: what a mask means by it
        if not indices and picture.mode not in ("1", "L", "I", "F", "RGB", "I;16", "I;16B", "I;16L"):
            picture = picture.convert("RGB")
        array = np.array(picture)
    return np.moveaxis(array, -1, 0) if array.ndim == 3 else array


def _read_tiff(path: Path, labels: bool) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series: Any = file.series[0]
        try:
            array, axes = series.asarray(), series.axes
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _read_pillow(
                path, labels
            )  # compressed in a way tifffile needs a further package for, Pillow not
    array = array.squeeze(tuple(i for i, n in enumerate(array.shape) if n == 1 and axes[i] not in "YX"))
    axes = "".join(axis for axis, n in zip(axes, series.shape, strict=True) if n != 1 or axis in "YX")
    if axes == "YX":
        return array
    if axes in ("YXS", "YXC"):
        return np.moveaxis(array, -1, 0)
    if axes in ("SYX", "CYX"):
        return array
    raise UserError(f"{path}: a stack of shape {array.shape}; export 2-D slices, one file each")


def _read_nifti(path: Path, labels: bool) -> tuple[np.ndarray, tuple[float, ...]]:
    import nibabel

    image: Any = nibabel.load(path)  # pyright: ignore[reportPrivateImportUsage]
    array = np.asanyarray(image.dataobj)
    spacing = tuple(float(step) for step in image.header.get_zooms())
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (labels and array.ndim == 3):
        raise UserError(f"{path}: a volume of shape {array.shape}; export 2-D slices, one file each")
    spacing = spacing[: array.ndim]
    if not all(np.isfinite(step) and step > 0 for step in spacing):
        raise UserError(f"{path}: spacing {spacing} in the header; write the size of a voxel there")
    return array, spacing
