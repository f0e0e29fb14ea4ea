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
import json
from collections.abc import Sequence
from pathlib import Path

from boundaryloss.comparison.beginnings import Beginning, is_begun
from boundaryloss.comparison.cluster import connected, train_on_cluster
from boundaryloss.comparison.experiment import Experiment, Run
from boundaryloss.comparison.parts import load, train_part
from boundaryloss.comparison.plan import Part, find_plan, group, not_begun
from boundaryloss.comparison.pool import train_in_processes
from boundaryloss.comparison.records import write_facts, write_images
from boundaryloss.files import UserError, check_new, check_run, holds_json, make_folder
from boundaryloss.report.store import CASES, COMPARISON, RUN, CaseScores, read_table
from boundaryloss.training.callbacks import Progress
from boundaryloss.training.config import read_config, read_toml
from boundaryloss.training.run import RunData, check_fit, count_steps, steps_per_epoch


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    jobs: int = 1,
    shard: tuple[int, int] | None = None,
    cluster: str | None = None,
    progress: Progress = lambda done, total, text: None,
) -> None:
    """Train what is not done yet, and leave in `out` all that the report reads.

    Args:
        experiment: what to compare.
        out: the experiment's directory: new, or begun before with the same settings.
        jobs: how many runs at a time, each in a process of its own.
        shard: K and N, to train the K-th of N parts only, see `find_plan`.
        cluster: address of a Dask scheduler, or its scheduler file; its workers train in place of this
            machine.
        progress: is called with steps done, steps in all, and a line of text.

    Raises:
        UserError: `out` holds something else, no scheduler answers, or a run failed; what is done is kept.
    """
    load.cache_clear()  # files may have changed since
    runs, beginnings = find_plan(experiment, shard)
    with connected(cluster) as client:
        data = [load(experiment.source(fold)) for fold in range(len(experiment.folds))]
        waiting = _prepare(experiment, out, runs, data)
        plan = group(waiting, not_begun(out, beginnings))

        def steps(part: Part) -> int:
            each = steps_per_epoch(data[part.fold], part.config)
            if isinstance(part, Beginning):
                return part.epochs * each
            shared = beginnings.get(part.name)
            return count_steps(data[part.fold], part.config) - (shared.epochs * each if shared else 0)

        total = sum(map(steps, runs)) + sum(steps(first) for first, _ in plan if first)
        done = sum(map(steps, runs)) - sum(map(steps, waiting))

        def advance(count: int, part: Part, text: str) -> None:
            nonlocal done
            done += count
            progress(done, total, f"{part.name}, {text}")

        if client:
            progress(done, total, f"{len(client.nthreads())} workers")
            for part in train_on_cluster(client, experiment, out, plan):
                advance(steps(part), part, "done")
        elif jobs > 1:
            for part in train_in_processes(experiment, out, plan, jobs):
                advance(steps(part), part, "done")
        else:
            for first, followers in plan:
                for part in (first, *followers) if first else followers:
                    source = experiment.source(part.fold)
                    train_part(source, out, part, first, functools.partial(advance, 1, part))


def _prepare(experiment: Experiment, out: Path, runs: Sequence[Run], data: list[RunData]) -> list[Run]:
    """Check all before the first run trains, write what all runs have in common, return those not done.

    Several commands may do so at once: comparison.json comes first, and files are whole or not there.
    """
    if data[0].task.regions:
        raise UserError(f"{experiment.data}: regions overlap, which no report shows yet; give plain labels")
    for method in experiment.methods:
        check_fit(data[0], method.config)
    waiting = [run for run in runs if not _is_done(out, run, data[run.fold])]
    for run in waiting:
        if run.config.begin_with and not is_begun(out / "runs" / run.name):
            check_run(Path(run.config.begin_with), "last")
    check_new(out, or_with=COMPARISON)
    make_folder(out)
    write_facts(experiment, out, data)
    write_images(experiment, out, data)
    return waiting


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
