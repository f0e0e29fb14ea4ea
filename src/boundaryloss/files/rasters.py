"""PNG, TIFF and JPEG pictures as arrays: what the file stores, whatever its compression, or a refusal.

A mask keeps the numbers that are stored, the indices of a palette too; an image becomes the light that they
stand for. Every sample is a channel, alpha too. What readers disagree about is refused.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from boundaryloss.files.errors import UserError, reading

PNG, TIFF, JPEG = (".png",), (".tif", ".tiff"), (".jpg", ".jpeg")
ORIENTATION = 274  # the tag, in TIFF and in Exif
# TIFF's tags know many compressions; these give back what was put in
LOSSLESS = {
    *("NONE", "CCITTRLE", "CCITT_T4", "CCITT_T6", "CCITTFAX3", "CCITTFAX4", "CCITTRLEW", "LZW"),
    *("ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "PNG", "LZMA", "ZSTD", "ZSTD_DEPRECATED"),
}


def read_raster(path: Path, *, labels: bool = False) -> np.ndarray:
    """Read a picture, (H, W) or (C, H, W).

    Raises:
        UserError: the file is damaged, holds several pictures, or does not say plainly what its values are.
    """
    name = path.name.lower()
    with reading(path):
        if name.endswith(TIFF):
            return _tiff(path, labels)
        array = _png(path, labels) if name.endswith(PNG) else _jpeg(path, labels)
        return np.moveaxis(array, -1, 0) if array.ndim == 3 else array


def _png(path: Path, labels: bool) -> np.ndarray:
    import imagecodecs
    from PIL import Image

    content = path.read_bytes()
    with Image.open(BytesIO(content), formats=("PNG",)) as picture:
        picture.verify()  # every checksum, which decoding alone does not look at
    with Image.open(BytesIO(content), formats=("PNG",)) as picture:
        _check_one(path, getattr(picture, "n_frames", 1))
        _check_upright(path, picture.getexif().get(ORIENTATION))
        bits, palette = content[24], content[25] == 3  # of the header, which is always the first chunk
        transparent = "transparency" in picture.info
        if palette and not labels:
            return np.array(picture.convert("RGBA" if transparent else "RGB"))
        if labels and 1 < bits < 8 and not palette:
            raise _few_bits(path, bits)
        if bits == 16 or (transparent and not palette):  # Pillow would cut to 8 bits, and drop a clear colour
            return imagecodecs.png_decode(content)
        return np.array(picture)


def _jpeg(path: Path, labels: bool) -> np.ndarray:
    from PIL import Image

    if labels:
        raise UserError(f"{path}: JPEG changes the values of labels; write masks as PNG, from their source")
    with Image.open(path, formats=("JPEG", "MPO")) as picture:
        _check_upright(path, picture.getexif().get(ORIENTATION))
        if picture.mode not in ("L", "RGB"):
            raise UserError(f"{path}: its colours are {picture.mode}; save it as RGB")
        return np.array(picture)


def _tiff(path: Path, labels: bool) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(path) as file:
        pictures: Any = [one for one in file.series if not one.keyframe.is_reduced]  # a thumbnail is none
        _check_one(path, len(pictures))
        series, page = pictures[0], pictures[0].keyframe
        _check_upright(path, page.tags.valueof(ORIENTATION))
        _check_whole(path, series, file.filehandle.size)
        _check_colours(path, page, labels)
        array, axes = series.asarray(), series.axes
        if array.shape != series.shape or 0 in array.shape:  # tifffile only logs this
            raise UserError(f"{path}: its pixels do not fill the size in its header; write it again")
        thin = [axis for axis, n in enumerate(array.shape) if n == 1 and axes[axis] not in "YX"]
        array = array.squeeze(tuple(thin))
        axes = "".join(axis for index, axis in enumerate(axes) if index not in thin)
        if axes in ("YXS", "YXC"):
            array, axes = np.moveaxis(array, -1, 0), f"{axes[-1]}YX"
        palette = page.photometric.name == "PALETTE"
        if axes not in (("YX",) if palette else ("YX", "SYX", "CYX")):
            raise UserError(f"{path}: a stack of shape {array.shape}; export 2-D slices, one file each")
        if array.dtype == np.bool_ or labels:
            return array
        if palette:
            return _coloured(array, page.colormap)
        if page.bitspersample < 8:
            return np.round(array * (255 / (2**page.bitspersample - 1))).astype(np.uint8)
        return array


def _coloured(indices: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Turn indices (H, W) into colours (3, H, W); the palette is of 16 bits, its colours mostly of 8."""
    colours = palette >> 8 if palette.max() > 255 else palette
    return colours.astype(np.uint8)[:, indices]


def _check_one(path: Path, pictures: int) -> None:
    if pictures != 1:
        raise UserError(f"{path}: holds {pictures} pictures; export 2-D slices, one file each")


def _check_upright(path: Path, orientation: int | None) -> None:
    if orientation not in (None, 0, 1):
        raise UserError(
            f"{path}: is to be turned by its Orientation tag ({orientation}), which not every program does; "
            "turn its pixels and remove the tag"
        )


def _check_whole(path: Path, series: Any, size: int) -> None:
    """Refuse strips and tiles that do not lie in this file; tifffile makes zeros of some that do not."""
    pages = list(series.pages)
    stored = [
        (offset, count)
        for page in pages
        if page is not None
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    if series.is_multifile or None in pages or any(not n or start + n > size for start, n in stored):
        raise UserError(f"{path}: a part of its pixels is missing; write it again, whole and in one file")


def _check_colours(path: Path, page: Any, labels: bool) -> None:
    kind, compression = page.photometric.name, page.compression.name
    if kind == "MINISWHITE" and not (page.is_shaped or page.is_imagej):  # these mean what they store
        raise UserError(
            f"{path}: its smallest value is white (MinIsWhite), which not every program heeds; "
            "save it with black as 0"
        )
    known = ("MINISWHITE", "MINISBLACK", "RGB", "PALETTE")
    if kind not in known and (kind, compression) != ("YCBCR", "JPEG"):
        raise UserError(f"{path}: its colours are {kind}; save it as RGB or grey")
    if labels and compression not in LOSSLESS:
        raise UserError(
            f"{path}: {compression} compression can change the values of labels; write masks as PNG"
        )
    if labels and 1 < page.bitspersample < 8 and kind != "PALETTE":
        raise _few_bits(path, page.bitspersample)


def _few_bits(path: Path, bits: int) -> UserError:
    return UserError(
        f"{path}: a grey picture of {bits} bits, whose labels could mean 0 to {2**bits - 1} or 0 to 255; "
        "save it with 8 bits"
    )
