"""The signed distance map of a label file: as a file, and as a picture to look at."""

import gzip
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from boundaryloss.extras import require

require("train", __name__, "matplotlib", "nibabel", "numpy", "tifffile")

import numpy as np
import torch

from boundaryloss.distance import signed_distance_map
from boundaryloss.distance.signed import Contour
from boundaryloss.files import (
    TIFF,
    UserError,
    atomic_write,
    check_label_values,
    checked_spacing,
    class_indices,
    fullest_slice,
    is_nifti,
    make_folder,
    nifti_bytes,
    read_label_map,
    stem,
)

INK = "#222222"
LEVELS = 6  # level lines outside, about
PER_ROW = 3
PANELS = 12


def write_distance_map(
    labels: Path,
    out: Path,
    *,
    contour: Contour = "faces",
    spacing: Sequence[float] | None = None,
    keep: Sequence[int] | None = None,
    threshold: float | None = None,
) -> Path:
    """Write the map of a label file, in mm, and a picture beside it.

    With several labels the maps are stacked: channels first in TIFF (C, H, W), last in NIfTI (X, Y, Z, C).

    Args:
        labels: PNG, TIFF or NIfTI, 2-D or (NIfTI) 3-D.
        out: Ends in ``.nii``, ``.nii.gz`` or ``.tif``; float32.
        contour: ``"faces"`` or ``"centers"``.
        spacing: Size of a voxel in mm. Default: as the file says; one for PNG and TIFF.
        keep: The label values to map. Default: all but 0.
        threshold: What is above it is label 1, the rest 0. Default: the values are labels.

    Returns:
        The picture's path: that of `out`, ending in ``.png``; in ``_map.png`` if the labels have that name.

    Raises:
        UserError: one of the two files is there already, no label, or a grey picture.
    """
    labels, out = Path(labels), Path(out)
    name = out.name.lower()
    if not name.endswith((".nii", ".nii.gz", *TIFF)):
        raise UserError(f"{out}: a distance map needs floats; let the name end in .nii.gz or .tif")
    picture = out.with_name(stem(out) + ".png")
    if picture.resolve() == labels.resolve():
        picture = out.with_name(stem(out) + "_map.png")
    for path in (out, picture):
        if os.path.lexists(path):
            raise UserError(f"{path} is there already; choose another name, or move it away")
    array, found = read_label_map(labels, threshold)
    if array.ndim == 3 and name.endswith(TIFF):
        raise UserError(f"{out}: the map of a volume; let the name end in .nii.gz")
    steps = found if spacing is None else checked_spacing(spacing, array.ndim)
    values = _values(labels, array, keep)
    if contour == "centers" and len(set(steps)) > 1:
        raise UserError(f"{labels}: spacing {steps} differs by axis; use the contour 'faces'")
    classes = class_indices(array, (0, *values))
    maps = signed_distance_map(
        torch.from_numpy(classes)[None], len(values) + 1, spacing=steps, contour=contour
    )[0].numpy()

    content = _tiff_bytes(maps) if name.endswith(TIFF) else _nifti_bytes(maps, labels, steps)
    if name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    make_folder(out.parent)
    with atomic_write(out, "distance map") as file:
        file.write(content)
    if classes.ndim == 3:
        shown = fullest_slice(classes)
        classes, maps, steps = classes[..., shown], maps[..., shown], steps[:2]
    with atomic_write(picture, "picture") as file:
        draw_distance_map(file, classes, maps, values, steps)
    return picture


def _values(path: Path, array: np.ndarray, keep: Sequence[int] | None) -> tuple[int, ...]:
    found = sorted(set(np.unique(array).tolist()) - {0})
    if not found:
        raise UserError(f"{path}: no label but 0, so there is no boundary to measure from")
    if keep is None:
        check_label_values(found, path)
        return tuple(found)
    for value in keep:
        if value not in found:
            raise UserError(f"{path}: no label {value} in it; there are {found}")
    return tuple(dict.fromkeys(keep))


def _tiff_bytes(maps: np.ndarray) -> bytes:
    import tifffile

    file, single = BytesIO(), len(maps) == 1
    tifffile.imwrite(
        file,
        maps[0] if single else maps,
        photometric="minisblack",
        metadata={"axes": "YX" if single else "CYX"},
    )
    return file.getvalue()


