"""The command `report`."""

from pathlib import Path

import click

from boundaryloss.commands.common import FOLDER, Numbers, examples, progress_bar


@click.command(
    epilog=examples(
        "boundaryloss report nnUNetTrainer__nnUNetPlans__2d MyTrainer__nnUNetPlans__2d --out report",
        "boundaryloss report results",
    )
)
@click.argument("results", metavar="RESULTS...", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, help="New directory for the report of nnU-Net's results.")
@click.option("--baseline", help="The method that the others are held against.  [default: the first]")
@click.option(
    "--folds", type=Numbers(int, "numbers of folds such as 0,1"),
    help="Folds to compare, e.g. 0,1.  [default: those that all results have]",
)  # fmt: skip
@click.option(
    "--truth", type=FOLDER,
    help="Folder of true labels.  [default: gt_segmentations or labelsTr, where nnU-Net keeps them]",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Cases at a time.")
def report(
    results: tuple[Path, ...],
    out: Path | None,
    baseline: str | None,
    folds: tuple[int, ...] | None,
    truth: Path | None,
    jobs: int,
) -> None:
    """Draw one report of RESULTS of nnU-Net.

    RESULTS are nnU-Net's folders of trainers, nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION, each with
    the validation of its folds in it. Or give one directory that `compare` or `report` wrote: its report is
    drawn again.
    """
    from boundaryloss.files import UserError, check_new, locked

    first, *others = results
    if (first / "comparison.json").is_file():
        if others or any(option is not None for option in (out, baseline, folds, truth)):
            raise UserError(f"{first} is a comparison; give it alone: its report is drawn in it")
        with locked(first):
            draw_report(first)
        return
    if out is None:
        raise click.UsageError("--out DIRECTORY is missing, for the report of nnU-Net's results")
    check_new(out)

    from boundaryloss.comparison.nnunet.study import find_study
    from boundaryloss.comparison.nnunet.write import write_study

    study = find_study(results, baseline=baseline, folds=folds, truth=truth)
    for line in (f"Truth: {study.truth}", *study.notes):
        click.echo(line, err=True)
    with locked(out):
        with progress_bar() as progress:
            write_study(study, out, jobs=jobs, progress=progress)
        draw_report(out)


def draw_report(out: Path) -> None:
    """Print what a comparison allows to say, and write its report beside its runs."""
    from boundaryloss.report.comparison import plain_console, print_verdicts, write_comparison
    from boundaryloss.report.findings import find_all
    from boundaryloss.report.page import write_report
    from boundaryloss.report.results import read_results

    results = read_results(out)
    findings = find_all(results)
    page = write_report(results, findings)
    write_comparison(results, findings)
    print_verdicts(results, findings, plain_console())
    click.echo(f"report: {page}")
