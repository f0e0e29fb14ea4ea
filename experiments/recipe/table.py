"""The tables of the recipe, from finished comparisons.

    python experiments/recipe/table.py RUNS/NAME ...

A row is a method. What it differs by from its partner stands in brackets, as the 95 % interval, where that
leaves out zero. False lesions at equal sensitivity are in percent of the partner's; "not reached" where a run
never finds as many, at any threshold.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from boundaryloss.report.findings import EQUAL, Finding, curve, find_all
from boundaryloss.report.results import MEASURES, Method, Results, read_results
from boundaryloss.report.statistics import Difference, by_unit, difference, ratio

COLLAPSED = 0.05  # of the lesions, or fewer, found
HEAD = (
    "method", "collapsed", "Dice", "Dice, tuned", "HD95 pen.", "sensitivity", "lesion F1", "false lesions",
    "equal sens., %",
)  # fmt: skip


def tuned_dice(out: Path, results: Results, method: Method) -> np.ndarray:
    """Terms (2, seed, case) of Dice at the best threshold, which the other half of the cases chooses."""
    facts = results.facts["methods"][method.index]
    place = {case: index for index, case in enumerate(results.cases)}
    level = {value: index for index, value in enumerate(results.thresholds.tolist())}
    dice = np.full((len(level), len(results.facts["seeds"]), len(place)), np.nan)
    for name, run in zip(facts["runs"], method.runs, strict=True):
        seed = results.facts["seeds"].index(run["seed"])
        with (out / "runs" / name / "operating_points.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                dice[level[float(row["threshold"])], seed, place[row["name"]]] = float(row["dice"] or "nan")
    half = np.arange(len(place)) % 2 == 0
    values = np.empty(dice.shape[1:])
    for mine in (half, ~half):
        best = np.nanmean(dice[:, :, ~mine], axis=2).argmax(axis=0)
        for seed, threshold in enumerate(best):
            values[seed, mine] = dice[threshold, seed, mine]
    return np.stack([np.nan_to_num(values), np.isfinite(values)])


def cell(value: float, digits: int, change: Difference | None) -> str:
    """The value, and the interval of its change where that leaves out zero."""
    text = f"{value:.{digits}f}"
    if change is None or not np.isfinite(change.low) or change.low <= 0 <= change.high:
        return text
    return f"{text} [{change.low:+.{digits}f}, {change.high:+.{digits}f}]"


def rows(out: Path) -> list[list[str]]:
    """One per method."""
    results = read_results(out)
    (label,) = results.facts["labels"]
    findings: dict[tuple[str, str], Finding] = {(f.method, f.measure.key): f for f in find_all(results)}
    tuned = {method.name: tuned_dice(out, results, method) for method in results.methods}
    at = int(np.abs(results.thresholds - 0.5).argmin())
    made = []
    for method in results.methods:
        columns = method.columns[label]
        sensitivity, false = (values[at] for values in curve(results, method, label))
        partner = method.name.partition(" + ")[0]
        compared = partner != method.name
        terms = [by_unit(tuned[name], results.units) for name in (partner, method.name)]
        cells = {}
        for measure in MEASURES:
            found = findings.get((method.name, measure.key)) if compared else None
            mean = float(ratio(measure.of(columns)).mean())
            cells[measure.key] = cell(mean, measure.digits, found and found.difference)
        share = ""
        if compared:
            partner_false = curve(results, results.method(partner), label)[1][at].mean()
            equal = findings[method.name, EQUAL.key].difference
            with np.errstate(divide="ignore", invalid="ignore"):  # a partner without any
                mean, low, high = (
                    100 * value / partner_false for value in (equal.mean, equal.low, equal.high)
                )
            share = f"{mean:+.0f}" if np.isfinite(mean) else "not reached"
            share += f" [{low:+.0f}, {high:+.0f}]" if np.isfinite(mean) and low * high > 0 else ""
        change = difference(*terms) if compared else None
        made.append(
            [
                method.name,
                f"{int((sensitivity < COLLAPSED).sum())} of {len(sensitivity)}",
                cells["dice"],
                cell(float(ratio(terms[1]).mean()), 3, change),
                cells["hd95_penalised_mm"],
                cells["lesion_sensitivity"],
                cells["lesion_f1"],
                f"{false.mean():.2f}",
                share,
            ]
        )
    return made


def main(folders: list[str]) -> None:
    """Print Markdown."""
    for folder in map(Path, folders):
        results = read_results(folder)
        seeds = len(results.facts["seeds"])
        print(f"\n### {results.facts['title']}: {len(results.cases)} cases, {seeds} seeds\n")
        print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
        for row in rows(folder):
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
