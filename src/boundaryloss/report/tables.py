"""The numbers of the page as CSV: summary.csv, and tables/ for what is behind the figures."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from boundaryloss.files import make_folder, write_csv
from boundaryloss.report.findings import EQUAL, Finding, curve, spread
from boundaryloss.report.results import HD95, MEASURES, Results
from boundaryloss.report.sizes import SizeFinding
from boundaryloss.report.statistics import ratio
from boundaryloss.report.store import SUMMARY

TESTED = ("baseline", "difference", "low", "high", "p", "p_holm", "units", "verdict")
OF_CASES = ("dice", "hd95_mm", "hd95_penalised_mm", "missed", "lesions", "lesions_found", "false_lesions")
OF_RUNS = ("method", "fold", "seed", "train_cases", "test_cases", "seconds", "finished", "hardware")

Rows = Iterator[dict[str, Any]]


def write_tables(results: Results, findings: Sequence[Finding], sizes: Sequence[SizeFinding]) -> None:
    """Write summary.csv and tables/ beside the runs, with all numbers in full.

    Raises:
        UserError: a table cannot be written.
    """
    folder = results.out / "tables"
    make_folder(folder)
    write_csv(results.out / SUMMARY, [*_summary(results, findings)])
    tables = {
        "runs": _runs(results),
        "cases": _cases(results),
        "lesions": _lesions(results),
        "lesion_sizes": (asdict(finding) for finding in sizes),
        "operating_points": _operating_points(results),
    }
    for name, rows in tables.items():
        path = folder / f"{name}.csv"
        if written := [*rows]:
            write_csv(path, written)
        else:
            path.unlink(missing_ok=True)  # of an earlier report, which had more to say


def _summary(results: Results, findings: Sequence[Finding]) -> Rows:
    """Yield a row per class, method and measure."""
    by_seed = [f"seed{seed}" for seed in results.facts.seeds] or ["all_folds"]
    tested = {(f.label, f.method, f.measure.key): f for f in findings}
    for label in results.facts.labels:
        for method in results.methods:
            for measure in (*MEASURES, HD95, EQUAL):
                finding = tested.get((label, method.name, measure.key))
                if measure is EQUAL and not finding:
                    continue
                row: dict[str, Any] = {"label": label, "method": method.name, "measure": measure.key}
                values = np.array([]) if measure is EQUAL else ratio(measure.of(method.columns[label]))
                numbers = (
                    [values.mean(), spread(values), *values] if len(values) else [""] * (2 + len(by_seed))
                )
                row |= zip(("mean", "sd", *by_seed), numbers, strict=True)
                yield row | dict(zip(TESTED, _tested(finding), strict=True))


def _tested(finding: Finding | None) -> list[Any]:
    if finding is None:
        return [""] * len(TESTED)
    d = finding.difference
    return [finding.baseline, d.mean, d.low, d.high, d.p, finding.p, d.units, finding.verdict]


def _runs(results: Results) -> Rows:
    for method in results.methods:
        for run in method.runs:
            yield {name: getattr(run, name) for name in OF_RUNS}


def _cases(results: Results) -> Rows:
    """Yield a row per class, method and case: means of the seeds."""
    for label in results.facts.labels:
        for method in results.methods:
            means = {name: getattr(method.columns[label], name).mean(axis=0).tolist() for name in OF_CASES}
            for index, (name, unit) in enumerate(zip(results.cases, results.units, strict=True)):
                row = {"label": label, "method": method.name, "name": name, "patient": unit}
                yield row | {column: values[index] for column, values in means.items()}


def _lesions(results: Results) -> Rows:
    """Yield a row per true lesion and method: the share of the seeds that found it, and its mean Dice."""
    for label, lesions in results.lesions.items():
        size = f"truth_{'mm2' if lesions.unit == 'mm²' else 'mm3'}"
        places = zip(lesions.case.tolist(), lesions.number.tolist(), lesions.size.tolist(), strict=True)
        of_lesions = [(results.cases[case], number, of_size) for case, number, of_size in places]
        for method in results.methods:
            found = method.lesions[label].mean(axis=1).T.tolist()
            for (name, number, of_size), (share, dice) in zip(of_lesions, found, strict=True):
                row = {"label": label, "method": method.name, "name": name, "lesion": number, size: of_size}
                yield row | {"found": share, "dice": dice}


def _operating_points(results: Results) -> Rows:
    """Yield a row per class, method, threshold and seed."""
    for label in results.facts.labels:
        for method in results.methods:
            sensitivity, false = curve(results, method, label)
            for level, threshold in enumerate(results.thresholds.tolist()):
                for index, seed in enumerate(results.facts.seeds or [None]):
                    yield {
                        "label": label,
                        "method": method.name,
                        "threshold": threshold,
                        "seed": seed,
                        "lesion_sensitivity": float(sensitivity[level, index]),
                        "false_lesions_per_case": float(false[level, index]),
                    }
