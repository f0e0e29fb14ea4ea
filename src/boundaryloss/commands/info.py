"""The command `info`."""

import click


@click.command()
def info() -> None:
    """Print versions, devices and which kernels serve them: paste it into a report of an issue."""
    from boundaryloss.commands.work.info import report

    for line in report():
        click.echo(line)
