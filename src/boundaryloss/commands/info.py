"""The command `info`."""

import click

from boundaryloss.commands.common import examples


@click.command(epilog=examples("boundaryloss info > versions.txt"))
def info() -> None:
    """Print versions, devices and the kernels that serve them.

    Paste it into the report of an issue.
    """
    from boundaryloss.commands.actions.info import report

    for line in report():
        click.echo(line)
