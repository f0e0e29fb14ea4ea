"""The report's figures, as SVG that takes its colours and its font from the page."""

import functools
import io
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, MaxNLocator

from boundaryloss.report.findings import OPERATING_POINT, Finding, curve
from boundaryloss.report.results import Method, Results

# Stand-ins that no figure uses otherwise; the page's style sheet says what they look like, by day and night.
INK, MUTED, LINE = "#010101", "#020202", "#030303"
GOOD, BAD = "#040404", "#050505"
TRUTH, PREDICTION = "#070707", "#080808"
METHODS = tuple(f"#0606{index:02x}" for index in range(8))
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    GOOD: "good",
    BAD: "bad",
    TRUTH: "truth",
    PREDICTION: "prediction",
} | {colour: f"method-{index}" for index, colour in enumerate(METHODS)}
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are names
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.constrained_layout.use": True,
}
DASHES = ("-", (0, (3, 2)))
LONGEST = 32  # characters of a name in a figure
PIXEL = 1 / 72  # of the SVG, in inches

_figures = itertools.count()


def as_svg(draw: Callable[..., Figure | None]) -> Callable[..., str]:
    """Make a drawing function return inline SVG, or nothing where there is nothing to draw."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> str:
        salt = str(next(_figures))  # ids must differ between the figures of a page
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
            figure = draw(*args, **kwargs)
            if figure is None:
                return ""
            file = io.StringIO()
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        return _inline(file.getvalue())

    return wrapped


def colour(method: Method) -> str:
    """Return the method's colour, the same throughout the report."""
    return METHODS[method.index % len(METHODS)]


@as_svg
def difference_bar(finding: Finding) -> Figure:
    """Draw a difference with its interval and its seeds; right of the line is better."""
    d, better = finding.difference, finding.measure.better
    figure = Figure(figsize=(230 * PIXEL, 38 * PIXEL))
    axis = figure.subplots()
    shade = {"better": GOOD, "worse": BAD}.get(finding.verdict, MUTED)
    axis.axvline(0, color=INK, linewidth=1)
    axis.plot([d.low, d.high], [0, 0], color=shade, linewidth=3, solid_capstyle="round", alpha=0.55)
    axis.plot(d.by_seed, np.zeros(len(d.by_seed)), "|", color=shade, markersize=10, markeredgewidth=1.2)
    axis.plot(d.mean, 0, "o", color=shade, markersize=7)
    reach = 1.15 * max(abs(v) for v in (*d.by_seed, d.low, d.high, 0.0) if np.isfinite(v)) or 1
    axis.set(xlim=(-better * reach, better * reach), ylim=(-1, 1), yticks=[])
    axis.locator_params(axis="x", nbins=5)
    axis.spines["left"].set_visible(False)
    return figure


@as_svg
def operating_curve(results: Results, pair: Sequence[Method], label: int) -> Figure:
    """Draw sensitivity against false lesions over all thresholds, and where 0.5 is."""
    figure = Figure(figsize=(400 * PIXEL, 330 * PIXEL))
    axis = figure.subplots()
    at = int(np.abs(results.thresholds - OPERATING_POINT).argmin())
    most = 0.0
    for method in pair:
        sensitivity, false = curve(results, method, label)
        for x, y in zip(false.T, sensitivity.T, strict=True):
            start = min(int(x.argmax()), at)  # below this threshold lesions flow together
            axis.plot(x[start:], y[start:], color=colour(method), linewidth=0.8, alpha=0.45)
        x, y = false.mean(axis=1), sensitivity.mean(axis=1)
        start = min(int(x.argmax()), at)
        axis.plot(x[start:], y[start:], color=colour(method), linewidth=2.2, label=_short(method))
        for i in range(start, len(x)):
            tip = (
                f"{method.name}, above {results.thresholds[i]:.3g}: sensitivity {y[i]:.3f}, {x[i]:.2f} false"
            )
            size = 9 if i == at else 3
            axis.plot(x[i], y[i], "o", color=colour(method), markersize=size, gid=f"tip:{tip}")
        most = max(most, 3 * x[at])
    if most:
        axis.set_xlim(0, most)
    axis.set(xlabel="false lesions per case", ylabel="lesion sensitivity", ylim=(0, 1.02))
    axis.legend(loc="lower right")
    return figure


@as_svg
def scatter(results: Results, pair: Sequence[Method], label: int) -> Figure:
    """Draw the Dice of every case, mean of its seeds: the baseline across, the method up."""
    figure = Figure(figsize=(360 * PIXEL, 330 * PIXEL))
    axis = figure.subplots()
    x, y = (case_dice(method, label) for method in pair)
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for name, a, b in zip(results.cases, x, y, strict=True):
        if np.isfinite(a) and np.isfinite(b):
            shade = colour(pair[1]) if b >= a else colour(pair[0])
            axis.plot(a, b, "o", color=shade, markersize=6, alpha=0.75, gid=f"tip:{name}: {a:.3f}, {b:.3f}")
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set(xlabel=f"Dice, {_short(pair[0])}", ylabel=f"Dice, {_short(pair[1])}")
    return figure


