"""A comparison as a table in the terminal, and what it allows to say."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

from boundaryloss.report.findings import EQUAL, Finding, many, number, sentences, signed, spread
from boundaryloss.report.results import CONTOURS, HD95, MEASURES, Measure, Method, Results
from boundaryloss.report.statistics import ratio

ARROWS = {1: " ↑", -1: " ↓", 0: ""}
SHORT = {"not significant": "n.s.", "not judged": "?"}


def plain_console(**options: Any) -> Console:
    """Make a console that prints names as they are: no brackets, colons or numbers mean anything in them."""
    return Console(markup=False, emoji=False, highlight=False, **options)


def write_comparison(results: Results, findings: Sequence[Finding]) -> None:
    """Write a table of every pair and what may be concluded to report.txt."""
    with (results.out / "report.txt").open("w", encoding="utf-8") as file:
        console = plain_console(file=file, width=110)
        for title, pair in _by_pair(results, findings):
            console.print(_table(results, title, pair))
        console.print(conclusions(results), soft_wrap=True)


def print_summary(results: Results, findings: Sequence[Finding], console: Console) -> None:
    """Print one table of all methods, and then in sentences what may be said of them."""
    for label in results.facts.labels:
        table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("", no_wrap=True)
        for method in results.methods:
            table.add_column(method.name, justify="right", overflow="fold", min_width=13)
        for measure in MEASURES:
            cells = (_cell(method, measure, label) for method in results.methods)
            table.add_row(f"{measure.title}{ARROWS[measure.better]}", *cells)
        console.print(table)
    console.print(f"{_over(results)}.\n")
    print_verdicts(results, findings, console)


def print_verdicts(results: Results, findings: Sequence[Finding], console: Console) -> None:
    """Print in sentences what is better, worse or neither, pair by pair."""
    for title, pair in _by_pair(results, findings):
        console.print(title, style="bold")
        for sentence in sentences(pair, results.repeated):
            console.print(f"  {sentence}")


def _by_pair(results: Results, findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    for label in results.facts.labels:
        for baseline, method in results.pairs:
            title = f"{method.name} against {baseline.name}"
            title += f", label {label}" if len(results.facts.labels) > 1 else ""
            yield title, [f for f in findings if (f.label, f.method) == (label, method.name)]


def _over(results: Results) -> str:
    """Say what a mean is over."""
    if not results.facts.seeds:
        return f"Mean over the cases of {many(results.repetitions, 'fold')}"
    return f"Mean ± standard deviation over {many(results.repetitions, 'seed')}"


def conclusions(results: Results) -> str:
    """Say what a reader may and may not conclude."""
    facts = results.facts
    runs = sum(len(method.runs) for method in results.methods)
    epochs = "/".join(str(e) for e in sorted({method.epochs for method in facts.methods if method.epochs}))
    unit = "patients" if len(set(results.units)) < len(results.cases) else "cases"
    look = ": look at the false lesions at equal sensitivity" if len(results.thresholds) > 1 else ""
    by_seed, seeds, once = "seed by seed and ", "seeds and ", ""
    if not facts.seeds:
        by_seed, seeds = "", ""
        once = "Each fold was trained once: what another training of it would come to is not known. "
    return (
        f"{_over(results)}; {many(runs, 'run')}{f' of {epochs} epochs' if epochs else ''}, "
        f"{len(results.cases)} cases to test on. Differences are taken {by_seed}case by case. "
        f"Better and worse: the bootstrap interval over {seeds}{unit} leaves out 0, and Wilcoxon's test "
        f"over {unit}, corrected for the number of comparisons, is below 0.05. At least three "
        f"{results.repeated}s and six {unit} are needed. {once}{results.shared}\n\n"
        "What you may conclude: this is the size of the effect on these data, with these settings, after "
        f"this much training.{' No seed, epoch or case was picked by its result.' if facts.seeds else ''}\n"
        "What you may not conclude: that one loss is better than the other elsewhere, or after longer "
        "training; nor, where nothing is significant, that they are equal.\n"
        f"Fewer false lesions together with a lower sensitivity may only mean that less is predicted{look}. "
        "HD95 exists only where truth and prediction both hold a lesion; penalised, it counts a miss or a "
        "false alarm as the image's diagonal. "
        f"It is measured on {CONTOURS[results.contour]}."
    )


def _table(results: Results, title: str, findings: Sequence[Finding]) -> Table:
    table = Table(
        title=title,
        caption=f"n.s.: not significant; ?: not judged, too few {results.repeated}s or cases",
        title_justify="left",
        caption_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    pair = [results.method(name) for name in (findings[0].baseline, findings[0].method)]
    tested = {finding.measure.key: finding for finding in findings}
    rows = []
    for measure in (*MEASURES, HD95, *([EQUAL] if EQUAL.key in tested else [])):
        cells = ["", ""] if measure is EQUAL else [_cell(m, measure, findings[0].label) for m in pair]
        finding = tested.get(measure.key)
        found = ["", ""]
        if finding:
            verdict = SHORT.get(finding.verdict, finding.verdict)
            verdict += f", {finding.against}" if finding.against else ""
            found = [signed(finding.difference.mean, measure.digits), verdict]
        rows.append([measure.title + ARROWS[measure.better], *cells, *found])
    table.add_column("", min_width=20)
    for column, heading in enumerate((pair[0].name, pair[1].name, "difference", ""), start=1):
        widest = max(len(row[column]) for row in rows)
        table.add_column(heading, justify="right", min_width=widest, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _cell(method: Method, measure: Measure, label: int) -> str:
    values = ratio(measure.of(method.columns[label]))
    mean = number(values.mean(), measure.digits)
    if len(values) < 2 or not np.isfinite(values).all():
        return mean
    return f"{mean} ± {number(spread(values), measure.digits)}"
