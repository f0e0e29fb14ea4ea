"""Lesions found against false lesions over all thresholds, from finished comparisons.

python experiments/recipe/curves.py OUT.svg RUNS/NAME ...
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boundaryloss.report.findings import curve
from boundaryloss.report.results import Results, read_results

PARTNERS = ("GDL", "DiceCE", "CE")
STYLES = {  # by what is added to the partner
    "": ("alone", "#6b7280", "-"),
    "linear": ("+ linear", "#0072b2", "--"),
    "log": ("+ log", "#d55e00", "-"),
    "log, no distance": ("+ log, no distance", "#009e73", "-."),
}


def draw_curves(axes: Axes, results: Results, partner: str) -> None:
    """One line per method, the mean of its seeds at each threshold, with a mark at 0.5."""
    (label,) = results.facts.labels
    at = int(np.abs(results.thresholds - 0.5).argmin())
    for method in results.methods:
        base, _, added = method.name.partition(" + ")
        if base != partner:
            continue
        name, colour, dash = STYLES[added]
        sensitivity, false = (values.mean(axis=1) for values in curve(results, method, label))
        false = np.maximum.accumulate(false[::-1])[::-1]  # at low thresholds they flow together
        axes.plot(false, sensitivity, dash, color=colour, label=name, linewidth=1.4)
        axes.plot(false[at], sensitivity[at], "o", color=colour, markersize=4)
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.25)


def main(out: Path, folders: list[Path]) -> None:
    """A column per comparison, a row per partner."""
    mpl.rcParams.update({"svg.hashsalt": "recipe", "font.size": 8})
    figure = Figure(figsize=(2.5 * len(folders) + 0.6, 7.5), layout="constrained")
    grid = figure.subplots(len(PARTNERS), len(folders), squeeze=False, sharey=True)
    for column, results in enumerate(map(read_results, folders)):
        for row, partner in enumerate(PARTNERS):
            draw_curves(grid[row, column], results, partner)
        grid[0, column].set_title(results.facts.title.partition(": ")[2].partition(",")[0], fontsize=9)
        grid[-1, column].set_xlabel("false lesions per case")
    for axes, partner in zip(grid[:, 0], PARTNERS, strict=True):
        axes.set_ylabel(f"{partner}: lesions found")
    grid[0, 0].legend(loc="lower right", fontsize=7)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
