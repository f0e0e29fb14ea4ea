"""The command `export`."""

from pathlib import Path

import click

from boundaryloss.commands.common import CHECKPOINT, FOLDER, examples


@click.command(epilog=examples("boundaryloss export run --out model.onnx"))
@click.argument("run", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="ONNX file (.onnx) to write.")
@CHECKPOINT
def export(run: Path, out: Path, checkpoint: str) -> None:
    """Write the network of a RUN as an ONNX file.

    It takes images of any size that the network can halve, float32 `(batch, channel, *space)`, and gives
    logits. What `predict` does before and after it stands in the metadata of the file, as JSON under the
    key `boundaryloss`: axes, spacing, scaling, patch, labels.
    """
    from boundaryloss.files import check_run

    check_run(run, checkpoint)

    from boundaryloss.commands.actions.export import export as export_network

    export_network(run, out, checkpoint=checkpoint)
    click.echo(out)
