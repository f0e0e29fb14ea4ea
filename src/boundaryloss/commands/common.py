"""What several commands share: numbers, settings, the progress bar, what is skipped, the table of scores."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from boundaryloss.extras import require


class Numbers(click.ParamType):
    """Numbers with commas between them, as a tuple."""

    name = "numbers"

    def __init__(self, kind: type, what: str) -> None:
        self.kind, self.what = kind, what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text of an option."""
        try:
            return tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            self.fail(f"give {self.what}, got {value!r}", param, ctx)


FOLDER = click.Path(path_type=Path)
LABELS = Numbers(int, "whole numbers such as 3 or 1,3")
SPACING = Numbers(float, "numbers such as 0.8,0.5")
CHECKPOINT = click.option(
    "--checkpoint",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="The last epoch, or the best on the validation share.",
)
RUN_OPTIONS = (
    click.option(
        "--loss", help="ce, dice, gdl or dicece, each also with +boundary.  [default: gdl+boundary]"
    ),
    click.option("--seed", type=int, help="Of the first weights and the order of cases.  [default: 0]"),
    click.option("--fold", type=int, help="Which fold to test on.  [default: 0]"),
    click.option(
        "--labels",
        type=LABELS,
        help="File values to keep as classes, e.g. 3 or 1,3; all others become background.",
    ),
    click.option("--test-prefix", multiple=True, help="Test on the names that begin so; may be repeated."),
    click.option("--config", type=FOLDER, help="TOML file (see train --print-config); options win over it."),
    click.option(
        "--from", "begin_with", type=click.Path(resolve_path=True), help="Begin with the weights of this run."
    ),
    click.option(
        "--skip-bad", is_flag=True, help="Leave bad cases out, named and counted, instead of stopping."
    ),
)
SHOWN = (  # of the summary
    "label",
    "cases",
    "cases_with_truth",
    "dice",
    "hd95_mm",
    "hd95_penalised_mm",
    "missed",
    "lesion_sensitivity",
    "false_lesions_per_image",
    "lesion_f1",
)


def examples(*lines: str) -> str:
    """Return the end of a help page; click keeps these lines as they are."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


def run_options(command: Any) -> Any:
    """Give a command the options that decide whether data and settings go together."""
    for option in reversed(RUN_OPTIONS):
        command = option(command)
    return command


def read_settings(config: Path | None, **settings: Any) -> Any:
    """Read the settings of a run. The run to begin with is found beside the file that names it."""
    from boundaryloss.training.config import read_config

    chosen = read_config(config, **settings)
    if config is not None and chosen.begin_with:
        return replace(chosen, begin_with=str((config.parent / chosen.begin_with).resolve()))
    return chosen


def check_source(data: str) -> None:
    """Refuse a data folder that is missing or of no known layout, at once: reading its cases takes longer."""
    from boundaryloss.files import read_layout

    if data != "phantom":
        read_layout(Path(data))


def opening_lines(cases: Any, chosen: Any) -> Iterator[str]:
    """Yield what to know of data and loss before training."""
    from boundaryloss.training.config import TERMS

    if chosen.loss in TERMS and cases.task.num_classes == 2:
        yield (
            f"{chosen.loss} alone, on one class, tends to an empty prediction: add a region loss, such as "
            f"--loss gdl+{chosen.loss}"
        )
    yield from cases.census


def print_summary(rows: Sequence[Any]) -> None:
    """Print a row per label, of the measures that fit 80 columns; summary.csv has all."""
    import rich.box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=rich.box.SIMPLE_HEAD, padding=0, show_edge=False)
    for name in SHOWN:
        table.add_column(name.replace("_", "\n"), justify="right", overflow="fold", vertical="bottom")
    for row in rows:
        values = [getattr(row, name) for name in SHOWN]
        table.add_row(*map(_cell, values))
        for end in ("low", "high") if row.patients > 1 else ():
            ends = (getattr(row, f"{name}_{end}", None) for name in SHOWN[1:])
            table.add_row(end, *("" if value is None else _cell(value) for value in ends))
    Console().print(table)
    for row in rows[:1]:
        drawn = "patients" if row.patients < row.cases else "cases"
        interval = f"; low, high: 95 % bootstrap interval over {row.patients} {drawn}"
        click.echo(f"contour: {row.contour}{interval if row.patients > 1 else ''}")


def _cell(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def progress_bar(*, transient: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar that is there from the first step on, so that a mistake before it stays one line."""
    bar = make_bar(transient=transient)
    task = bar.add_task("", total=None)

    def update(done: int, total: int, text: str) -> None:
        bar.start()
        bar.update(task, completed=done, total=total, description=text)

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def skipping(wanted: bool, *, visible: bool = True) -> Iterator[Callable[[str], None] | None]:
    """Give what is called for bad cases, if they are to be skipped; in the end count them."""
    problems: list[str] = []

    def on_bad(problem: str) -> None:
        problems.append(problem)
        if visible:
            click.echo(f"skipped: {problem}", err=True)

    yield on_bad if wanted else None
    if problems and visible:
        click.echo(f"{len(problems)} bad case{'s' if len(problems) > 1 else ''} skipped", err=True)


def say_error(message: str) -> None:
    """Print one line on stderr."""
    print(f"boundaryloss: {' '.join(message.split())}", file=sys.stderr)


def make_bar(*, visible: bool = True, transient: bool = False) -> Any:
    """Make the one progress bar."""
    require("train", "the command", "rich")

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        disable=not visible,
        transient=transient,
    )