def _nifti_bytes(maps: np.ndarray, labels: Path, steps: tuple[float, ...]) -> bytes:
    import nibabel

    data = maps[0] if len(maps) == 1 else np.moveaxis(maps, 0, -1)
    if is_nifti(labels):  # lie where the labels lie
        return nifti_bytes(data, labels)
    image: Any = nibabel.Nifti1Image(data[:, :, None], np.diag([*steps, 1.0, 1.0]))  # pyright: ignore[reportPrivateImportUsage]
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def draw_distance_map(
    file: BinaryIO, classes: np.ndarray, maps: np.ndarray, values: Sequence[int], steps: Sequence[float]
) -> None:
    """Draw a panel per label: blue inside, red outside, level lines to read it by, the boundary in black.

    Of many labels only the `PANELS` largest of the slice are drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = np.bincount(classes.ravel(), minlength=len(values) + 1)[1:]
    drawn = np.sort(np.argsort(-sizes, kind="stable")[:PANELS])
    height, width = (n * step for n, step in zip(classes.shape, steps, strict=True))
    rows, columns = -(-len(drawn) // PER_ROW), min(PER_ROW, len(drawn))
    panel = 3.8 / max(width, height)
    figure = Figure((columns * (panel * width + 0.9), rows * (panel * height + 0.45)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(drawn) :]:
        axes.remove()
    for axes, index in zip(panels, drawn, strict=False):
        _draw_panel(figure, axes, classes == index + 1, maps[index], steps)
        note = "" if sizes[index] else ": not in this slice"
        axes.set_title(f"label {values[index]}{note}", color=INK, fontsize=10)
    if len(drawn) < len(values):
        figure.suptitle(
            f"the {len(drawn)} largest of {len(values)} labels, in this slice", color=INK, fontsize=10
        )
    figure.savefig(file, format="png", dpi=160, facecolor="white")


def _draw_panel(figure: Any, axes: Any, mask: np.ndarray, phi: np.ndarray, steps: Sequence[float]) -> None:
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.ticker import MaxNLocator

    low, high = min(float(phi.min()), -min(steps) / 2), max(float(phi.max()), min(steps) / 2)
    height, width = (n * step for n, step in zip(phi.shape, steps, strict=True))
    image = axes.imshow(  # the inside is shallow, the outside deep: each gets half of the colours
        phi,
        cmap="RdBu_r",
        norm=TwoSlopeNorm(0, low, high),
        extent=(0, width, height, 0),
        interpolation="nearest",
    )
    levels = [level for level in MaxNLocator(LEVELS).tick_values(0, high) if 0 < level < high]
    y, x = ((np.arange(n) + 0.5) * step for n, step in zip(phi.shape, steps, strict=True))
    if levels and min(phi.shape) > 1:
        axes.contour(x, y, phi, levels, colors="white", linewidths=0.6, alpha=0.8)
    _outline(axes, mask, steps)
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, aspect=28)
    bar.set_ticks([low, 0.0, *levels])
    bar.set_ticklabels([f"{low:.1f}", "0", *(f"{level:g}" for level in levels)])
    bar.ax.tick_params(labelsize=8, colors=INK, length=2)
    bar.outline.set_visible(False)


def _outline(axes: Any, mask: np.ndarray, steps: Sequence[float]) -> None:
    """Return the boundary as it is: the faces between voxels, not a smooth curve through their centres."""
    from matplotlib.collections import LineCollection

    dy, dx = steps
    rows, columns = np.nonzero(mask[1:] != mask[:-1])
    flat = [
        [(c * dx, (r + 1) * dy), ((c + 1) * dx, (r + 1) * dy)] for r, c in zip(rows, columns, strict=True)
    ]
    rows, columns = np.nonzero(mask[:, 1:] != mask[:, :-1])
    upright = [
        [((c + 1) * dx, r * dy), ((c + 1) * dx, (r + 1) * dy)] for r, c in zip(rows, columns, strict=True)
    ]
    axes.add_collection(
        LineCollection([*flat, *upright], colors="black", linewidths=0.9, capstyle="projecting")
    )
