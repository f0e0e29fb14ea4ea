"""The command `compare`."""

from pathlib import Path
from typing import Any

import click

from boundaryloss.commands.common import FOLDER, check_source, examples, progress_bar


class Shard(click.ParamType):
    """K/N, the K-th of N parts."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text of the option."""
        number, _, count = value.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            self.fail(f"give K/N, the K-th of N parts, K from 1 to N, such as 1/8, got {value!r}", param, ctx)
        return int(number), int(count)


@click.command(
    epilog=examples(
        "boundaryloss compare experiment.toml --out results",
        "boundaryloss compare experiment.toml --out results --shard 3/8",
        "boundaryloss compare experiment.toml --out results --cluster tcp://node1:8786",
    )
)
@click.argument("experiment", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Directory: new, or one to go on with.")
@click.option("--data", help="Data folder, in place of the one that EXPERIMENT names.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time.")
@click.option("--shard", type=Shard(), help="Train only the K-th of N parts of the runs, for job arrays.")
@click.option("--cluster", metavar="ADDRESS", help="Dask scheduler, or its scheduler file: train there.")
def compare(
    experiment: Path,
    out: Path,
    data: str | None,
    jobs: int,
    shard: tuple[int, int] | None,
    cluster: str | None,
) -> None:
    """Train every method of EXPERIMENT.toml and draw one report.

    Every method is trained with every seed and fold. Runs that are finished are left alone: start it again
    after an interruption, or with more seeds. The parts of --shard can train at the same time on machines
    that share --out; start it once more without --shard to draw the report.
    """
    from boundaryloss.comparison.experiment import read_experiment
    from boundaryloss.files import check_free, check_new, locked
    from boundaryloss.training.processes import check_devices

    if cluster is not None and (shard or jobs > 1):
        raise click.UsageError(
            "--cluster trains as many runs as it has workers; leave --jobs and --shard out"
        )
    chosen = read_experiment(experiment, data)
    check_new(out, or_with="comparison.json")
    check_free(out, shard)
    check_source(chosen.data)
    for method in chosen.methods if cluster is None else ():  # workers have devices of their own
        check_devices(method.config)

    from boundaryloss.commands.report import draw_report
    from boundaryloss.comparison.run import run_experiment

    with locked(out, shard):
        with progress_bar() as progress:
            run_experiment(chosen, out, jobs=jobs, shard=shard, cluster=cluster, progress=progress)
        if shard is None:
            draw_report(out)
        else:
            click.echo(f"shard {shard[0]}/{shard[1]} is done; when all are, the same without --shard reports")
