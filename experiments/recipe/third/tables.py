"""Prints the tables of the study in Markdown, and draws its figure, from the small files in results/.

python tables.py [FIGURE.svg]
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boundaryloss.comparison.experiment import Experiment, Method, read_experiment
from boundaryloss.report.findings import at_sensitivity
from boundaryloss.report.statistics import difference, interval, ratio, resample

HERE = Path(__file__).parent
SETS = ("sirst", "ms_lesions", "hippocampus")
SHARES = (0.85, 0.9, 0.95, 1.0)  # of the baseline's sensitivity
COLUMNS = ("cases", "lesions", "found", "false", "hd95_penalised", "with_truth", "dice")
MEASURES = {  # which way is better, digits, numerator and denominator
    "Dice": (+1, 3, lambda c: (c["dice"], c["with_truth"])),
    "HD95 pen.": (-1, 1, lambda c: (c["hd95_penalised"], c["cases"])),
    "sensitivity": (+1, 3, lambda c: (c["found"], c["lesions"])),
    "false / case": (-1, 2, lambda c: (c["false"], c["cases"])),
    "lesion F1": (+1, 3, lambda c: (2 * c["found"], c["lesions"] + c["found"] + c["false"])),
}
MOVED = {"HD95 at equal sens.": (-1, 1), "false at 85-100 %, in %": (-1, 0)}
DRAWN = ("lesion F1", "HD95 pen.", "Dice", "sensitivity")
CONTROLS = {"log": "log, no distance", "log, lesions": "log, lesions, no distance"}
COLOURS = {"GDL": "#0072b2", "DiceCE": "#d55e00"}
Columns = dict[str, np.ndarray]  # each (threshold, seed, unit)


def seeds_done(name: str, experiment: Experiment) -> list[int]:
    """The seeds of which every run of every method has its table."""
    there = {path.stem for path in (HERE / "results" / name).glob("*.csv")}
    missing = {run.seed for run in experiment.runs() if run.name not in there}
    return [seed for seed in experiment.seeds if seed not in missing]


def read(name: str, experiment: Experiment, method: Method, seeds: list[int]) -> Columns:
    """What one method's runs found; a unit is a patient or a sequence, and one label of it."""
    found: dict[tuple[float, int, tuple[str, str]], list[float]] = {}
    for run in experiment.runs():
        if run.method is method and run.seed in seeds:
            with (HERE / "results" / name / f"{run.name}.csv").open(newline="") as file:
                for row in csv.DictReader(file):
                    key = float(row["threshold"]), run.seed, (row["unit"], row["label"])
                    found[key] = [float(row[column]) for column in COLUMNS]
    axes = [sorted({key[axis] for key in found}) for axis in range(3)]
    values = [[[found[t, s, u] for u in axes[2]] for s in axes[1]] for t in axes[0]]
    return dict(zip(COLUMNS, np.moveaxis(np.array(values), -1, 0), strict=True))


def moved(base: Columns, own: Columns) -> dict[str, np.ndarray]:
    """Both measures by thresholds that move, minus the baseline's: (seed, resample); first, of all units."""
    half = len(base["cases"]) // 2  # the threshold .5
    _, units = resample(base["cases"].shape[1], base["cases"].shape[2])
    weights = np.concatenate([np.ones((1, units.shape[1])), units])

    def drawn(columns: Columns) -> tuple[np.ndarray, ...]:
        sums = {key: values @ weights.T for key, values in columns.items()}  # (threshold, seed, resample)
        false = np.maximum.accumulate((sums["false"] / sums["cases"])[::-1])[::-1]
        return sums["found"] / np.maximum(sums["lesions"], 1), false, sums["hd95_penalised"] / sums["cases"]

    (sensitivity, false, hd95), (mine, my_false, my_hd95) = drawn(base), drawn(own)
    targets = [share * sensitivity[half] for share in SHARES]
    before, after = (
        np.mean([at_sensitivity(curve, values, target) for target in targets], axis=0)
        for curve, values in ((sensitivity, false), (mine, my_false))
    )
    values = at_sensitivity(mine, my_hd95, targets[-1]) - hd95[half], 100 * (after / before - 1)
    return dict(zip(MOVED, values, strict=True))


