"""The command `distmap`."""

from pathlib import Path
from typing import Any

import click

from boundaryloss.commands.common import FOLDER, examples, numbers


@click.command(
    epilog=examples(
        "boundaryloss distmap mask.png --out map.tif",
        "boundaryloss distmap labels.nii.gz --out map.nii.gz --labels 1",
    )
)
@click.argument("labels", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="NIfTI (.nii, .nii.gz) or TIFF (.tif) to write.")
@click.option(
    "--contour",
    type=click.Choice(["faces", "centers"]),
    default="faces",
    show_default=True,
    help="Measure to the faces of the object, or to voxel centres as the official code does.",
)
@click.option("--spacing", help="Voxel size in mm, e.g. 0.8,0.5.  [default: as the file says; 1 for PNG]")
@click.option("--labels", "keep", help="Label values to map, e.g. 3 or 1,3.  [default: all but 0]")
@click.option("--threshold", type=float, help="Of a grey picture: what is above it is the object.")
def distmap(
    labels: Path, out: Path, contour: Any, spacing: str | None, keep: str | None, threshold: float | None
) -> None:
    """Write the signed distance map of a label file.

    A picture of it lies beside it.
    """
    from boundaryloss.commands.work.distmap import write_distance_map

    steps, values = (
        numbers(spacing, float, "--spacing takes numbers such as 0.8,0.5"),
        numbers(keep, int, "--labels takes whole numbers such as 3 or 1,3"),
    )
    picture = write_distance_map(
        labels, out, contour=contour, spacing=steps, keep=values, threshold=threshold
    )
    click.echo(f"{out}\n{picture}")
