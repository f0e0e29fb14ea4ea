"""Figures of the true lesions of a pair of methods, by their size."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boundaryloss.report.lesions import Lesions
from boundaryloss.report.plots import colour, dots, plain_log, sample, short
from boundaryloss.report.results import Method, Results
from boundaryloss.report.sizes import size_groups, size_text
from boundaryloss.report.svg import MUTED, PIXEL, as_svg

EACH, FEWEST, MOST = 20, 3, 8  # lesions in a group of like size, and groups


@as_svg
def sensitivity_by_size(results: Results, pair: Sequence[Method], label: int) -> Figure | None:
    """Draw the share of lesions found against their size: mean and range of the seeds."""
    lesions = results.lesions[label]
    groups = size_groups(lesions.size, int(np.clip(len(lesions.size) // EACH, FEWEST, MOST)))
    if not groups:
        return None
    figure, axis = _against_size(400, lesions)
    centres = np.array([np.exp(np.log(lesions.size[group]).mean()) for group in groups])
    ends = [sorted({lesions.size[group].min(), lesions.size[group].max()}) for group in groups]
    spans = [" to ".join(map(size_text, of_group)) for of_group in ends]
    for method in pair:
        found = np.stack([method.lesions[label][0][:, group].mean(axis=1) for group in groups])
        axis.fill_between(
            centres, found.min(axis=1), found.max(axis=1), color=colour(method), alpha=0.15, lw=0
        )
        axis.plot(
            centres, mean := found.mean(axis=1), color=colour(method), linewidth=1.8, label=short(method)
        )
        texts = [
            f"{method.name}: {share:.3f} of {len(group)} lesions, {span} {lesions.unit}"
            for share, group, span in zip(mean, groups, spans, strict=True)
        ]
        dots(axis, centres, mean, texts, color=colour(method), markersize=6)
    axis.set(ylabel="lesion sensitivity", ylim=(-0.02, 1.02))
    axis.legend(loc="lower right")
    return figure


@as_svg
def dice_by_size(results: Results, pair: Sequence[Method], label: int) -> Figure | None:
    """Draw what each lesion gained or lost in Dice against its size, mean of the seeds."""
    lesions = results.lesions[label]
    if not len(lesions.size):
        return None
    figure, axis = _against_size(360, lesions)
    before, after = (method.lesions[label][1].mean(axis=0) for method in pair)
    axis.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    shown = sample(axis, np.arange(len(lesions.size)), "lesions")
    gain = after - before
    for sign, shade in ((-1, colour(pair[0])), (0, MUTED), (1, colour(pair[1]))):
        points = shown[np.sign(gain[shown]) == sign]
        texts = [
            f"{results.cases[lesions.case[i]]}, {size_text(float(lesions.size[i]))} {lesions.unit}: "
            f"{before[i]:.3f}, {after[i]:.3f}"
            for i in points
        ]
        dots(axis, lesions.size[points], gain[points], texts, color=shade, markersize=5, alpha=0.65)
    reach = max(0.1, 1.1 * float(np.abs(gain).max()))
    axis.set(ylabel="Dice of the lesion, difference", ylim=(-reach, reach))
    return figure


def _against_size(width: int, lesions: Lesions) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width * PIXEL, 300 * PIXEL))
    axis = figure.subplots()
    axis.set(xscale="log", xlabel=f"size of the lesion, {lesions.unit}")
    plain_log(axis.xaxis)
    return figure, axis
