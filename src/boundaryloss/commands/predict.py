"""The command `predict`."""

import functools
from pathlib import Path

import click

from boundaryloss.commands.common import CHECKPOINT, FOLDER, examples, progress_bar, skipping


@click.command(
    epilog=examples(
        "boundaryloss predict run images --out predicted",
        "boundaryloss predict fold0 fold1 scan.nii.gz --out predicted --mirror",
    )
)
@click.argument("runs", metavar="RUN...", type=FOLDER, nargs=-1, required=True)
@click.argument("images", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="New directory for the label files.")
@CHECKPOINT
@click.option(
    "--split", type=click.Choice(["test", "train"]), help="Only these cases of the run.  [default: all]"
)
@click.option(
    "--mirror", is_flag=True, help="Average over mirrored images: 4 times the time in 2-D, 8 times in 3-D."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Probability above which a voxel is the object, for one class or regions.  [default: 0.5]",
)
@click.option("--device", help="cpu, cuda, cuda:1 or mps.  [default: as in training, else the CPU]")
@click.option("--probabilities", is_flag=True, help="Write probabilities/NAME.npz, too, as nnU-Net does.")
@click.option(
    "--skip-bad", is_flag=True, help="Leave bad images out, named and counted, instead of stopping."
)
def predict(
    runs: tuple[Path, ...],
    images: Path,
    out: Path,
    checkpoint: str,
    split: str | None,
    mirror: bool,
    threshold: float | None,
    device: str | None,
    probabilities: bool,
    skip_bad: bool,
) -> None:
    """Segment images with one trained RUN or several.

    IMAGES is a folder or one image. NIfTI becomes NIfTI, others become PNG. Several runs, such as the folds
    of a comparison, predict together: their logits are averaged.
    """
    from boundaryloss.files import check_new, check_run, find_images, locked

    for run in runs:
        check_run(run, checkpoint)
    if split is None:
        find_images(images)
    check_new(out)

    from boundaryloss.training.predict import predict as predict_images

    with locked(out), skipping(skip_bad) as on_bad, progress_bar() as progress:
        count = predict_images(
            runs,
            images,
            out,
            checkpoint=checkpoint,
            split=split,
            mirror=mirror,
            threshold=threshold,
            device=device,
            probabilities=probabilities,
            on_bad=on_bad,
            on_note=functools.partial(click.echo, err=True),
            progress=progress,
        )
    click.echo(f"{count} label files in {out}")
