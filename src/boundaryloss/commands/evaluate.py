"""The command `evaluate`."""

import functools
from pathlib import Path
from typing import Any

import click

from boundaryloss.commands.common import (
    FOLDER,
    LABELS,
    SPACING,
    examples,
    print_summary,
    progress_bar,
    skipping,
)


@click.command(
    epilog=examples(
        "boundaryloss evaluate predicted data/masks --out scores",
        "boundaryloss evaluate predicted data --out scores --split test",
    )
)
@click.argument("predictions", type=FOLDER)
@click.argument("truth", type=FOLDER)
@click.option(
    "--out",
    type=FOLDER,
    required=True,
    help="Directory for cases.csv, lesions.csv and summary.csv: new, or of the same evaluation.",
)
@click.option(
    "--spacing",
    type=SPACING,
    help="Voxel size in mm, e.g. 0.8,0.5.  [default: as the truth's files say; 1 for PNG]",
)
@click.option("--only-predicted", is_flag=True, help="Judge only the cases that have a prediction.")
@click.option(
    "--split", type=click.Choice(["train", "test"]),
    help="Judge only these cases of the run (of the splits.json beside the predictions).",
)  # fmt: skip
@click.option("--labels", type=LABELS, help="File values to judge, e.g. 3 or 1,3; all others are background.")
@click.option(
    "--ignore", type=int, help="File value of voxels that nobody labelled, left out of every measure."
)
@click.option("--threshold", type=float, help="Values above it are the object, as in training.")
@click.option(
    "--tolerance", type=click.FloatRange(0), default=1.0, show_default=True,
    help="Of nsd and boundary_iou, in mm.",
)  # fmt: skip
@click.option(
    "--contour",
    type=click.Choice(["faces", "centers", "surfels"]),
    default="faces",
    show_default=True,
    help="Measure distances on the faces between voxels, on voxel centres as MONAI and MedPy do, or on "
    "surfels as DeepMind's surface-distance does.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Cases at a time.")
@click.option("--skip-bad", is_flag=True, help="Leave bad cases out, named and counted, instead of stopping.")
def evaluate(
    predictions: Path,
    truth: Path,
    out: Path,
    spacing: tuple[float, ...] | None,
    only_predicted: bool,
    split: str | None,
    labels: tuple[int, ...] | None,
    ignore: int | None,
    threshold: float | None,
    tolerance: float,
    contour: Any,
    jobs: int,
    skip_bad: bool,
) -> None:
    """Compare label files with the truth, case by case.

    Labels are judged one by one; regions that the dataset.json of nnU-Net declares, region by region, each
    named by its value of regions_class_order. Where that file is, nnU-Net's summary.json is written, too.
    """
    from boundaryloss.scoring import evaluate as evaluate_folders

    with skipping(skip_bad) as on_bad, progress_bar(transient=True) as progress:
        summary = evaluate_folders(
            predictions,
            truth,
            out,
            spacing=spacing,
            allow_missing=only_predicted,
            tolerance=tolerance,
            contour=contour,
            labels=labels,
            ignore=ignore,
            threshold=threshold,
            split=split,
            jobs=jobs,
            on_bad=on_bad,
            on_note=functools.partial(click.echo, err=True),
            progress=progress,
        )
    print_summary(summary)
    click.echo(f"results: {out / 'summary.csv'}, and cases.csv and lesions.csv beside it")
