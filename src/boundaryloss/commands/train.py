"""The command `train`."""

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from boundaryloss.commands.common import (
    FOLDER,
    check_source,
    examples,
    make_bar,
    opening_lines,
    print_summary,
    read_settings,
    run_options,
    skipping,
)


def _print_schema(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        import json

        from boundaryloss.training.config import settings_schema

        click.echo(json.dumps(settings_schema(), indent=2))
        context.exit()


@click.command(
    epilog=examples(
        "boundaryloss train data --out run",
        "boundaryloss train data --out run --loss dicece+boundary --labels 1 --epochs 200",
        "boundaryloss train --print-config > settings.toml",
    )
)
@click.argument("data", type=click.Path(), required=False, metavar="DATA")
@click.option("--out", type=FOLDER, help="New directory of the run.  [required]")
@run_options
@click.option("--epochs", type=int, help="How often the cases are seen.  [default: 100]")
@click.option("--devices", type=int, help="GPUs, or processes on the CPU, on each machine.  [default: 1]")
@click.option("--nodes", type=int, help="Machines.  [default: 1]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; start it if there is none.")
@click.option("--print-config", is_flag=True, help="Print all settings as a file for --config, and stop.")
@click.option(
    "--print-schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema,
    help="Print the JSON schema of that file, for editors, and stop.",
)  # fmt: skip
def train(
    data: str | None,
    out: Path | None,
    test_prefix: tuple[str, ...],
    config: Path | None,
    resume: bool,
    skip_bad: bool,
    print_config: bool,
    **settings: Any,
) -> None:
    """Train a network on DATA and test it.

    DATA is a folder with images/ and masks/, an nnU-Net v2 or Decathlon dataset, or the word `phantom`.
    The dataset's splits.json or splits_final.json, or names such as train_01 and test_01, or a seeded random
    split that keeps a patient together decide what is tested. On several machines start it with torchrun or
    Slurm.
    """
    if print_config:
        from boundaryloss.training.template import write_template

        click.echo(write_template(read_settings(config, **settings)), nl=False)
        return
    if data is None:
        raise click.MissingParameter(param_hint="'DATA'", param_type="argument")
    if out is None:
        raise click.MissingParameter(param_hint="'--out'", param_type="option")

    from boundaryloss.files import check_free, check_new, check_run, holds_json
    from boundaryloss.training.processes import check_devices, is_first_process

    own, first = out / "config.toml", is_first_process()
    begun = resume and (own.is_file() or (out / "checkpoints").is_dir())
    split = out / "splits.json" if begun and holds_json(out / "splits.json") else None
    goes_on = begun and config is None
    chosen = _read_own_config(own, **settings) if goes_on else read_settings(config, **settings)
    if chosen.begin_with and not begun:
        check_run(Path(chosen.begin_with), "last")
    if first:  # when others start, it has made the directory
        (check_free if begun else check_new)(out)
    check_source(data)
    check_devices(chosen)

    from boundaryloss.training.run import count_steps, load_data
    from boundaryloss.training.run import train as train_run

    with skipping(skip_bad, visible=first) as on_bad:
        cases = load_data(data, chosen, test_prefix=test_prefix or None, split=split, on_bad=on_bad)
    for line in opening_lines(cases, chosen) if first else ():
        click.echo(line, err=True)
    bar = make_bar(visible=first)
    task = bar.add_task(chosen.loss, total=None if begun else count_steps(cases, chosen))

    with ExitStack() as stack:

        def on_step(text: str) -> None:
            if not bar.live.is_started:  # an error before the first step is one line and no bar
                stack.enter_context(bar)
            bar.update(task, advance=1, description=f"{chosen.loss}, {text}")

        summary = train_run(cases, chosen, out, on_step=on_step, resume=resume)
    if first:
        print_summary(summary)
        click.echo(f"results: {out / 'summary.csv'}, and cases.csv, lesions.csv and pictures/ beside it")
        click.echo(f"next: boundaryloss predict {shlex.quote(str(out))} IMAGES --out LABELS")


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
