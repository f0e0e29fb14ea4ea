"""What is told of one case, alone: by whatever process, and only rows and counts come back from it."""

import multiprocessing
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from boundaryloss.files import UserError, check_label_values, checked_spacing
from boundaryloss.report.store import CaseScores, Contour, LesionScores
from boundaryloss.scoring.pairs import Pair
from boundaryloss.signals import ending_workers, start_worker

Item = TypeVar("Item")
Result = TypeVar("Result")
Shared = dict[tuple[int, int], int]  # (predicted value, true value) -> number of labelled voxels
MANY = 1 << 22  # pairs of values that are counted in a table of all; of more they are sorted


@dataclass(frozen=True)
class Judged:
    """Hold what was found in a case.

    Attributes:
        axes: 2 or 3.
        shared: Number of labelled voxels by predicted and true value.
        rows: The scores by label, of the labels that the case holds, and those of lesions; None where its
            values alone look like a grey picture.
    """

    axes: int
    shared: Shared
    rows: tuple[Mapping[int, CaseScores], Sequence[LesionScores]] | None


@dataclass(frozen=True)
class Judge:
    """Hold what a case is judged by; see `evaluate`."""

    spacing: Sequence[float] | None
    tolerance: float
    contour: Contour
    labels: tuple[int, ...] | None
    ignore: int | None
    threshold: float | None
    threshold_predicted: float | None
    regions: Mapping[int, tuple[int, ...]]
    declared: frozenset[int | None]  # values that need not look like labels

    def judge(self, pair: Pair, *, sure: bool = False) -> Judged:
        """Read and judge a case; one that looks grey only if it is `sure` that it is not.

        Raises:
            UserError: it cannot be read, or its two files do not fit together.
        """
        prediction, truth, shared, steps = self._read(pair)
        mine, true = self.values(shared)
        if not sure and self.grey(mine, true, pair):
            return Judged(truth.ndim, shared, None)

        from boundaryloss.scoring.cases import score_case

        rows, lesions = score_case(
            prediction,
            truth,
            self.regions or {value: (value,) for value in sorted(mine | true)},
            spacing=steps if self.spacing is None else checked_spacing(self.spacing, truth.ndim),
            name=pair.name,
            tolerance=self.tolerance,
            contour=self.contour,
        )
        return Judged(truth.ndim, shared, ({row.label: row for row in rows}, lesions))

    def try_judge(self, pair: Pair) -> Judged | UserError:
        """Return what is found in a case, or what is wrong with it."""
        try:
            return self.judge(pair)
        except UserError as error:
            return error

    def look(self, pair: Pair) -> tuple[set[int], set[int]]:
        """Return the values of a case that are judged, predicted and true."""
        return self.values(self._read(pair)[2])

    def values(self, shared: Shared) -> tuple[set[int], set[int]]:
        """Return the predicted and the true values that are judged."""
        mine, true = ({*side} - {0, self.ignore} for side in zip(*shared, strict=True))
        return (mine, true) if self.labels is None else (mine & {*self.labels}, true & {*self.labels})

    def grey(self, mine: set[int], true: set[int], pair: Pair) -> UserError | None:
        """Return the error that these values are no labels, if so; it names the folders of `pair`."""
        for found, path in ((true, pair.truth.parent), (mine - true, pair.prediction.parent)):
            try:
                check_label_values(found - self.declared, path)
            except UserError as error:
                return error
        return None

    def absent(self, name: str, label: int, axes: int) -> CaseScores:
        """Return the row of a label that neither side of a case holds."""
        from boundaryloss.scoring.cases import case_metrics

        nothing = np.zeros((1,) * axes, np.uint8)
        (row,) = case_metrics(
            nothing,
            nothing,
            {label: (label,)},
            spacing=1.0,
            name=name,
            tolerance=self.tolerance,
            contour=self.contour,
        )
        return row

    def _read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray, Shared, tuple[float, ...]]:
        """Read prediction and truth, with background where nobody labelled; count voxels; tell spacing."""
        prediction, truth, steps = pair.read(self.threshold, self.threshold_predicted)
        unlabelled = 0
        if self.ignore is not None:
            known = truth != self.ignore
            prediction, truth = prediction * known, truth * known
            unlabelled = known.size - int(np.count_nonzero(known))
        shared = _count(prediction, truth)
        shared[0, 0] -= unlabelled
        for path, values in zip((pair.prediction, pair.truth), zip(*shared, strict=True), strict=True):
            if self.regions and (foreign := {*values} - self.declared):
                raise UserError(
                    f"{path}: label {min(foreign)} is not in dataset.json, so no region has it; correct one"
                )
        return prediction, truth, shared, steps


def in_processes(work: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Generator[Result]:
    """Yield what `work` makes of each item, in their order; the processes share the processor's cores.

    Raises:
        UserError: a process was killed.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(items)), context, _start, (jobs,)) as pool, ending_workers():
        try:
            for future in [pool.submit(work, item) for item in items]:
                yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "a process was killed, perhaps for lack of memory; start again with fewer --jobs"
            ) from None


def _start(jobs: int) -> None:
    """Begin a process that judges cases; the processor's cores are shared among them."""
    start_worker(0)

    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def _count(prediction: np.ndarray, truth: np.ndarray) -> Shared:
    """Count the voxels of each pair of values; (0, 0) is always there."""
    order = "F" if truth.flags.f_contiguous else "C"  # as the file has it, so that nothing is copied
    flat, flat_truth = prediction.ravel(order), truth.ravel(order)
    held = np.flatnonzero((flat != 0) | (flat_truth != 0))
    p, t = flat[held].astype(np.int64), flat_truth[held]
    base = int(t.max(initial=0)) + 1
    codes = p * base + t
    if codes.max(initial=0) < MANY:
        counts = np.bincount(codes)
        found = np.flatnonzero(counts)
        counts = counts[found]
    else:
        found, counts = np.unique(codes, return_counts=True)
    shared = {divmod(code, base): count for code, count in zip(found.tolist(), counts.tolist(), strict=True)}
    return {(0, 0): prediction.size - held.size} | shared
