"""Figures of a pair of methods: differences, operating points, cases."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from boundaryloss.report.findings import OPERATING_POINT, Finding, curve
from boundaryloss.report.results import Method, Results
from boundaryloss.report.svg import BAD, GOOD, INK, METHODS, MUTED, PIXEL, PREDICTION, TRUTH, as_svg, tips

LONGEST = 32  # characters of a name in a figure
MOST_DOTS, MOST_LINES = 200, 10  # of a figure; a page with thousands of each is slow
FINEST = 220  # pixels of a picture, along its longer side


def colour(method: Method) -> str:
    """Return the method's colour, the same throughout the report."""
    return METHODS[method.index % len(METHODS)]


@as_svg
def difference_bar(finding: Finding) -> Figure:
    """Draw a difference with its interval and its seeds; right of the line is better."""
    d, better = finding.difference, finding.measure.better
    figure = Figure(figsize=(230 * PIXEL, 38 * PIXEL))
    figure.set_layout_engine("none")
    axis = figure.add_axes((0.07, 0.5, 0.86, 0.45))
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
    curves = [curve(results, method, label) for method in pair]
    most = 3 * max(false[at].mean() for _, false in curves)
    for method, (sensitivity, false) in zip(pair, curves, strict=True):
        shade = colour(method)
        for x, y in zip(false.T[:MOST_LINES], sensitivity.T, strict=False):
            start = min(int(x.argmax()), at)  # below this threshold lesions flow together
            axis.plot(x[start:], y[start:], color=shade, linewidth=0.8, alpha=0.45)
        x, y = false.mean(axis=1), sensitivity.mean(axis=1)
        start = min(int(x.argmax()), at)
        axis.plot(x[start:], y[start:], color=shade, linewidth=2.2, label=short(method))
        inside = [i for i in range(start, len(x)) if i != at and (x[i] <= most or not most)]
        for points, size in ((inside, 3), ([at], 9)):
            texts = [
                f"{method.name}, above {results.thresholds[i]:.3g}: sensitivity {y[i]:.3f}, {x[i]:.2f} false"
                for i in points
            ]
            dots(axis, x[points], y[points], texts, color=shade, markersize=size)
    if most:
        axis.set_xlim(0, most)
    axis.set(xlabel="false lesions per case", ylabel="lesion sensitivity", ylim=(0, 1.02))
    axis.legend(loc="lower right")
    return figure


@as_svg
def scatter(results: Results, pair: Sequence[Method], label: int) -> Figure:
    """Draw the Dice of cases, mean of their seeds: the baseline across, the method up."""
    figure = Figure(figsize=(360 * PIXEL, 330 * PIXEL))
    axis = figure.subplots()
    x, y = (case_dice(method, label) for method in pair)
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    shown = sample(axis, np.flatnonzero(np.isfinite(x) & np.isfinite(y)), "cases")
    for better, method in enumerate(pair):
        points = [i for i in shown if (y[i] >= x[i]) == better]
        texts = [f"{results.cases[i]}: {x[i]:.3f}, {y[i]:.3f}" for i in points]
        dots(axis, x[points], y[points], texts, color=colour(method), markersize=6, alpha=0.75)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set(xlabel=f"Dice, {short(pair[0])}", ylabel=f"Dice, {short(pair[1])}")
    return figure


@as_svg
def case_picture(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> Figure:
    """Draw a grey image with the outlines of truth and prediction."""
    height, width = image.shape
    figure = Figure(figsize=(220 * PIXEL, 220 * PIXEL * height / width))
    figure.set_layout_engine("none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axis.imshow(_coarser(image), cmap="gray", vmin=0, vmax=255, interpolation="none", extent=extent)
    for mask, shade in ((truth, TRUTH), (prediction, PREDICTION)):
        if mask.any():
            padded = np.pad(mask.astype(float), 1)  # closes outlines at the edge
            steps = [np.arange(n + 2) - 1 for n in mask.shape]
            axis.contour(steps[1], steps[0], padded, levels=[0.5], colors=shade, linewidths=1.4)
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return figure


def _coarser(image: np.ndarray) -> np.ndarray:
    """Return means of blocks of pixels, as many as the page can show."""
    step = -(-max(image.shape) // FINEST)
    padded = np.pad(image, [(0, -n % step) for n in image.shape], mode="edge").astype(float)
    rows, columns = (n // step for n in padded.shape)
    return padded.reshape(rows, step, columns, step).mean(axis=(1, 3))


def case_dice(method: Method, label: int) -> np.ndarray:
    """Return the Dice of every case that holds the object, mean of the seeds; nan for the others."""
    columns = method.columns[label]
    return np.where(columns.lesions > 0, columns.dice, np.nan).mean(axis=0)


def sample(axis: Axes, indices: np.ndarray, what: str) -> np.ndarray:
    """Return what a figure has room for, always the same, and say so above it if that is not all."""
    if len(indices) <= MOST_DOTS:
        return indices
    axis.set_title(f"{MOST_DOTS} of {len(indices)} {what}, drawn by chance", fontsize=10, color=MUTED)
    return np.sort(np.random.default_rng(0).choice(indices, MOST_DOTS, replace=False))


def dots(axis: Axes, x: np.ndarray, y: np.ndarray, texts: Sequence[str], **style: object) -> None:
    """Draw dots inside the figure, each of which says a text when it is pointed at."""
    if len(x):
        axis.plot(x, y, "o", gid=tips(texts), **style)  # pyright: ignore[reportArgumentType]


class _PlainLog(LogFormatter):
    """Write 0.01 and 100."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def plain_log(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis plainly; its own labels are formulas, which no figure sets."""
    axis.set_major_formatter(_PlainLog())
    axis.set_minor_formatter(_PlainLog(labelOnlyBase=False))


def short(method: Method) -> str:
    """Return the name, as far as a figure has room for it."""
    name = " ".join(method.name.split())
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
