"""The command `distmap`."""

from pathlib import Path
from typing import Any

import click

from boundaryloss.commands.common import FOLDER, LABELS, SPACING, examples


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
@click.option(
    "--spacing", type=SPACING, help="Voxel size in mm, e.g. 0.8,0.5.  [default: as the file says; 1 for PNG]"
)
@click.option(
    "--labels", "keep", type=LABELS, help="Label values to map, e.g. 3 or 1,3.  [default: all but 0]"
)
@click.option("--threshold", type=float, help="Of a grey picture: what is above it is the object.")
def distmap(
    labels: Path,
    out: Path,
    contour: Any,
    spacing: tuple[float, ...] | None,
    keep: tuple[int, ...] | None,
    threshold: float | None,
) -> None:
    """Write the signed distance map of a label file.

    A picture of it lies beside it.
    """
    from boundaryloss.commands.actions.distmap import write_distance_map

    picture = write_distance_map(
        labels, out, contour=contour, spacing=spacing, keep=keep, threshold=threshold
    )
    click.echo(f"{out}\n{picture}")
