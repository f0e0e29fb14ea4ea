"""The signed distance map of a label file: as a file, and as a picture to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boundaryloss.distance import signed_distance_map
from boundaryloss.distance.signed import Boundary
from boundaryloss.training.data import class_indices
from boundaryloss.training.errors import UserError
from boundaryloss.training.files import checked_spacing, read_label_map, stem

INK = "#222222"
LEVELS = 6  # level lines outside, about
PER_ROW = 3


def write_distance_map(
    labels: Path,
    out: Path,
    *,
    boundary: Boundary = "interface",
    spacing: Sequence[float] | None = None,
    keep: Sequence[int] | None = None,
) -> Path:
    """Write the map of a label file, and a picture beside it.

    With several labels the maps are stacked: channels first in TIFF (C, H, W), last in NIfTI (X, Y, Z, C).

    Args:
        labels: PNG, TIFF or NIfTI, 2-D or (NIfTI) 3-D.
        out: Ends in ``.nii``, ``.nii.gz`` or ``.tif``; float32.
        boundary: ``"interface"`` or ``"pixel"``.
        spacing: Size of a voxel in mm. Default: as the file says; one for PNG and TIFF.
        keep: The label values to map. Default: all but 0.

    Returns:
        The picture's path: that of `out`, ending in ``.png``.
    """
    labels, out = Path(labels), Path(out)
    if not out.name.lower().endswith((".nii", ".nii.gz", ".tif", ".tiff")):
        raise UserError(f"{out}: a distance map needs floats; let the name end in .nii.gz or .tif")
    array, found = read_label_map(labels)
    if array.ndim == 3 and out.name.lower().endswith((".tif", ".tiff")):
        raise UserError(f"{out}: the map of a volume; let the name end in .nii.gz")
    steps = found if spacing is None else checked_spacing(spacing, array.ndim)
    values = _values(labels, array, keep)
    if boundary == "pixel" and len(set(steps)) > 1:
        raise UserError(f"{labels}: spacing {steps} differs by axis; use the boundary 'interface'")
    classes = class_indices(array, (0, *values))
    maps = signed_distance_map(
        torch.from_numpy(classes)[None], len(values) + 1, spacing=steps, boundary=boundary
    )[0].numpy()

    out.parent.mkdir(parents=True, exist_ok=True)
    if out.name.lower().endswith((".tif", ".tiff")):
        _write_tiff(out, maps)
    else:
        _write_nifti(out, maps, labels, steps)
    picture = out.with_name(stem(out) + ".png")
    if picture.resolve() == labels.resolve():  # never over the labels themselves
        picture = out.with_name(stem(out) + "_map.png")
    if classes.ndim == 3:  # of a volume, the slice that holds most of the labels
        middle = int(np.argmax((classes > 0).sum((0, 1))))
        classes, maps, steps = classes[..., middle], maps[..., middle], steps[:2]
    draw_distance_map(picture, classes, maps, values, steps)
    return picture


def _values(path: Path, array: np.ndarray, keep: Sequence[int] | None) -> tuple[int, ...]:
    found = sorted(set(np.unique(array).tolist()) - {0})
    if not found:
        raise UserError(f"{path}: no label but 0, so there is no boundary to measure from")
    if keep is None:
        return tuple(found)
    for value in keep:
        if value not in found:
            raise UserError(f"{path}: no label {value} in it; there are {found}")
    return tuple(dict.fromkeys(keep))


def _write_tiff(out: Path, maps: np.ndarray) -> None:
    import tifffile

    single = len(maps) == 1
    tifffile.imwrite(
        out,
        maps[0] if single else maps,
        photometric="minisblack",
        metadata={"axes": "YX" if single else "CYX"},
    )


def _write_nifti(out: Path, maps: np.ndarray, labels: Path, steps: tuple[float, ...]) -> None:
    import nibabel

    space = maps if maps.ndim == 4 else maps[..., None]  # a slice is a volume one voxel thick
    data = space[0] if len(space) == 1 else np.moveaxis(space, 0, -1)
    affine = np.diag([*steps, 1.0] if len(steps) == 3 else [*steps, 1.0, 1.0])
    if labels.name.lower().endswith((".nii", ".nii.gz")):  # lie where the labels lie
        source: Any = nibabel.load(labels)  # pyright: ignore[reportPrivateImportUsage]
        affine = source.affine
    nibabel.save(nibabel.Nifti1Image(data, affine), out)  # pyright: ignore[reportPrivateImportUsage]


def draw_distance_map(
    path: Path, classes: np.ndarray, maps: np.ndarray, values: Sequence[int], steps: Sequence[float]
) -> None:
    """One panel per label: blue inside, red outside, level lines to read it by, the boundary in black."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = (n * step for n, step in zip(classes.shape, steps, strict=True))
    rows, columns = -(-len(values) // PER_ROW), min(PER_ROW, len(values))
    panel = 3.8 / max(width, height)
    figure = Figure((columns * (panel * width + 0.9), rows * (panel * height + 0.45)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(values) :]:
        axes.remove()
    for axes, index, value, phi in zip(panels, range(1, len(values) + 1), values, maps, strict=False):
        mask = classes == index
        _draw_panel(figure, axes, mask, phi, steps)
        axes.set_title(
            f"label {value}" if mask.any() else f"label {value}: not in this slice", color=INK, fontsize=10
        )
    figure.savefig(path, dpi=160, facecolor="white")


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
    """The boundary as it is: the faces between voxels, not a smooth curve through their centres."""
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
