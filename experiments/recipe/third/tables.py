"""Prints the tables of the study in Markdown, from the small files in results/.

python tables.py
"""

import csv
from pathlib import Path

import numpy as np

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


def cell(by_seed: np.ndarray, low: float, high: float, better: int, digits: int) -> str:
    """The mean difference, in how many seeds it is the better way, and bold if the interval leaves out 0."""
    mean = float(np.mean(by_seed))
    if not np.isfinite(mean):
        return "-"
    mark = "**" if low * high > 0 else ""
    return f"{mark}{mean:+.{digits}f}{mark} ({int((np.sign(by_seed) == better).sum())})"


def rows(name: str, experiment: Experiment, seeds: list[int]) -> list[list[str]]:
    """The cells of one set: the baselines' values, and each method's differences."""
    columns = {method.name: read(name, experiment, method, seeds) for method in experiment.methods}
    half = {one: {k: v[len(v) // 2] for k, v in own.items()} for one, own in columns.items()}
    table = []
    for method in experiment.methods:
        own = half[method.name]
        if method.baseline is None:
            values = [f"{ratio(np.stack(of(own))).mean():.{digits}f}" for _, digits, of in MEASURES.values()]
            table.append([f"**{method.name}**", *values, "", ""])
            continue
        base, cells = half[method.baseline], []
        for better, digits, of in MEASURES.values():
            found = difference(np.stack(of(base)), np.stack(of(own)))
            cells.append(cell(np.array(found.by_seed), found.low, found.high, better, digits))
        several = len(columns[method.name]["cases"]) > 1
        shares, _ = resample(len(seeds), base["cases"].shape[1])
        found = moved(columns[method.baseline], columns[method.name]) if several else {}
        for title, values in found.items():
            drawn = np.einsum("rs,sr->r", shares, values[:, 1:])
            cells.append(cell(values[:, 0], *interval(drawn), *MOVED[title]))
        table.append([method.name.partition(" + ")[2], *cells, *([] if several else ["", ""])])
    return table


def main() -> None:
    """Print Markdown."""
    for name in SETS:
        experiment = read_experiment(HERE / f"{name}.toml", "data")
        seeds = seeds_done(name, experiment)
        if not seeds:
            continue
        print(f"\n### {experiment.title}: seeds {', '.join(map(str, seeds))}\n")
        print(
            "| " + " | ".join(["", *MEASURES, *MOVED]) + " |\n|" + "---|" * (1 + len(MEASURES) + len(MOVED))
        )
        for row in rows(name, experiment, seeds):
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
