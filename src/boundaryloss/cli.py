"""The command `boundaryloss`: the group of its commands, and what becomes of their errors."""

import errno
import os
import sys
from typing import Any

from boundaryloss.extras import MissingExtraError, require
from boundaryloss.signals import Stopped, end_children, end_with_parent, stopping_on_signals

if __name__ == "__main__":
    from boundaryloss.__main__ import main as start

    start()

require("train", "the command", "click")

import click

from boundaryloss.commands.check import check
from boundaryloss.commands.common import examples, say_error
from boundaryloss.commands.compare import compare
from boundaryloss.commands.convert import convert
from boundaryloss.commands.demo import demo
from boundaryloss.commands.distmap import distmap
from boundaryloss.commands.evaluate import evaluate
from boundaryloss.commands.export import export
from boundaryloss.commands.info import info
from boundaryloss.commands.nnunet_path import nnunet_path
from boundaryloss.commands.predict import predict
from boundaryloss.commands.report import report
from boundaryloss.commands.train import train

STAYS = {  # after a signal
    "train": "; what was finished is on disk, --resume goes on with it",
    "compare": "; what was finished is on disk, the same command goes on with it",
}
COMMANDS = (
    demo,
    check,
    train,
    predict,
    evaluate,
    compare,
    report,
    export,
    convert,
    distmap,
    info,
    nnunet_path,
)


class OneLineErrors(click.Group):
    """Turn what a user did wrong into one line and exit 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and translate its errors."""
        try:
            return super().invoke(ctx)
        except Stopped as stopped:
            stopped.line += STAYS.get(ctx.invoked_subcommand or "", "")
            raise
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
            _fail(stopped.line, stopped.status)
        sys.exit(stopped.status)
    except click.Abort as abort:  # click's name for an end of file, too
        raise abort.__cause__ or abort from None


@click.group(
    cls=OneLineErrors,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    epilog=examples("boundaryloss demo", "boundaryloss check data", "boundaryloss train data --out run"),
)
@click.version_option(package_name="boundaryloss", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train segmentation networks on highly unbalanced data with the boundary loss."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in COMMANDS:
    cli.add_command(command)


def _fail(message: str, status: int = 2) -> None:
    say_error(message)
    sys.exit(status)
