"""Every run of an experiment, one ordinary training each, and what the report needs to know beside it.

    out/comparison.json         the experiment, the cases, the runs
    out/images.npz              one plane of every tested case: image and truth
    out/beginnings/NAME/        epochs that several runs have in common, see `beginnings`
    out/runs/NAME/              as `train` leaves it, and besides
        planes.npz              the prediction on these planes
        operating_points.csv    lesions found and false lesions at every threshold
        run.json                time, machine and versions; written last

A run that has its run.json is done, and is left alone when the experiment is started again.
"""

import functools
import importlib.metadata
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from boundaryloss.comparison.beginnings import Beginning, find_beginnings, go_on_from, is_begun
from boundaryloss.comparison.experiment import Experiment, Run, Source
from boundaryloss.comparison.planes import plane, write_arrays
from boundaryloss.comparison.records import hardware, write_facts, write_images
from boundaryloss.files import UserError, check_run, holds_json, prepare_directory
from boundaryloss.report.store import (
    CASES,
    COMPARISON,
    POINTS,
    RUN,
    CaseScores,
    OperatingPoint,
    RunRecord,
    read_table,
    write_record,
    write_table,
)
from boundaryloss.scoring import operating_points
from boundaryloss.signals import end_with_parent, ending_workers
from boundaryloss.training.callbacks import Progress, StepReport
from boundaryloss.training.config import read_config, read_toml
from boundaryloss.training.processes import merged
from boundaryloss.training.run import RunData, check_fit, count_steps, steps_per_epoch, train

PACKAGES = ("boundaryloss", "torch", "monai", "lightning", "numpy", "scipy")


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    jobs: int = 1,
    progress: Progress = lambda done, total, text: None,
) -> None:
    """Train what is not done yet, and leave in `out` all that the report reads.

    Args:
        experiment: what to compare.
        out: the experiment's directory: new, or begun before with the same settings.
        jobs: how many runs at a time, each in a process of its own.
        progress: is called with steps done, steps in all, and a line of text.

    Raises:
        UserError: `out` holds something else, or a run failed; what is finished is kept.
    """
    _load.cache_clear()  # files may have changed since
    runs = list(experiment.runs())
    data = [_load(experiment.source(fold)) for fold in range(len(experiment.folds))]
    if data[0].task.regions:
        raise UserError(f"{experiment.data}: regions overlap, which no report shows yet; give plain labels")
    for method in experiment.methods:
        check_fit(data[0], method.config)
    waiting = [run for run in runs if not _is_done(out, run, data[run.fold])]
    for run in waiting:
        if run.config.begin_with and not is_begun(out / "runs" / run.name):
            check_run(Path(run.config.begin_with), "last")
    _prepare(out)
    beginnings = {run.name: beginning for beginning in find_beginnings(experiment) for run in beginning.runs}
    write_facts(experiment, out, data)
    write_images(experiment, out, data)

    def steps(part: Run | Beginning) -> int:
        each = steps_per_epoch(data[part.fold], part.config)
        if isinstance(part, Beginning):
            return part.epochs * each
        shared = beginnings.get(part.name)
        return count_steps(data[part.fold], part.config) - (shared.epochs * each if shared else 0)

    plan = _plan(out, waiting, beginnings)
    total = sum(map(steps, runs)) + sum(steps(first) for first, _ in plan if first)
    done = sum(map(steps, runs)) - sum(map(steps, waiting))

    def advance(count: int, part: Run | Beginning, text: str) -> None:
        nonlocal done
        done += count
        progress(done, total, f"{part.name}, {text}")

    if jobs > 1:
        for part in _in_processes(experiment, out, plan, beginnings, jobs):
            advance(steps(part), part, "done")
        return
    for first, followers in plan:
        for part in (first, *followers) if first else followers:
            _train_part(experiment, out, part, beginnings, functools.partial(advance, 1, part))


Plan = Sequence[tuple[Beginning | None, Sequence[Run]]]


def _plan(out: Path, waiting: Sequence[Run], beginnings: Mapping[str, Beginning]) -> Plan:
    """Return each beginning that is still needed with the runs that wait for it; other runs wait for none."""
    plan: dict[str, tuple[Beginning | None, list[Run]]] = {}
    for run in waiting:
        beginning = None if is_begun(out / "runs" / run.name) else beginnings.get(run.name)
        name = beginning.name if beginning else run.name
        plan.setdefault(name, (beginning, []))[1].append(run)
    return list(plan.values())