@as_svg
def learning_curves(results: Results) -> Figure | None:
    """Draw the region loss and the validation Dice by epoch: mean and range of a method's runs."""
    dice = "Dice on the validation share" if results.facts.seeds else "nnU-Net's pseudo Dice, on patches"
    panels = [("region", "training loss, region term", "linear"), ("validation_dice", dice, "linear")]
    panels = [panel for panel in panels if _has_values(results.methods, panel[0])]
    return _by_epoch(results.methods, panels) if panels else None


@as_svg
def balance(results: Results) -> Figure | None:
    """Draw the weights of both terms, the norms of their gradients, and the ratio of the weighted norms."""
    methods = [m for m in results.methods if np.isfinite(_history(m, "boundary_weight")).any()]
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
    return any(np.isfinite(_history(method, name)).any() for method in methods for name in names.split())


@as_svg
def case_picture(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> Figure:
    """Draw a grey image with the outlines of truth and prediction."""
    height, width = image.shape
    figure = Figure(figsize=(220 * PIXEL, 220 * PIXEL * height / width))
    figure.set_layout_engine("none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
    for mask, shade in ((truth, TRUTH), (prediction, PREDICTION)):
        if mask.any():
            padded = np.pad(mask.astype(float), 1)  # closes outlines at the edge
            steps = [np.arange(n + 2) - 1 for n in mask.shape]
            axis.contour(steps[1], steps[0], padded, levels=[0.5], colors=shade, linewidths=1.4)
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return figure


def case_dice(method: Method, label: int) -> np.ndarray:
    """Return the Dice of every case that holds the object, mean of the seeds; nan for the others."""
    columns = method.columns[label]
    return np.where(columns.lesions > 0, columns.dice, np.nan).mean(axis=0)


class _PlainLog(LogFormatter):
    """0.01 and 100."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _short(method: Method) -> str:
    """Return the name, as far as a figure has room for it."""
    name = " ".join(method.name.split())
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _by_epoch(methods: Sequence[Method], panels: Sequence[tuple[str, str, str]]) -> Figure:
    """Draw a panel of each (columns of metrics.csv, title, scale); a second column is dashed."""
    width = 820 / max(len(panels), 2)
    figure = Figure(figsize=(width * len(panels) * PIXEL, 270 * PIXEL))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (names, title, scale) in zip(axes, panels, strict=True):
        for name, dash in zip(names.split(), DASHES, strict=False):
            for method in methods:
                _band(axis, _history(method, name), colour(method), dash)
        axis.set(title=title, xlabel="epoch", yscale=scale)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if scale == "log":  # its own labels are formulas, which figures do not set
            axis.yaxis.set_major_formatter(_PlainLog())
            axis.yaxis.set_minor_formatter(_PlainLog(labelOnlyBase=False))
        if len(names.split()) > 1:
            lines = [Line2D([], [], color=MUTED, linestyle=dash) for dash in DASHES]
            axis.legend(lines, [name.partition("_")[0] for name in names.split()], fontsize=10)
    axes[0].legend(
        [Line2D([], [], color=colour(m)) for m in methods], [_short(m) for m in methods], fontsize=10
    )
    return figure


def _band(axis: Axes, values: np.ndarray, shade: str, dash: Any) -> None:
    """Draw mean and range over runs (run, epoch); epochs without a value are left out."""
    shown = np.isfinite(values).any(axis=0)
    epochs, values = np.flatnonzero(shown) + 1, values[:, shown]
    if len(epochs):
        axis.fill_between(epochs, np.nanmin(values, 0), np.nanmax(values, 0), color=shade, alpha=0.15, lw=0)
        axis.plot(epochs, np.nanmean(values, 0), color=shade, linestyle=dash, linewidth=1.8)


def _history(method: Method, name: str) -> np.ndarray:
    """Return a column of metrics.csv: (run, epoch)."""
    return np.stack([getattr(history, name) for history in method.histories])


def _inline(svg: str) -> str:
    """Return the bare element: page colours for the stand-ins, the page's font, and tips as titles."""
    svg = svg[svg.index("<svg") :]
    width = re.search(r'width="([\d.]+)pt"', svg)
    size = f'style="width:{width[1]}px"' if width else ""
    svg = re.sub(
        r'width="[\d.]+pt" height="[\d.]+pt"|height="[\d.]+pt" [^>]*width="[\d.]+pt"', size, svg, count=1
    )
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--font)", svg)
    svg = re.sub(r'<g id="tip:([^"]*)">', r'<g class="tip"><title>\1</title>', svg)
    for stand_in, name in VARIABLES.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg
