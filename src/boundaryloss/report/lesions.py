"""The true lesions of a comparison, and what became of each of them in every run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boundaryloss.report.store import LesionScores, read_columns, reading_record


@dataclass(frozen=True)
class Lesions:
    """Hold the true lesions of one label: arrays (lesion), by case and number."""

    case: np.ndarray  # its index
    number: np.ndarray  # in its case, from 1 on
    size: np.ndarray
    unit: str  # of `size`


@dataclass(frozen=True)
class LesionTable:
    """Hold the true lesions of one run, of all labels: arrays (lesion)."""

    path: Path
    seed: int  # its index
    tested: np.ndarray  # the indices of the run's cases
    label: np.ndarray
    case: np.ndarray
    number: np.ndarray
    size: np.ndarray
    found: np.ndarray
    dice: np.ndarray
    unit: str  # mm² or mm³


def read_lesions(path: Path, seed: int, tested: np.ndarray, place: Mapping[str, int]) -> LesionTable:
    """Read the lesions.csv of a run; `place` is the index of each case.

    Raises:
        UserError: the file is missing or damaged.
    """
    columns = read_columns(path, LesionScores)
    with reading_record(path):
        flat = all(value is None for value in columns["truth_mm3"])
        cases = indices(columns["name"], place, "case")
        outcome = np.array(columns["outcome"], str)
        arrays = (
            np.array(columns["label"], int),
            np.array(cases, int),
            np.array(columns["lesion"], int),
            np.array(columns["truth_mm2" if flat else "truth_mm3"], float),
            outcome == "found",
            np.array(columns["dice"], float),
        )
        true = (array[outcome != "false"] for array in arrays)
        table = LesionTable(path, seed, tested, *true, unit="mm²" if flat else "mm³")
        if not (table.size > 0).all():
            raise ValueError("a true lesion has no size")
    return table


def indices(values: Sequence[Any], place: Mapping[Any, int], what: str) -> list[int]:
    """Return the place of each value, or raise a ValueError that names one that has none."""
    try:
        return [*map(place.__getitem__, values)]
    except KeyError as error:
        raise ValueError(f"the {what} {error.args[0]!r} is not in comparison.json") from None


def match_lesions(
    methods: Sequence[Sequence[LesionTable]], label: int, counts: np.ndarray, seeds: int
) -> tuple[Lesions, list[np.ndarray]]:
    """Bring the lesions of all runs in one order.

    Args:
        methods: the runs of each method.
        label: which one.
        counts: how many lesions of it each case has.
        seeds: how many there are.

    Returns:
        The lesions, and what became of them with each method: (found, Dice; seed, lesion).

    Raises:
        UserError: a run has other lesions.
    """
    case = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(case)) - (np.cumsum(counts) - counts)[case] + 1
    unit = max(run.unit for runs in methods for run in runs)  # a run without any lesion knows none
    lesions = Lesions(case, number, np.full(len(case), np.nan), unit)
    scores = [np.full((2, seeds, len(case)), np.nan) for _ in methods]
    for runs, of_method in zip(methods, scores, strict=True):
        for run in runs:
            with reading_record(run.path):
                at, row = _matched(lesions, run, label)
            lesions.size[at] = run.size[row]
            of_method[:, run.seed, at] = run.found[row], run.dice[row]
    return lesions, scores


def _matched(lesions: Lesions, run: LesionTable, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which lesions a run had to find, and their rows in its table."""
    expected = np.flatnonzero(np.isin(lesions.case, run.tested))
    order = np.lexsort((run.number, run.case))
    order = order[run.label[order] == label]
    for there, here in ((lesions.case, run.case), (lesions.number, run.number)):
        if not np.array_equal(there[expected], here[order]):
            raise ValueError("its true lesions are not those that cases.csv counts")
    before, sizes = lesions.size[expected], run.size[order]
    if not np.all((before == sizes) | np.isnan(before)):
        raise ValueError("its true lesions have other sizes than those of another run")
    return expected, order