def _in_processes(
    experiment: Experiment, out: Path, plan: Plan, beginnings: Mapping[str, Beginning], jobs: int
) -> Iterator[Run | Beginning]:
    """Train several parts at a time, the processor's cores shared among them; yield each when it is done."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool, ending_workers():
        followers = {first.name: runs for first, runs in plan if first}
        pending: dict[Future[None], Run | Beginning] = {}

        def submit(part: Run | Beginning) -> None:
            pending[pool.submit(_train_part, experiment, out, part, beginnings)] = part

        try:
            for first, runs in plan:
                for part in [first] if first else runs:
                    submit(part)
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    part = pending.pop(future)
                    future.result()
                    for run in followers.get(part.name, ()):
                        submit(run)
                    yield part
        except BrokenProcessPool:
            raise UserError(
                "a run was killed, perhaps for lack of memory; go on with fewer --jobs (what is done is kept)"
            ) from None


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    end_with_parent()


@functools.cache
def _load(source: Source) -> RunData:
    """Read each fold once in every process."""
    return source.load()


def _train_part(
    experiment: Experiment,
    out: Path,
    part: Run | Beginning,
    beginnings: Mapping[str, Beginning],
    on_step: StepReport | None = None,
) -> None:
    if isinstance(part, Beginning):
        _begin(experiment, out, part, on_step)
    else:
        _one_run(experiment, out, part, beginnings.get(part.name), on_step)


def _begin(
    experiment: Experiment, out: Path, beginning: Beginning, on_step: StepReport | None = None
) -> None:
    """Train what several runs have in common."""
    directory, data = out / "beginnings" / beginning.name, _load(experiment.source(beginning.fold))
    with _naming(beginning.name):
        train(data, beginning.config, directory, on_step=on_step, resume=True, until=beginning.epochs)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say in an error which run it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"run {name}: {error}") from None


def _one_run(
    experiment: Experiment,
    out: Path,
    run: Run,
    beginning: Beginning | None,
    on_step: StepReport | None = None,
) -> None:
    """Train, from its beginning on if it shares one, test, and write run.json last."""
    directory, data = out / "runs" / run.name, _load(experiment.source(run.fold))
    if beginning and not is_begun(directory):
        go_on_from(out / "beginnings" / beginning.name, directory, run.config)
    started = time.time()
    tested: dict[str, tuple[np.ndarray, list[OperatingPoint]]] = {}

    def on_case(name: str, prediction: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> None:
        points = operating_points(probabilities, truth, name=name, label_values=data.task.label_values)
        tested[name] = plane(prediction, truth), points

    with _naming(run.name):
        train(data, run.config, directory, on_step=on_step, on_case=on_case, resume=True)
    tested = merged(tested)
    write_arrays(directory / "planes.npz", {name: tested[name][0] for name in data.test.names})
    write_table(directory / POINTS, [row for name in data.test.names for row in tested[name][1]])
    record = RunRecord(
        method=run.method.name,
        fold=run.fold,
        seed=run.seed,
        shared_epochs=beginning.epochs if beginning else 0,
        seconds=round(time.time() - started, 1),
        finished=time.strftime("%Y-%m-%d %H:%M"),
        train_cases=len(data.train),
        test_cases=len(data.test),
        hardware=hardware(run.config.accelerator),
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
    )
    write_record(directory / RUN, record)


def _is_done(out: Path, run: Run, data: RunData) -> bool:
    """Return whether the run is finished, with these settings, images, masks and test set.

    Scores of another version are refused here, before hours of training: no report could read them.
    """
    directory = out / "runs" / run.name
    if not all(holds_json(directory / name) for name in (RUN, "splits.json")):
        return False
    split = json.loads((directory / "splits.json").read_text(encoding="utf-8"))
    path = directory / "config.toml"
    found = read_toml(path).get("data") or {}
    same_data = split["test"] == data.test.names and found.get("fingerprint") == data.task.fingerprint
    if read_config(path) != run.config or not same_data:
        raise UserError(
            f"{directory} was made with other settings or data; give a new directory with --out, "
            "or remove this run to make it again"
        )
    read_table(directory / CASES, CaseScores)
    return True


def _prepare(out: Path) -> None:
    """Make `out`; one that holds anything but a comparison is refused."""
    if out.exists() and not (out / COMPARISON).exists():
        prepare_directory(out)  # empty, or an error
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the directory {out / 'runs'}: {error.strerror}") from None
