"""The tables of the recipe, from finished comparisons.

    python experiments/recipe/table.py RUNS/NAME ...
    python experiments/recipe/table.py --pairs RUNS/NAME ...

A row is a method. What it differs by from its partner stands in brackets, as the 95 % interval, where that
leaves out zero. False lesions at equal sensitivity are in percent of the partner's; "not reached" where a run
never finds as many, at any threshold. The last rows are the log form minus the log form without distances.
With `--pairs` a row is a partner without and with the log form, bold where the interval leaves out zero.
"""

import argparse
from pathlib import Path

import numpy as np

from boundaryloss.report.findings import curve, equal_sensitivity
from boundaryloss.report.results import MEASURES, Method, Results, read_results
from boundaryloss.report.statistics import Difference, by_unit, difference, ratio
from boundaryloss.report.store import POINTS, OperatingPoint, read_table

CONTROL = ", no distance"
COLUMNS = ("dice", "tuned", "hd95_penalised_mm", "lesion_sensitivity", "lesion_f1")
DIGITS = {measure.key: measure.digits for measure in MEASURES} | {"tuned": 3}
COLLAPSED = 0.05  # of the lesions, or fewer, found
HEAD = (
    "method", "collapsed", "Dice", "Dice, tuned", "HD95 pen.", "sensitivity", "lesion F1", "false lesions",
    "equal sens., %",
)  # fmt: skip


def tuned_dice(out: Path, results: Results, method: Method) -> np.ndarray:
    """Terms (2, seed, case) of Dice at the best threshold, which the other half of the cases chooses."""
    facts = results.facts.methods[method.index]
    place = {case: index for index, case in enumerate(results.cases)}
    level = {value: index for index, value in enumerate(results.thresholds.tolist())}
    dice = np.full((len(level), len(results.facts.seeds), len(place)), np.nan)
    for name, run in zip(facts.runs, method.runs, strict=True):
        seed = results.facts.seeds.index(run.seed)
        for row in read_table(out / "runs" / name / POINTS, OperatingPoint):
            dice[level[row.threshold], seed, place[row.name]] = row.dice
    half = np.arange(len(place)) % 2 == 0
    values = np.empty(dice.shape[1:])
    for mine in (half, ~half):
        best = np.nanmean(dice[:, :, ~mine], axis=2).argmax(axis=0)
        for seed, threshold in enumerate(best):
            values[seed, mine] = dice[threshold, seed, mine]
    return np.stack([np.nan_to_num(values), np.isfinite(values)])


def bounds(change: Difference, digits: int) -> str:
    """The interval, where it leaves out zero."""
    return f" [{change.low:+.{digits}f}, {change.high:+.{digits}f}]" if change.low * change.high > 0 else ""


def cell(value: float, digits: int, change: Difference | None) -> str:
    """The value, and the interval of its change where that leaves out zero."""
    return f"{value:.{digits}f}" + (bounds(change, digits) if change else "")


def terms_of(out: Path, results: Results) -> dict[str, dict[str, np.ndarray]]:
    """Method -> measure -> numerators and denominators."""
    (label,) = results.facts.labels
    return {
        method.name: {
            **{measure.key: measure.of(method.columns[label]) for measure in MEASURES},
            "tuned": tuned_dice(out, results, method),
        }
        for method in results.methods
    }


def changes(
    results: Results, terms: dict[str, dict[str, np.ndarray]], first: Method, second: Method
) -> dict[str, Difference]:
    """The second method against the first, by measure."""
    (label,) = results.facts.labels
    before, after = terms[first.name], terms[second.name]
    found = {
        key: difference(by_unit(before[key], results.units), by_unit(after[key], results.units))
        for key in before
    }
    return found | {"equal": equal_sensitivity(results, first, second, label)}


def equal_share(change: Difference, false: float) -> str:
    """The change of false lesions at equal sensitivity, in percent of the first method's, if it has any."""
    if not false:
        return ""
    if not np.isfinite(change.mean):
        return "not reached"
    mean, low, high = (100 * value / false for value in (change.mean, change.low, change.high))
    return f"{mean:+.0f}" + (f" [{low:+.0f}, {high:+.0f}]" if low * high > 0 else "")


def print_table(out: Path) -> None:
    """A row per method, then what the distance adds: the log form against the same without distances."""
    results = read_results(out)
    (label,) = results.facts.labels
    terms = terms_of(out, results)
    at = int(np.abs(results.thresholds - 0.5).argmin())
    print(f"\n### {results.facts.title}: {len(results.cases)} cases, {len(results.facts.seeds)} seeds\n")
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    false = {}
    for method in results.methods:
        sensitivity, false_lesions = (values[at] for values in curve(results, method, label))
        false[method.name] = false_lesions.mean()
        partner = method.name.partition(" + ")[0]
        change = {}
        if partner != method.name:
            change = changes(results, terms, results.method(partner), method)
        cells = [
            cell(float(ratio(terms[method.name][key]).mean()), DIGITS[key], change.get(key))
            for key in COLUMNS
        ]
        share = equal_share(change["equal"], false[partner]) if change else ""
        collapsed = f"{int((sensitivity < COLLAPSED).sum())} of {len(sensitivity)}"
        print(
            "| " + " | ".join([method.name, collapsed, *cells, f"{false_lesions.mean():.2f}", share]) + " |"
        )
    for method in results.methods:
        if method.name.endswith(CONTROL):
            change = changes(results, terms, method, results.method(method.name.removesuffix(CONTROL)))
            cells = [f"{change[k].mean:+.{DIGITS[k]}f}{bounds(change[k], DIGITS[k])}" for k in COLUMNS]
            share = equal_share(change["equal"], false[method.name])
            print("| " + " | ".join([f"distance, {method.name.split(' ')[0]}", "", *cells, "", share]) + " |")


def print_pairs(folders: list[Path]) -> None:
    """A row per comparison and partner: without -> with the log form."""
    print("| data | partner | Dice | Dice, tuned | HD95 pen. | sensitivity | lesion F1 | equal sens., % |")
    print("|" + "---|" * 8)
    for out in folders:
        results = read_results(out)
        (label,) = results.facts.labels
        terms = terms_of(out, results)
        at = int(np.abs(results.thresholds - 0.5).argmin())
        for partner in results.methods:
            if f"{partner.name} + log" not in terms:
                continue
            log = results.method(f"{partner.name} + log")
            change = changes(results, terms, partner, log)
            cells = [results.facts.title.partition(": ")[2].partition(",")[0], partner.name]
            for key in COLUMNS:
                before, after = (float(ratio(terms[one.name][key]).mean()) for one in (partner, log))
                mark = "**" if change[key].low * change[key].high > 0 else ""
                cells.append(f"{before:.{DIGITS[key]}f} → {mark}{after:.{DIGITS[key]}f}{mark}")
            cells.append(equal_share(change["equal"], curve(results, partner, label)[1][at].mean()))
            print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", action="store_true", help="one table, a row per partner")
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUNS/NAME", help="finished comparisons")
    arguments = parser.parse_args()
    if arguments.pairs:
        print_pairs(arguments.folders)
        return
    for folder in arguments.folders:
        print_table(folder)


if __name__ == "__main__":
    main()