@dataclass(frozen=True)
class Found:
    """What a method differs by from its baseline in one measure, by seed, and the interval of the mean."""

    by_seed: np.ndarray
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Nan where a threshold that was wanted does not exist."""
        return float(np.mean(self.by_seed))

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low * self.high > 0


def differ(base: Columns, own: Columns) -> dict[str, Found | float]:
    """One method against another, both at the threshold .5."""
    found = {
        title: difference(np.stack(of(base)), np.stack(of(own))) for title, (_, _, of) in MEASURES.items()
    }
    return {title: Found(np.array(one.by_seed), one.low, one.high) for title, one in found.items()}


def compare(name: str, experiment: Experiment, seeds: list[int]) -> dict[str, dict[str, Found | float]]:
    """By method and measure: the baselines' values, and the others' differences from them."""
    columns = {method.name: read(name, experiment, method, seeds) for method in experiment.methods}
    half = {one: {k: v[len(v) // 2] for k, v in own.items()} for one, own in columns.items()}
    found: dict[str, dict[str, Found | float]] = {}
    for method in experiment.methods:
        own = half[method.name]
        cells = found[method.name] = {}
        if method.baseline is None:
            for title, (_, _, of) in MEASURES.items():
                cells[title] = float(ratio(np.stack(of(own))).mean())
            continue
        base = half[method.baseline]
        cells |= differ(base, own)
        form = method.name.partition(" + ")[2]
        if (control := f"{method.baseline} + {CONTROLS.get(form)}") in half:
            found[f"{method.name} (against its control)"] = differ(half[control], own)
        if len(columns[method.name]["cases"]) > 1:
            shares, _ = resample(len(seeds), base["cases"].shape[1])
            for title, values in moved(columns[method.baseline], columns[method.name]).items():
                drawn = np.einsum("rs,sr->r", shares, values[:, 1:])
                cells[title] = Found(values[:, 0], *interval(drawn))
    return found


def cell(value: Found | float | None, better: int, digits: int) -> str:
    """The mean difference, in how many seeds it is the better way, and bold if the interval leaves out 0."""
    if value is None:
        return ""
    if not isinstance(value, Found):
        return f"{value:.{digits}f}"
    if not np.isfinite(value.mean):
        return "-"
    mark = "**" if value.significant else ""
    return f"{mark}{value.mean:+.{digits}f}{mark} ({int((np.sign(value.by_seed) == better).sum())})"


def print_table(experiment: Experiment, seeds: list[int], found: dict[str, dict[str, Found | float]]) -> None:
    """One set in Markdown."""
    ways = {title: way[:2] for title, way in (*MEASURES.items(), *MOVED.items())}
    print(f"\n### {experiment.title}: seeds {', '.join(map(str, seeds))}\n")
    print("| " + " | ".join(["", *ways]) + " |\n|" + "---|" * (1 + len(ways)))
    for method, cells in found.items():
        title = method.partition(" + ")[2] or f"**{method}**"
        print("| " + " | ".join([title, *(cell(cells.get(t), *way) for t, way in ways.items())]) + " |")


def draw_set(row: list[Axes], title: str, found: dict[str, dict[str, Found | float]]) -> None:
    """A panel for each measure: the differences of every method, beside both baselines."""
    names = list(dict.fromkeys(method.partition(" + ")[2] for method in found if "(" not in method))[1:]
    for axes, measure in zip(row, DRAWN, strict=True):
        for offset, (baseline, colour) in zip((-0.14, 0.14), COLOURS.items(), strict=True):
            for place, name in enumerate(names):
                value = found[f"{baseline} + {name}"][measure]
                assert isinstance(value, Found)
                if np.isfinite(value.mean):
                    y = place + offset
                    axes.plot([value.low, value.high], [y, y], color=colour, linewidth=1.2)
                    axes.plot(value.mean, y, "o", color=colour, markersize=4)
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.set_title(f"{title}: {measure}", fontsize=8)
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", alpha=0.25)
    row[0].invert_yaxis()  # the rows of a set share their axis


def draw(sets: dict[str, dict[str, dict[str, Found | float]]], path: Path) -> None:
    """Draw all sets, one below the other; right is more, whichever is better."""
    mpl.rcParams.update({"svg.hashsalt": "third", "font.size": 8})
    figure = Figure(figsize=(10, 2.6 * len(sets) + 0.4), layout="constrained")
    grid = figure.subplots(len(sets), len(DRAWN), sharey="row", squeeze=False)
    for row, (title, found) in zip(grid, sets.items(), strict=True):
        draw_set(list(row), title, found)
    for name, colour in COLOURS.items():
        grid[0, 0].plot([], [], "o-", color=colour, label=f"added to {name}", markersize=4)
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print Markdown, and draw."""
    sets = {}
    for name in SETS:
        experiment = read_experiment(HERE / f"{name}.toml", "data")
        if seeds := seeds_done(name, experiment):
            found = compare(name, experiment, seeds)
            print_table(experiment, seeds, found)
            sets[experiment.title.partition(",")[0]] = found
    if sys.argv[1:]:
        draw(sets, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
