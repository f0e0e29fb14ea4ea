"""Two losses over several seeds -> a table with spread and paired differences, and what it allows to say."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

Summary = Mapping[str, float]


@dataclass(frozen=True)
class Metric:
    """A column of summary.csv, and which way is better: +1 up, -1 down, 0 neither."""

    column: str
    title: str
    better: int
    digits: int


METRICS = (
    Metric("dice", "Dice", +1, 3),
    Metric("hd95_mm", "HD95 mm", -1, 1),
    Metric("hd95_cases", "  cases that have one", 0, 1),
    Metric("hd95_penalised_mm", "HD95 mm, penalised", -1, 1),
    Metric("missed", "missed cases", -1, 1),
    Metric("lesion_sensitivity", "lesion sensitivity", +1, 3),
    Metric("false_lesions_per_image", "false lesions per image", -1, 2),
)


@dataclass(frozen=True)
class Line:
    """One metric: its values by seed for both losses."""

    metric: Metric
    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def differences(self) -> tuple[float, ...]:
        """Second minus first, seed by seed."""
        return tuple(b - a for a, b in zip(self.first, self.second, strict=True))

    @property
    def beyond_spread(self) -> bool:
        """Whether the mean difference is larger than its standard deviation; if not, it is no difference."""
        if not self.metric.better or len(self.differences) < 2:
            return False
        return abs(_mean(self.differences)) > _spread(self.differences)  # false for nan, too


def read_lines(out: Path) -> tuple[dict, list[Line], list[Summary]]:
    """The demonstration's facts, the lines of its table, and the summaries of all runs."""
    facts = json.loads((out / "demo.json").read_text(encoding="utf-8"))
    runs = [
        [_read_summary(out / "runs" / f"{loss}-seed{s}") for s in facts["seeds"]] for loss in facts["losses"]
    ]
    first, second = runs
    lines = [
        Line(metric, tuple(r[metric.column] for r in first), tuple(r[metric.column] for r in second))
        for metric in METRICS
    ]
    return facts, lines, [*first, *second]


def write_comparison(out: Path, console: Console) -> None:
    """Print the table and the text; write both to report.txt, and the numbers by seed to comparison.csv."""
    facts, lines, summaries = read_lines(out)
    with (out / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["metric", "loss", *(f"seed{seed}" for seed in facts["seeds"])])
        for line in lines:
            for loss, values in zip(facts["losses"], (line.first, line.second), strict=True):
                writer.writerow([line.metric.column, loss, *values])
    with (out / "report.txt").open("w", encoding="utf-8") as file:
        for target in (Console(file=file, width=110), console):
            target.print(_table(facts, lines))
            target.print(conclusions(facts, summaries), highlight=False, soft_wrap=target is not console)


def conclusions(facts: Mapping, summaries: Sequence[Summary]) -> str:
    """What a reader may and may not conclude."""
    seeds, cases = len(facts["seeds"]), int(summaries[0]["cases"])
    filled = int(summaries[0]["cases_with_truth"])
    return (
        f"Mean ± standard deviation over {seeds} seed(s), {facts['epochs']} epochs each; "
        f"{facts['train_slices']} slices to train on, {cases} to test on, {filled} of them with a lesion. "
        "Differences are taken seed by seed.\n\n"
        "What you may conclude: the whole path works on this machine, and this is the size and the spread "
        "of the effect in these runs. A difference within its spread is no difference.\n"
        "What you may not conclude: that one loss is better than the other, here or on your data. These are "
        f"{2 * seeds} short runs on synthetic slices; with so few seeds a difference beyond its spread can "
        "still be chance. No seed, epoch or slice was picked by its result.\n"
        "Fewer false lesions together with a lower sensitivity may only mean that less is predicted. HD95 "
        "exists only where truth and prediction both hold a lesion; penalised, it counts a miss or a false "
        "alarm as the image's diagonal."
    )


def _table(facts: Mapping, lines: Sequence[Line]) -> Table:
    table = Table(
        title="The phantom, with and without the boundary loss",
        caption="* beyond its spread; all other differences are within it, so none",
        title_justify="left",
        caption_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("", no_wrap=True)
    for title in (*facts["losses"], "difference", ""):
        table.add_column(title, justify="right", no_wrap=True)
    for line in lines:
        cells = [_cell(values, line.metric.digits) for values in (line.first, line.second)]
        difference = _cell(line.differences, line.metric.digits, sign=True)
        arrow = {1: " ↑", -1: " ↓", 0: ""}[line.metric.better]
        table.add_row(line.metric.title + arrow, *cells, difference, "*" if line.beyond_spread else "")
    return table


def _cell(values: Sequence[float], digits: int, *, sign: bool = False) -> str:
    mean = f"{_mean(values):{'+' if sign else ''}.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {_spread(values):.{digits}f}"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _read_summary(run: Path) -> Summary:
    """The one label of the demonstration; an empty cell is nan."""
    with (run / "summary.csv").open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    return {name: float(value or "nan") for name, value in row.items()}
