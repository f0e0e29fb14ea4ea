"""The command `convert`."""

from pathlib import Path

import click

from boundaryloss.commands.common import FOLDER, examples, progress_bar


@click.command(epilog=examples("boundaryloss convert acdc downloads/training acdc"))
@click.argument("dataset", type=click.Choice(["isles2018", "wmh2017", "acdc"]))
@click.argument("source", type=FOLDER)
@click.argument("out", type=FOLDER)
def convert(dataset: str, source: Path, out: Path) -> None:
    """Convert a data set of the paper to a data folder.

    SOURCE is the folder that its archive was unpacked into.
    """
    from boundaryloss.files import check_new, locked

    check_new(out)

    from boundaryloss.commands.actions.convert import convert as convert_data

    with locked(out), progress_bar() as progress:
        count = convert_data(dataset, source, out, progress=progress)
    click.echo(f"{count} slices in {out}")
