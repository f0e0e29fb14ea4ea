"""Several runs at a time on this machine, each in a process of its own."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from boundaryloss.comparison.beginnings import Beginning
from boundaryloss.comparison.experiment import Experiment
from boundaryloss.comparison.parts import train_part
from boundaryloss.comparison.plan import Part, Unit
from boundaryloss.files import UserError
from boundaryloss.signals import end_with_parent, ending_workers


def train_in_processes(experiment: Experiment, out: Path, plan: Sequence[Unit], jobs: int) -> Iterator[Part]:
    """Train `jobs` parts at a time, the processor's cores shared among them; yield each when it is done."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool, ending_workers():
        followers = {first.name: runs for first, runs in plan if first}
        pending: dict[Future[None], Part] = {}

        def submit(part: Part, beginning: Beginning | None = None) -> None:
            pending[pool.submit(train_part, experiment.source(part.fold), out, part, beginning)] = part

        try:
            for first, runs in plan:
                for part in [first] if first else runs:
                    submit(part)
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    part = pending.pop(future)
                    future.result()
                    if isinstance(part, Beginning):
                        for run in followers[part.name]:
                            submit(run, part)
                    yield part
        except BrokenProcessPool:
            raise UserError(
                "a run was killed, perhaps for lack of memory; go on with fewer --jobs (what is done is kept)"
            ) from None


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    end_with_parent()
