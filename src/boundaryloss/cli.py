"""The command `boundaryloss`: train, settings, predict, evaluate, compare and smaller ones.

Whatever is heavy is imported inside the commands, so that `--help` answers at once.
"""

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from boundaryloss.extras import MissingExtraError, require
from boundaryloss.signals import Stopped, end_children, end_with_parent, stopping_on_signals

if __name__ == "__main__":
    from boundaryloss.__main__ import main as start

    start()

require("train", "the command", "click")

import click

FOLDER = click.Path(path_type=Path)
SHOWN = (  # of the summary
    "label",
    "cases",
    "cases_with_truth",
    "dice",
    "hd95_mm",
    "hd95_penalised_mm",
    "missed",
    "lesion_sensitivity",
    "false_lesions_per_image",
    "lesion_f1",
)


class OneLineErrors(click.Group):
    """Turn what a user did wrong into one line and exit 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and translate its errors."""
        try:
            return super().invoke(ctx)
        except ValueError as error:
            from boundaryloss.files import UserError  # which needs more than `info` does

            if not isinstance(error, UserError):
                raise
            _fail(str(error))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                _fail("the disc is full; free some space (train: and go on with --resume)")
            if error.filename is None:
                raise
            _fail(f"{error.filename}: {error.strerror}")


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Exits with 0 (all is done), 2 (a mistake in what was given), or 128 + the number of the signal that
    stopped it, whatever it was at: a scheduler must never take a part for the whole.
    """
    if "LOCAL_RANK" in os.environ:  # started by torchrun, or by the first process of a run
        end_with_parent()
    try:
        with stopping_on_signals():
            status = cli.main(args, prog_name="boundaryloss", standalone_mode=False)
        sys.exit(status or 0)
    except click.ClickException as error:
        _fail(error.format_message())
    except MissingExtraError as error:
        _fail(str(error))
    except Stopped as stopped:
        from boundaryloss.training.processes import is_first_process

        end_children()
        if is_first_process():
            _fail(f"{stopped.line}; what was finished is on disk (see --resume of train)", stopped.status)
        sys.exit(stopped.status)
    except click.Abort as abort:  # click's name for an end of file, too
        raise abort.__cause__ or abort from None


@click.group(
    cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="boundaryloss", message="%(prog)s %(version)s")
def cli() -> None:
    """Train segmentation networks on highly unbalanced data with the boundary loss."""


@cli.command()
@click.option("--out", type=FOLDER, default="demo", show_default=True, help="New directory for the results.")
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of each loss.")
def demo(out: Path, seeds: int) -> None:
    """Show what the distance maps are, then train with and without the boundary loss (about 3 minutes).

    Trains on generated slices with tiny lesions, prints a table with spread and tested differences, and draws
    demo.png and report.html. Nothing is downloaded.
    """
    from boundaryloss.files import check_new, locked

    check_new(out)

    from boundaryloss.commands.first_look import first_look

    first_look(click.echo)

    from boundaryloss.comparison.demo import demo_experiment, run_demo
    from boundaryloss.report.comparison import plain_console, print_summary, write_comparison
    from boundaryloss.report.figure import draw_figure
    from boundaryloss.report.findings import find_all
    from boundaryloss.report.page import write_report
    from boundaryloss.report.results import read_results

    experiment = demo_experiment(range(seeds))
    click.echo("5. Training on 200 generated slices with tiny lesions, testing on 100 others.")
    with locked(out):
        with _progress() as progress:
            run_demo(out, experiment, jobs=min(2, os.cpu_count() or 1), progress=progress)
        results = read_results(out)
        findings = find_all(results)
        console = plain_console()
        write_comparison(results, findings)
        print_summary(results, findings, console)
        page = write_report(results, findings)
        console.print(f"\nfigure: {draw_figure(out)}\nreport: {page}", soft_wrap=True)


@cli.command()
@click.argument("data", type=str)
@click.option("--out", type=FOLDER, required=True, help="New directory of the run.")
@click.option("--loss", help="ce, dice, gdl or dicece, each also with +boundary.  [default: gdl+boundary]")
@click.option("--epochs", type=int, help="How often the cases are seen.  [default: 100]")
@click.option("--seed", type=int, help="Of the first weights and the order of cases.  [default: 0]")
@click.option("--fold", type=int, help="Which fold to test on.  [default: 0]")
@click.option("--labels", help="File values to keep as classes, e.g. 3 or 1,3; all others become background.")
@click.option("--test-prefix", multiple=True, help="Test on the names that begin so; may be repeated.")
@click.option("--config", type=FOLDER, help="TOML file (see `boundaryloss settings`); options win over it.")
@click.option("--from", "begin_with", type=FOLDER, help="Begin with the weights of this run.")
@click.option("--devices", type=int, help="GPUs, or processes on the CPU, on each machine.  [default: 1]")
@click.option("--nodes", type=int, help="Machines.  [default: 1]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; start it if there is none.")
@click.option("--skip-bad", is_flag=True, help="Leave bad cases out, named and counted, instead of stopping.")
def train(
    data: str,
    out: Path,
    labels: str | None,
    test_prefix: tuple[str, ...],
    config: Path | None,
    begin_with: Path | None,
    resume: bool,
    skip_bad: bool,
    **settings: Any,
) -> None:
    """Train on DATA: a folder with images/ and masks/, an nnU-Net v2 or Decathlon dataset, or `phantom`.

    The dataset's splits.json or splits_final.json, or names such as train_01 and test_01, or a seeded random
    split that keeps a patient together decide what is tested. On several machines start it with torchrun or
    Slurm.
    """
    from boundaryloss.files import check_free, check_new, check_run, holds_json
    from boundaryloss.training.config import TERMS, read_config
    from boundaryloss.training.processes import check_devices, is_first_process

    own, first = out / "config.toml", is_first_process()
    begun = resume and (own.is_file() or (out / "checkpoints").is_dir())
    split = out / "splits.json" if begun and holds_json(out / "splits.json") else None
    if begin_with is not None:
        settings["begin_with"] = str(begin_with.resolve())
    settings["labels"] = _numbers(labels, int, "--labels takes whole numbers such as 3 or 1,3")
    goes_on = begun and config is None
    chosen = _read_own_config(own, **settings) if goes_on else read_config(config, **settings)
    if config is not None and chosen.begin_with:
        chosen = replace(chosen, begin_with=str((config.parent / chosen.begin_with).resolve()))
    if chosen.begin_with and not begun:
        check_run(Path(chosen.begin_with), "last")
    if first:  # when others start, it has made the directory
        (check_free if begun else check_new)(out)
    _check_source(data)
    check_devices(chosen)

    from boundaryloss.training.run import count_steps, load_data
    from boundaryloss.training.run import train as train_run

    cases = load_data(
        data,
        chosen,
        test_prefix=test_prefix or None,
        split=split,
        skip_bad=skip_bad,
    )
    if first and chosen.loss in TERMS and cases.task.num_classes == 2:
        click.echo(
            f"{chosen.loss} alone, on one class, tends to an empty prediction: add a region loss, such as "
            f"--loss gdl+{chosen.loss}",
            err=True,
        )
    for problem in cases.skipped if first else ():
        click.echo(f"skipped: {problem}", err=True)
    if cases.skipped and first:
        click.echo(_count_skipped(len(cases.skipped)), err=True)
    for line in cases.census if first else ():
        click.echo(line, err=True)
    bar = _bar(visible=first)
    task = bar.add_task(chosen.loss, total=None if begun else count_steps(cases, chosen))

    with ExitStack() as stack:

        def on_step(text: str) -> None:
            if not bar.live.is_started:  # an error before the first step is one line and no bar
                stack.enter_context(bar)
            bar.update(task, advance=1, description=f"{chosen.loss}, {text}")

        summary = train_run(cases, chosen, out, on_step=on_step, resume=resume)
    if first:
        _print_summary(summary, out)


@cli.command()
@click.option("--schema", is_flag=True, help="Print a JSON schema, for an editor that checks TOML.")
def settings(schema: bool) -> None:
    """List what `train --config` and experiments can set: name, default, meaning."""
    import json

    from boundaryloss.training.config import describe_settings, settings_schema

    if schema:
        click.echo(json.dumps(settings_schema(), indent=2))
        return
    for name, default, meaning in describe_settings():
        click.echo(f"{name} = {default}\n{click.wrap_text(meaning, 100, '    ', '    ')}")


@cli.command()
@click.argument("runs", metavar="RUN...", type=FOLDER, nargs=-1, required=True)
@click.argument("images", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="New directory for the label files.")
@click.option(
    "--checkpoint", type=click.Choice(["last", "best"]), default="last", show_default=True,
    help="The last epoch, or the best on the validation share.",
)  # fmt: skip
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
    probabilities: bool,
    skip_bad: bool,
) -> None:
    """Segment IMAGES, a folder or one image, with a trained RUN: NIfTI to NIfTI, others to PNG.

    Several runs, such as the folds of a comparison, predict together: their logits are averaged.
    """
    from boundaryloss.files import check_new, check_run, find_images, locked

    for run in runs:
        check_run(run, checkpoint)
    if split is None:
        find_images(images)
    check_new(out)

    from boundaryloss.training.predict import predict as predict_images

    with locked(out), _skipping(skip_bad) as on_bad, _progress() as progress:
        count = predict_images(
            runs,
            images,
            out,
            checkpoint=checkpoint,
            split=split,
            mirror=mirror,
            threshold=threshold,
            probabilities=probabilities,
            on_bad=on_bad,
            on_note=functools.partial(click.echo, err=True),
            progress=progress,
        )
    click.echo(f"{count} label files in {out}")


@cli.command()
@click.argument("predictions", type=FOLDER)
@click.argument("truth", type=FOLDER)
@click.option(
    "--out",
    type=FOLDER,
    required=True,
    help="Directory for cases.csv, lesions.csv and summary.csv: new, or of the same evaluation.",
)
@click.option(
    "--spacing", help="Voxel size in mm, e.g. 0.8,0.5.  [default: as the truth's files say; 1 for PNG]"
)
@click.option("--only-predicted", is_flag=True, help="Judge only the cases that have a prediction.")
@click.option(
    "--split", type=click.Choice(["train", "test"]),
    help="Judge only these cases of the run (of the splits.json beside the predictions).",
)  # fmt: skip
@click.option("--labels", help="File values to judge, e.g. 3 or 1,3; all others are background.")
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
    spacing: str | None,
    only_predicted: bool,
    split: str | None,
    labels: str | None,
    ignore: int | None,
    threshold: float | None,
    tolerance: float,
    contour: Any,
    jobs: int,
    skip_bad: bool,
) -> None:
    """Compare label files with the truth, case by case and in summary.

    Labels are judged one by one; regions that the dataset.json of nnU-Net declares, region by region, each
    named by its value of regions_class_order. Where that file is, nnU-Net's summary.json is written, too.
    """
    from boundaryloss.scoring import evaluate as evaluate_folders

    steps = _numbers(spacing, float, "--spacing takes numbers such as 0.8,0.5")
    keep = _numbers(labels, int, "--labels takes whole numbers such as 3 or 1,3")
    with _skipping(skip_bad) as on_bad, _progress(transient=True) as progress:
        summary = evaluate_folders(
            predictions,
            truth,
            out,
            spacing=steps,
            allow_missing=only_predicted,
            tolerance=tolerance,
            contour=contour,
            labels=keep,
            ignore=ignore,
            threshold=threshold,
            split=split,
            jobs=jobs,
            on_bad=on_bad,
            on_note=functools.partial(click.echo, err=True),
            progress=progress,
        )
    _print_summary(summary, out)


@cli.command()
@click.argument("experiment", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Directory: new, or one to go on with.")
@click.option("--data", help="Data folder, in place of the one that EXPERIMENT names.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time.")
def compare(experiment: Path, out: Path, data: str | None, jobs: int) -> None:
    """Train every method of EXPERIMENT.toml with every seed and fold, and draw one report.

    Runs that are finished are left alone: start it again after an interruption, or with more seeds.
    """
    from boundaryloss.comparison.experiment import read_experiment
    from boundaryloss.files import check_free, check_new, locked
    from boundaryloss.training.processes import check_devices

    chosen = read_experiment(experiment, data)
    (check_free if (out / "comparison.json").is_file() else check_new)(out)
    _check_source(chosen.data)
    for method in chosen.methods:
        check_devices(method.config)

    from boundaryloss.comparison.run import run_experiment
    from boundaryloss.report.comparison import plain_console, print_verdicts, write_comparison
    from boundaryloss.report.findings import find_all
    from boundaryloss.report.page import write_report
    from boundaryloss.report.results import read_results

    with locked(out):
        with _progress() as progress:
            run_experiment(chosen, out, jobs=jobs, progress=progress)
        results = read_results(out)
        findings = find_all(results)
        write_comparison(results, findings)
        print_verdicts(results, findings, plain_console())
        click.echo(f"report: {write_report(results, findings)}")


@cli.command()
@click.argument("dataset", type=click.Choice(["isles2018", "wmh2017", "acdc"]))
@click.argument("source", type=FOLDER)
@click.argument("out", type=FOLDER)
def convert(dataset: str, source: Path, out: Path) -> None:
    """Make a data folder OUT of a data set of the paper, unpacked in SOURCE."""
    from boundaryloss.files import check_new, locked

    check_new(out)

    from boundaryloss.commands.convert import convert as convert_data

    with locked(out), _progress() as progress:
        count = convert_data(dataset, source, out, progress=progress)
    click.echo(f"{count} slices in {out}")


@cli.command()
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
    """Write the signed distance map of a label file, and a picture beside it."""
    from boundaryloss.commands.distmap import write_distance_map

    steps, values = (
        _numbers(spacing, float, "--spacing takes numbers such as 0.8,0.5"),
        _numbers(keep, int, "--labels takes whole numbers such as 3 or 1,3"),
    )
    picture = write_distance_map(
        labels, out, contour=contour, spacing=steps, keep=values, threshold=threshold
    )
    click.echo(f"{out}\n{picture}")


@cli.command()
def info() -> None:
    """Print versions, devices and which kernels serve them: paste it into a report of an issue."""
    from boundaryloss.commands.info import report

    for line in report():
        click.echo(line)


@cli.command()
def nnunet_path() -> None:
    """Print the folder of the trainers for nnU-Net.

    Use it so: export nnUNet_extTrainer=$(boundaryloss nnunet-path)
    """
    click.echo(Path(__file__).parent / "integrations/nnunet/extension")


def _check_source(data: str) -> None:
    """Refuse a data folder that is missing or of no known layout, at once: reading its cases takes longer."""
    from boundaryloss.files import read_layout

    if data != "phantom":
        read_layout(Path(data))


def _read_own_config(path: Path, **settings: Any) -> Any:
    """Read the settings that a run was begun with; its checkpoint has them, too, if the file is damaged."""
    from boundaryloss.files import UserError, read_toml
    from boundaryloss.training.config import read_config

    try:
        read_toml(path)
    except UserError as error:
        from boundaryloss.training.checkpoints import rewrite_config

        rewrite_config(path)
        click.echo(f"{error}; written again as the checkpoint has it", err=True)
    return read_config(path, **settings)


def _print_summary(rows: Sequence[Any], out: Path) -> None:
    """Print a row per label, of the measures that fit 80 columns; the file has all."""
    import rich.box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=rich.box.SIMPLE_HEAD, padding=0, show_edge=False)
    for name in SHOWN:
        table.add_column(name.replace("_", "\n"), justify="right", overflow="fold", vertical="bottom")
    for row in rows:
        values = [getattr(row, name) for name in SHOWN]
        table.add_row(*map(_cell, values))
        for end in ("low", "high") if row.patients > 1 else ():
            ends = (getattr(row, f"{name}_{end}", None) for name in SHOWN[1:])
            table.add_row(end, *("" if value is None else _cell(value) for value in ends))
    Console().print(table)
    for row in rows[:1]:
        drawn = "patients" if row.patients < row.cases else "cases"
        interval = f"; low, high: 95 % bootstrap interval over {row.patients} {drawn}"
        click.echo(f"contour: {row.contour}{interval if row.patients > 1 else ''}")
    click.echo(f"all measures: {out / 'summary.csv'}")


def _cell(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def _progress(*, transient: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar that is there from the first step on, so that a mistake before it stays one line."""
    bar = _bar(transient=transient)
    task = bar.add_task("", total=None)

    def update(done: int, total: int, text: str) -> None:
        bar.start()
        bar.update(task, completed=done, total=total, description=text)

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def _skipping(wanted: bool) -> Iterator[Callable[[str], None] | None]:
    """Give what is called for bad cases, if they are to be skipped; in the end count them."""
    problems: list[str] = []

    def on_bad(problem: str) -> None:
        problems.append(problem)
        click.echo(f"skipped: {problem}", err=True)

    yield on_bad if wanted else None
    if problems:
        click.echo(_count_skipped(len(problems)), err=True)


def _count_skipped(count: int) -> str:
    return f"{count} bad case{'s' if count > 1 else ''} skipped"


def _bar(*, visible: bool = True, transient: bool = False) -> Any:
    """Make the one progress bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        disable=not visible,
        transient=transient,
    )


def _numbers(text: str | None, kind: type, rule: str) -> tuple[Any, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{rule}, got {text!r}") from None


def _fail(message: str, status: int = 2) -> None:
    """Print one line on stderr and exit."""
    print(f"boundaryloss: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
