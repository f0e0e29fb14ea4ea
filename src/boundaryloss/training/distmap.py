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

INSIDE, OUTSIDE = "#0b6e4f", "#8a4b08"
FONT = {"fontsize": 10, "color": "#333333"}


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
    _draw(picture, classes, maps, values, steps)
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
        out, maps[0] if single else maps, photometric="minisblack", metadata={"axes": "YX" if single else "CYX"}
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


def _draw(path: Path, classes: np.ndarray, maps: np.ndarray, values: tuple[int, ...], steps: tuple[float, ...]) -> None:
    """One panel per label: colour for the distance, level lines to read it by, the boundary in black."""
    from matplotlib import colors
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if classes.ndim == 3:  # the slice that has most of the labels
        middle = int(np.argmax((classes > 0).sum((0, 1))))
        classes, maps, steps = classes[..., middle], maps[..., middle], steps[:2]
    height, width = classes.shape[0] * steps[0], classes.shape[1] * steps[1]
    size = 3.6 * np.array([width, height]) / max(width, height)
    figure = Figure(figsize=(len(values) * (size[0] + 1.1), size[1] + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(values), squeeze=False)[0]
    for index, (axes, value, phi) in enumerate(zip(panels, values, maps, strict=True), start=1):
        inside, outside = float(min(phi.min(), -steps[0] / 2)), float(max(phi.max(), steps[0] / 2))
        norm = colors.TwoSlopeNorm(0, inside, outside)  # the inside is shallow: it gets half of the colours
        extent = (0, width, height, 0)
        picture = axes.imshow(phi, cmap="RdBu", norm=norm, extent=extent, interpolation="nearest")
        _outline(axes, classes == index, steps)
        axes.set_title(f"label {value}", **FONT)
        axes.set(xticks=[], yticks=[])
        bar = figure.colorbar(picture, ax=axes, shrink=0.85, pad=0.02)
        bar.ax.set_yscale("linear")
    figure.savefig(path, dpi=160, facecolor="white")
