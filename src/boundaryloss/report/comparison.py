"""A comparison as a table in the terminal, and what it allows to say."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

from boundaryloss.report.findings import EQUAL, Finding, find_all, signed, spread
from boundaryloss.report.results import HD95, MEASURES, Measure, Method, Results, read_results
from boundaryloss.report.statistics import ratio


def write_comparison(out: Path, console: Console) -> None:
    """Print a table of every pair and what may be concluded; write both to `out`/report.txt."""
    results = read_results(out)
    findings = find_all(results)
    with (out / "report.txt").open("w", encoding="utf-8") as file:
        for target in (Console(file=file, width=110), console):
            for label in results.facts["labels"]:
                for baseline, method in results.pairs:
                    pair = [f for f in findings if (f.label, f.method) == (label, method.name)]
                    target.print(_table(results, baseline, method, label, pair))
            target.print(conclusions(results), highlight=False, soft_wrap=target is not console)


def conclusions(results: Results) -> str:
    """What a reader may and may not conclude."""
    facts = results.facts
    runs = sum(len(method.runs) for method in results.methods)
    epochs = "/".join(str(e) for e in sorted({method["epochs"] for method in facts["methods"]}))
    unit = "patients" if len(set(results.units)) < len(results.cases) else "cases"
    return (
        f"Mean ± standard deviation over {len(facts['seeds'])} seed(s); {runs} runs of {epochs} epochs, "
        f"{len(results.cases)} cases to test on. Differences are taken seed by seed and case by case. "
        f"Better and worse: the bootstrap interval over seeds and {unit} leaves out 0, and Wilcoxon's test "
        f"over {unit}, corrected for the number of comparisons, is below 0.05.\n\n"
        "What you may conclude: this is the size of the effect on these data, with these settings, after "
        "this much training. No seed, epoch or case was picked by its result.\n"
        "What you may not conclude: that one loss is better than the other elsewhere, or after longer "
        "training; nor, where nothing is significant, that they are equal.\n"
        "Fewer false lesions together with a lower sensitivity may only mean that less is predicted: look at "
        "the false lesions at equal sensitivity. HD95 exists only where truth and prediction both hold a "
        "lesion; penalised, it counts a miss or a false alarm as the image's diagonal."
    )


def _table(
    results: Results, baseline: Method, method: Method, label: int, findings: Sequence[Finding]
) -> Table:
    several = len(results.facts["labels"]) > 1
    table = Table(
        title=results.facts["title"] + (f", label {label}" if several else ""),
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("", no_wrap=True)
    for title in (baseline.name, method.name, "difference", ""):
        table.add_column(title, justify="right", no_wrap=True)
    tested = {finding.measure.key: finding for finding in findings}
    for measure in (*MEASURES, HD95, EQUAL):
        cells = ["", ""] if measure is EQUAL else [_cell(m, measure, label) for m in (baseline, method)]
        finding = tested.get(measure.key)
        found = [signed(finding.difference.mean, measure.digits), finding.verdict] if finding else ["", ""]
        table.add_row(measure.title + {1: " ↑", -1: " ↓", 0: ""}[measure.better], *cells, *found)
    return table


def _cell(method: Method, measure: Measure, label: int) -> str:
    values = ratio(measure.of(method.columns[label]))
    mean = f"{np.mean(values):.{measure.digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {spread(values):.{measure.digits}f}"
