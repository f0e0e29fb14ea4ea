"""The command `demo`."""

import os
from pathlib import Path

import click

from boundaryloss.commands.common import FOLDER, examples, progress_bar


@click.command(epilog=examples("boundaryloss demo", "boundaryloss demo --out quick --seeds 1"))
@click.option("--out", type=FOLDER, default="demo", show_default=True, help="New directory for the results.")
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of each loss.")
def demo(out: Path, seeds: int) -> None:
    """Train with and without the boundary loss on generated data.

    Takes about 3 minutes. Shows what the distance maps are, trains on slices with tiny lesions, prints a
    table with spread and tested differences, and draws demo.png and report.html. Nothing is downloaded.
    """
    from boundaryloss.files import check_new, locked

    check_new(out)

    from boundaryloss.commands.actions.first_look import first_look

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
        with progress_bar() as progress:
            run_demo(out, experiment, jobs=min(2, os.cpu_count() or 1), progress=progress)
        results = read_results(out)
        findings = find_all(results)
        console = plain_console()
        write_comparison(results, findings)
        print_summary(results, findings, console)
        page = write_report(results, findings)
        console.print(f"\nfigure: {draw_figure(out)}\nreport: {page}", soft_wrap=True)
