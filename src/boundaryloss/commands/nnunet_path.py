"""The command `nnunet-path`."""

from pathlib import Path

import click


@click.command()
def nnunet_path() -> None:
    """Print the folder of the trainers for nnU-Net.

    Use it so: export nnUNet_extTrainer=$(boundaryloss nnunet-path)
    """
    click.echo(Path(__file__).parents[1] / "integrations/nnunet/extension")
