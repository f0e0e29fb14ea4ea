"""One part of an experiment, wherever it is trained: a run, or the beginning of some."""

import functools
import importlib.metadata
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from boundaryloss.comparison.beginnings import Beginning, go_on_from, is_begun, shared_epochs
from boundaryloss.comparison.experiment import Run, Source
from boundaryloss.comparison.plan import Part
from boundaryloss.comparison.planes import plane, write_arrays
from boundaryloss.comparison.records import hardware
from boundaryloss.files import UserError
from boundaryloss.report.store import POINTS, RUN, OperatingPoint, RunRecord, write_record, write_table
from boundaryloss.scoring import operating_points
from boundaryloss.training.callbacks import StepReport
from boundaryloss.training.processes import leave_group
from boundaryloss.training.run import RunData, train

PACKAGES = ("boundaryloss", "torch", "monai", "lightning", "numpy", "scipy")


@functools.cache
def load(source: Source) -> RunData:
    """Read each fold once in every process."""
    return source.load()


def train_part(
    source: Source,
    out: Path,
    part: Part,
    beginning: Beginning | None = None,
    on_step: StepReport | None = None,
) -> None:
    """Train a run, from its `beginning` on if it shares one, or a beginning; `source` is its fold.

    Raises:
        UserError: it cannot be trained; the line names it.
    """
    leave_group()
    with _naming(part.name):
        if isinstance(part, Beginning):
            directory = out / "beginnings" / part.name
            train(load(source), part.config, directory, on_step=on_step, resume=True, until=part.epochs)
        else:
            _train_run(load(source), out, part, beginning, on_step)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"run {name}: {error}") from None


def _train_run(
    data: RunData, out: Path, run: Run, beginning: Beginning | None, on_step: StepReport | None
) -> None:
    """Train, test, and write run.json last."""
    directory = out / "runs" / run.name
    if beginning and not is_begun(directory):
        go_on_from(out / "beginnings" / beginning.name, directory, run.config, beginning.epochs)
    started = time.time()
    tested: dict[str, tuple[np.ndarray, list[OperatingPoint]]] = {}

    def on_case(name: str, prediction: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> None:
        points = operating_points(probabilities, truth, name=name, label_values=data.task.label_values)
        tested[name] = plane(prediction, truth), points

    train(data, run.config, directory, on_step=on_step, on_case=on_case, resume=True)
    write_arrays(directory / "planes.npz", {name: tested[name][0] for name in data.test.names})
    write_table(directory / POINTS, [row for name in data.test.names for row in tested[name][1]])
    record = RunRecord(
        method=run.method.name,
        fold=run.fold,
        seed=run.seed,
        shared_epochs=shared_epochs(directory),
        seconds=round(time.time() - started, 1),
        finished=time.strftime("%Y-%m-%d %H:%M"),
        train_cases=len(data.train),
        test_cases=len(data.test),
        hardware=hardware(run.config.accelerator),
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
    )
    write_record(directory / RUN, record)
