"""The command `nnunet-path`."""

from pathlib import Path

import click

from boundaryloss.commands.common import examples


@click.command(epilog=examples("export nnUNet_extTrainer=$(boundaryloss nnunet-path)"))
def nnunet_path() -> None:
    """Print the folder of the trainers for nnU-Net."""
    click.echo(Path(__file__).parents[1] / "integrations/nnunet/extension")
