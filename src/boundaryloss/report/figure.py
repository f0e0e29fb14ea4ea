"""The demonstration's figure: image, truth, both predictions and the signed distance map."""

from pathlib import Path

import matplotlib.colors
import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from boundaryloss.report.store import COMPARISON, ComparisonRecord, read_record

FOUND, FALSE, MISSED = "#2fbf8f", "#ff8c1a", "#e83e8c"
INK, MUTED = "#22262b", "#6b7280"


def draw_figure(out: Path) -> Path:
    """Draw `out`/slices.npz as `out`/demo.png."""
    facts = read_record(out / COMPARISON, ComparisonRecord)
    with (out / "slices.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names, images, truths = arrays["names"], arrays["image"], arrays["truth"]
        predictions, maps = arrays["predictions"], arrays["signed_distance"]
    names_of_methods = [method.name for method in facts.methods]
    titles = ["image", "truth", *names_of_methods, "signed distance map  $\\phi_G$"]
    rows, columns = len(names), len(titles)
    figure = matplotlib.figure.Figure(figsize=(2.3 * columns + 0.9, 2.2 * rows + 1.25), dpi=150)
    grid = figure.subplots(
        rows, columns, squeeze=False,
        gridspec_kw={"left": 0.035, "right": 0.925, "top": 1 - 0.45 / figure.get_figheight(),
                     "bottom": 0.75 / figure.get_figheight(), "wspace": 0.04, "hspace": 0.04},
    )  # fmt: skip
    norm = matplotlib.colors.TwoSlopeNorm(0, vmin=min(-3.0, float(maps.min())), vmax=float(maps.max()))
    surface = None
    for row, axes in enumerate(grid):
        _show_image(axes[0], images[row])
        axes[0].set_ylabel(f"slice {names[row]}", fontsize=8, color=MUTED)
        _show_image(axes[1], images[row])
        _paint(axes[1], truths[row] > 0, FOUND)
        for column in range(predictions.shape[1]):
            _show_prediction(axes[2 + column], images[row], truths[row], predictions[row, column])
        surface = axes[-1].imshow(maps[row], cmap="RdBu_r", norm=norm)
        axes[-1].contour(maps[row], levels=[0.0], colors=INK, linewidths=1.1)
    for axis, title in zip(grid[0], titles, strict=True):
        axis.set_title(title, fontsize=11, color=INK, pad=7)
    for axis in grid.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    if surface is not None:
        _colour_bar(figure, grid, surface, norm)
    _legend(figure, facts)
    figure.savefig(out / "demo.png", facecolor="white")
    return out / "demo.png"


def _show_image(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _show_prediction(axis: Axes, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> None:
    """Paint what was found, what is false and what was missed."""
    _show_image(axis, image)
    truth, prediction = truth > 0, prediction > 0
    _paint(axis, truth & prediction, FOUND)
    _paint(axis, prediction & ~truth, FALSE)
    _paint(axis, truth & ~prediction, MISSED)


def _paint(axis: Axes, mask: np.ndarray, colour: str) -> None:
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = matplotlib.colors.to_rgba(colour)
    axis.imshow(layer, interpolation="nearest")


def _colour_bar(figure: matplotlib.figure.Figure, grid: np.ndarray, surface, norm) -> None:
    top, bottom = grid[0, -1].get_position().y1, grid[-1, -1].get_position().y0
    right = grid[0, -1].get_position().x1
    bar = figure.colorbar(surface, cax=figure.add_axes((right + 0.012, bottom, 0.011, top - bottom)))
    bar.set_ticks(
        [norm.vmin, 0, norm.vmax / 2, norm.vmax],
        labels=[f"{v:.0f}" for v in (norm.vmin, 0, norm.vmax / 2, norm.vmax)],
    )
    bar.set_label("mm; negative inside", fontsize=8, color=MUTED)
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=2)
    bar.outline.set_visible(False)


def _legend(figure: matplotlib.figure.Figure, facts: ComparisonRecord) -> None:
    patches = [
        Patch(color=c, label=t) for c, t in ((FOUND, "lesion, found"), (FALSE, "false"), (MISSED, "missed"))
    ]
    height, names = figure.get_figheight(), [method.name for method in facts.methods]
    figure.legend(
        handles=patches, loc="lower left", bbox_to_anchor=(0.03, 0.36 / height), ncols=3, frameon=False,
        fontsize=9, labelcolor=INK, handlelength=1, handleheight=1, columnspacing=1.5, borderpad=0,
    )  # fmt: skip
    figure.text(
        0.035, 0.14 / height,
        f"The test slices on which {names[0]} and {names[-1]} differ most, for better or worse; first of "
        f"{len(facts.seeds)} seeds, last of {facts.methods[0].epochs} epochs. Synthetic data: read "
        "the table before you conclude anything.",
        fontsize=8, color=MUTED,
    )  # fmt: skip
