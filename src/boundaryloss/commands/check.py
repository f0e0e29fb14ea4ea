"""The command `check`."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from boundaryloss.commands.common import (
    check_source,
    examples,
    opening_lines,
    read_settings,
    run_options,
    say_error,
    skipping,
)


@click.command(epilog=examples("boundaryloss check data", "boundaryloss check data --config settings.toml"))
@click.argument("data", type=click.Path())
@run_options
def check(
    data: str, test_prefix: tuple[str, ...], config: Path | None, skip_bad: bool, **settings: Any
) -> None:
    """Check DATA and settings as `train` does, without training.

    Reads every case once and writes nothing. Prints classes, split, patch and memory, or every fault in a
    line of its own, with exit status 2.
    """
    from boundaryloss.files import UserError, check_run
    from boundaryloss.training.processes import check_devices

    chosen = read_settings(config, **settings)
    if chosen.begin_with:
        check_run(Path(chosen.begin_with), "last")
    check_source(data)
    check_devices(chosen)

    from boundaryloss.training.run import check_fit, load_data

    cases, faults = None, list[str]()
    uncached = replace(chosen, cache="none")  # to prepare volumes is for training
    with skipping(skip_bad) as on_bad:
        try:
            cases = load_data(data, uncached, test_prefix=test_prefix or None, on_bad=on_bad or faults.append)
            check_fit(cases, chosen, begun=True)
        except UserError as error:
            faults.append(str(error))
    for fault in faults:
        say_error(fault)
    if cases is None or faults:
        sys.exit(2)
    for line in (*opening_lines(cases, chosen), *_plan(cases, chosen)):
        click.echo(line)
    click.echo(
        f"no fault found; next, with the same options: boundaryloss train {shlex.quote(data)} --out RUN"
    )


def _plan(cases: Any, chosen: Any) -> Iterator[str]:
    """Yield what a run would see at once, how long it would be and what it would keep."""
    from boundaryloss.training.run import steps_per_epoch

    task, steps = cases.task, steps_per_epoch(cases, chosen)
    seen = f"patches of {_times(task.patch)} voxels" if task.patch else "whole slices"
    yield f"{chosen.network}: sees {seen}; a voxel is {_times(task.spacing)} mm; channels: {task.channels}"
    yield f"epochs: {chosen.epochs} of {steps} steps with batches of {chosen.batch_size}"
    if task.image_axes == 2 or chosen.cache == "memory":
        yield f"memory for the cases: {cases.held / 1e6:.3g} MB"
    elif chosen.cache != "none":
        yield f"disc for the cases, in {chosen.cache}: {cases.held / 1e6:.3g} MB"


def _times(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
