"""Figures of the training: losses, weights and gradients by epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from boundaryloss.report.plots import colour, plain_log, short
from boundaryloss.report.results import Method
from boundaryloss.report.svg import METHODS, MUTED, PIXEL, as_svg

DASHES = ("-", (0, (3, 2)))
MOST_EPOCHS = 100  # of a line; more are averaged
TOGETHER, MOST_FIGURES = len(METHODS), 3  # methods in a figure, each in a colour of its own


def in_figures(methods: Sequence[Method]) -> list[Sequence[Method]]:
    """Return the methods of each figure; those for which the page has no room are left out."""
    return [methods[i : i + TOGETHER] for i in range(0, len(methods), TOGETHER)][:MOST_FIGURES]


@as_svg
def learning_curves(methods: Sequence[Method], dice: str) -> Figure | None:
    """Draw the region loss and the validation Dice by epoch: mean and range of a method's runs."""
    panels = [("region", "training loss, region term", "linear"), ("validation_dice", dice, "linear")]
    panels = [panel for panel in panels if _has_values(methods, panel[0])]
    return _by_epoch(methods, panels) if panels else None


@as_svg
def balance(methods: Sequence[Method]) -> Figure | None:
    """Draw the weights of both terms, the norms of their gradients, and the ratio of the weighted norms."""
    methods = [method for method in methods if _has_values([method], "boundary_weight")]
    if not methods:
        return None
    for method in methods:
        for history in method.histories:
            region = history.region_gradient * history.region_weight
            with np.errstate(divide="ignore", invalid="ignore"):
                pull = history.boundary_gradient * history.boundary_weight / region
            history.pull = np.where(pull > 0, pull, np.nan)
    panels = [
        ("boundary_weight", "alpha, the boundary weight", "linear"),
        ("region_gradient boundary_gradient", "gradient norms, unweighted", "log"),
        ("pull", "boundary / region, weighted", "log"),
    ]
    return _by_epoch(methods, [panel for panel in panels if _has_values(methods, panel[0])])


def _has_values(methods: Sequence[Method], names: str) -> bool:
    return any(np.isfinite(of_epochs(method, name)).any() for method in methods for name in names.split())


def _by_epoch(methods: Sequence[Method], panels: Sequence[tuple[str, str, str]]) -> Figure:
    """Draw a panel of each (columns of metrics.csv, title, scale); a second column is dashed."""
    width = 820 / max(len(panels), 2)
    figure = Figure(figsize=(width * len(panels) * PIXEL, 270 * PIXEL))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (names, title, scale) in zip(axes, panels, strict=True):
        for name, dash in zip(names.split(), DASHES, strict=False):
            for method in methods:
                _band(axis, of_epochs(method, name), colour(method), dash)
        axis.set(title=title, xlabel="epoch", yscale=scale)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if scale == "log":
            plain_log(axis.yaxis)
        if len(names.split()) > 1:
            lines = [Line2D([], [], color=MUTED, linestyle=dash) for dash in DASHES]
            axis.legend(lines, [name.partition("_")[0] for name in names.split()], fontsize=10)
    axes[0].legend(
        [Line2D([], [], color=colour(m)) for m in methods], [short(m) for m in methods], fontsize=10
    )
    return figure


def _band(axis: Axes, values: np.ndarray, shade: str, dash: Any) -> None:
    """Draw mean and range over runs (run, epoch); epochs without a value are left out."""
    shown = np.isfinite(values).any(axis=0)
    epochs, values = np.flatnonzero(shown) + 1, values[:, shown]
    if len(epochs):
        starts = np.arange(0, len(epochs), -(-len(epochs) // MOST_EPOCHS))
        counts = np.diff(starts, append=len(epochs))
        x, mean = (np.add.reduceat(v, starts) / counts for v in (epochs, np.nanmean(values, axis=0)))
        low = np.minimum.reduceat(np.nanmin(values, axis=0), starts)
        high = np.maximum.reduceat(np.nanmax(values, axis=0), starts)
        axis.fill_between(x, low, high, color=shade, alpha=0.15, lw=0)
        axis.plot(x, mean, color=shade, linestyle=dash, linewidth=1.8)


def of_epochs(method: Method, name: str) -> np.ndarray:
    """Return a column of metrics.csv: (run, epoch), nan after the end of a shorter run."""
    columns = [getattr(history, name) for history in method.histories]
    longest = max(map(len, columns))
    return np.stack([np.pad(c, (0, longest - len(c)), constant_values=np.nan) for c in columns])
