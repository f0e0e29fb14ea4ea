"""The command `compare`."""

from pathlib import Path

import click

from boundaryloss.commands.common import FOLDER, check_source, examples, progress_bar


@click.command(epilog=examples("boundaryloss compare experiment.toml --out results"))
@click.argument("experiment", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Directory: new, or one to go on with.")
@click.option("--data", help="Data folder, in place of the one that EXPERIMENT names.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time.")
def compare(experiment: Path, out: Path, data: str | None, jobs: int) -> None:
    """Train every method of EXPERIMENT.toml and draw one report.

    Every method is trained with every seed and fold. Runs that are finished are left alone: start it again
    after an interruption, or with more seeds.
    """
    from boundaryloss.comparison.experiment import read_experiment
    from boundaryloss.files import check_free, check_new, locked
    from boundaryloss.training.processes import check_devices

    chosen = read_experiment(experiment, data)
    (check_free if (out / "comparison.json").is_file() else check_new)(out)
    check_source(chosen.data)
    for method in chosen.methods:
        check_devices(method.config)

    from boundaryloss.comparison.run import run_experiment
    from boundaryloss.report.comparison import plain_console, print_verdicts, write_comparison
    from boundaryloss.report.findings import find_all
    from boundaryloss.report.page import write_report
    from boundaryloss.report.results import read_results

    with locked(out):
        with progress_bar() as progress:
            run_experiment(chosen, out, jobs=jobs, progress=progress)
        results = read_results(out)
        findings = find_all(results)
        write_comparison(results, findings)
        print_verdicts(results, findings, plain_console())
        click.echo(f"report: {write_report(results, findings)}")
