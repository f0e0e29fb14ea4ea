"""Runs on a Dask cluster: one at a time in each worker, which sees the same directories as this machine."""

import importlib.metadata
import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from boundaryloss.comparison.beginnings import Beginning
from boundaryloss.comparison.experiment import Experiment, Run, Source
from boundaryloss.comparison.parts import train_part
from boundaryloss.comparison.plan import Part, Unit
from boundaryloss.extras import require
from boundaryloss.files import UserError, holds_json, read_json
from boundaryloss.report.store import RUN

TIMEOUT = 10  # seconds in which a scheduler answers
RETRIES = 1  # what fails twice is given up; how often a worker may be lost, the scheduler decides


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Give a client of the Dask scheduler at an address, or in a scheduler file; of `None`, none.

    At the end whatever waits there is cancelled, and what runs stops at its next step.

    Raises:
        UserError: no scheduler answers.
    """
    if address is None:
        yield None
        return
    require("cluster", "--cluster", "distributed")
    from distributed import Client

    if "://" not in address:
        address = _address_in(Path(address))
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # of what goes wrong, one line is said at the end
    try:
        try:
            client = Client(address, timeout=TIMEOUT)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"no Dask scheduler answers at {address} ({' '.join(str(error).split())}); start one with "
                "`dask scheduler`, or give the address that it prints"
            ) from None
        with client:
            yield client
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class Place:
    """What a worker must have in common with the machine that sends it runs."""

    out: Path
    data: str
    sign: Path  # a file in `out` that only this command could make
    version: str
    num_workers: int

    def misfit(self, worker: Any) -> str | None:
        """Return what is wrong with a worker."""
        if worker.state.nthreads != 1:
            return f"has {worker.state.nthreads} threads, so runs would share a process; use --nthreads 1"
        if importlib.metadata.version("boundaryloss") != self.version:
            return f"has another version of boundaryloss; install {self.version} there"
        if not self.sign.exists():
            return f"does not see {self.out}; --out must lie on a file system that all workers share"
        if self.data != "phantom" and not Path(self.data).is_dir():
            return f"does not see {self.data}; the data must lie on a file system that all workers share"
        if self.num_workers and multiprocessing.current_process().daemon:
            return (
                f"may start no processes, and num_workers = {self.num_workers} asks for some; set it to 0, "
                "or start the worker with DASK_DISTRIBUTED__WORKER__DAEMON=False"
            )
        return None


def train_on_cluster(client: Any, experiment: Experiment, out: Path, plan: Sequence[Unit]) -> Iterator[Part]:
    """Train all parts in the cluster's workers; yield each when it is done.

    Raises:
        UserError: a worker does not fit; the scheduler is gone; or, when all others are done, runs failed.
    """
    from distributed import as_completed

    parts, failed = {}, {}
    with NamedTemporaryFile(prefix=".workers-", dir=out) as sign:
        place = Place(
            out.absolute(),
            experiment.data if experiment.data == "phantom" else str(Path(experiment.data).absolute()),
            Path(sign.name).absolute(),
            importlib.metadata.version("boundaryloss"),
            max(method.config.num_workers for method in experiment.methods),
        )
        _check_workers(client, place)

        def submit(part: Part, beginning: Beginning | None = None, after: Any = None) -> Any:
            source = replace(experiment.source(part.fold), data=place.data)
            key = f"{part.name}-{Path(sign.name).name}"  # the same name again is another task
            future = client.submit(
                _train, place, source, part, beginning, after, key=key, pure=False, retries=RETRIES
            )
            parts[future] = part
            return future

        for first, runs in plan:
            after = submit(first) if first else None
            for run in runs:
                submit(run, first, after)
        after = None
        for future in as_completed(list(parts)):
            part = parts.pop(future)
            if (reason := _reason(future)) is None:
                yield part
            elif isinstance(part, Run):  # those of a beginning fail with it
                failed.setdefault(reason.removeprefix(f"run {part.name}: "), []).append(part.name)
    if failed:
        which = "; ".join(f"{', '.join(sorted(names))} ({reason})" for reason, names in failed.items())
        count = sum(map(len, failed.values()))
        raise UserError(
            f"{count} run{'s' * (count > 1)} failed: {which}. All others are done; the same command tries "
            "these again"
        )


def _train(
    place: Place, source: Source, part: Part, beginning: Beginning | None, after: str | None
) -> str | None:
    """Train a part in a worker; return a user's mistake, for to try that again would not help."""
    from distributed import Status, get_worker

    if after:  # what its beginning failed of
        return after
    worker = get_worker()
    if misfit := place.misfit(worker):
        raise RuntimeError(f"worker {worker.address} {misfit}")
    if isinstance(part, Run) and holds_json(place.out / "runs" / part.name / RUN):
        return None  # the worker that trained it was lost before it could say so
    task = worker.state.tasks[worker.get_current_task()]

    def on_step(text: str) -> None:
        if task.state != "executing" or worker.status in (Status.closing, Status.closed, Status.failed):
            raise RuntimeError("nobody waits for this run any more")

    try:
        train_part(source, place.out, part, beginning, on_step)
    except UserError as error:
        return str(error)
    return None


def _misfit(place: Place, dask_worker: Any = None) -> str | None:
    return place.misfit(dask_worker)  # Dask fills in the worker


def _check_workers(client: Any, place: Place) -> None:
    for worker, misfit in client.run(_misfit, place, on_error="return").items():
        if isinstance(misfit, Exception):
            misfit = f"cannot train: {type(misfit).__name__}: {misfit}"
        if misfit:
            raise UserError(f"worker {worker} {misfit}")


def _reason(future: Any) -> str | None:
    """Return why a part failed."""
    try:
        return future.result()
    except Exception as error:
        if future.cancelled():
            raise UserError(
                "the connection to the scheduler is lost; start it again, and then the same command: what is "
                "done is kept"
            ) from None
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _address_in(path: Path) -> str:
    content = read_json(path) if holds_json(path) else None
    if not isinstance(content, dict) or not isinstance(content.get("address"), str):
        raise UserError(
            f"{path} is no scheduler file of Dask; give one, or an address such as tcp://host:8786"
        )
    return content["address"]
