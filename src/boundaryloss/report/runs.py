"""The tables of a method's runs, in arrays (seed, case)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from boundaryloss.report.arrays import stored_in
from boundaryloss.report.lesions import LesionTable, indices, read_lesions
from boundaryloss.report.store import (
    CASES,
    HISTORY,
    LESIONS,
    POINTS,
    RUN,
    CaseScores,
    ComparisonRecord,
    Contour,
    Epoch,
    OperatingPoint,
    RunRecord,
    read_columns,
    read_record,
    reading_record,
)

Columns = Any  # the columns of cases.csv by the names of `CaseScores`, each an array (seed, case)
Rows = Mapping[str, Sequence[Any]]  # the columns of a table, by their names
COUNTS = ("lesions", "lesions_found", "false_lesions")


@dataclass(frozen=True)
class Runs:
    """Hold what the runs of a method left."""

    columns: Mapping[int, Columns]  # label -> cases.csv
    points: Mapping[int, np.ndarray]  # label -> (lesions, found, false; threshold, seed, case)
    records: list[RunRecord] = field(default_factory=list)
    histories: list[Any] = field(default_factory=list)
    contours: dict[Contour, Path] = field(default_factory=dict)
    planes: dict[str, Path] = field(default_factory=dict)  # of the first seed
    lesions: list[LesionTable] = field(default_factory=list)  # of the runs that have a table


def read_runs(folders: Sequence[Path], facts: ComparisonRecord) -> Runs:
    """Read the directories of a method's runs.

    Raises:
        UserError: a file is missing, or is not as it was written.
    """
    cases, seeds = list(facts.groups), [*(facts.seeds or [None])]
    place, shape = {case: index for index, case in enumerate(cases)}, (len(seeds), len(cases))
    columns = {label: _columns(shape) for label in facts.labels}
    # A study of hundreds of runs has millions of operating points.
    points = {label: np.zeros((3, len(facts.thresholds), *shape), np.int32) for label in facts.labels}
    runs = Runs(columns, points)
    for folder in folders:
        run = read_record(folder / RUN, RunRecord)
        with reading_record(folder / RUN):
            seed = seeds.index(run.seed)
        rows, at = read_columns(folder / CASES, CaseScores), read_columns(folder / POINTS, OperatingPoint)
        with reading_record(folder / CASES):
            tested = _fill_columns(columns, rows, run, seed, place)
        with reading_record(folder / POINTS):
            _fill_points(points, at, run, seed, place, facts.thresholds)
        runs.records.append(run)
        runs.contours.update(dict.fromkeys(rows["contour"], folder))
        runs.histories.append(_read_history(folder / HISTORY))
        if seed == 0:
            runs.planes.update(stored_in(folder / "planes.npz", [cases[case] for case in tested]))
        if (folder / LESIONS).exists():
            runs.lesions.append(read_lesions(folder / LESIONS, seed, tested, place))
    return runs


def _columns(shape: tuple[int, ...]) -> Columns:
    """Return an object with an array of nan for every column of cases.csv that has numbers."""
    names = [column.name for column in fields(CaseScores) if column.type not in (str, Contour)]
    return SimpleNamespace(**{name: np.full(shape, np.nan) for name in names})


def _fill_columns(
    columns: Mapping[int, Columns], rows: Rows, run: RunRecord, seed: int, place: Mapping[str, int]
) -> np.ndarray:
    """Fill in the rows of cases.csv, and return which cases they are about."""
    label, case = _indices(rows["label"], columns, "label"), _indices(rows["name"], place, "case")
    tested = _check_whole(run, case, len(columns), label * len(place) + case)
    numbers = {
        name: np.array(rows[name], float) for name in vars(next(iter(columns.values())))
    }  # None is nan
    _check_counts(*(numbers[name] for name in COUNTS))
    dice, penalised = numbers["dice"], numbers["hd95_penalised_mm"]
    _check(np.isfinite(penalised) & (penalised >= 0), "hd95_penalised_mm")
    _check(((dice >= 0) & (dice <= 1)) | (numbers["lesions"] == 0), "dice")
    for index, table in enumerate(columns.values()):
        at = label == index
        for name, column in vars(table).items():
            column[seed, case[at]] = numbers[name][at]
    return tested


def _fill_points(
    points: Mapping[int, np.ndarray],
    rows: Rows,
    run: RunRecord,
    seed: int,
    place: Mapping[str, int],
    thresholds: Sequence[float],
) -> None:
    """Fill in the rows of operating_points.csv."""
    label, case = _indices(rows["label"], points, "label"), _indices(rows["name"], place, "case")
    level = _indices(rows["threshold"], thresholds, "threshold")
    which = (label * len(thresholds) + level) * len(place) + case
    _check_whole(run, case, len(points) * len(thresholds), which)
    counts = np.array([rows[name] for name in COUNTS], np.int32)
    _check_counts(*counts)
    for index, array in enumerate(points.values()):
        at = label == index
        array[:, level[at], seed, case[at]] = counts[:, at]


def _indices(values: Sequence[Any], known: Sequence[Any] | Mapping[Any, Any], what: str) -> np.ndarray:
    place = {value: index for index, value in enumerate(known)}
    return np.array(indices(values, place, what), int)


def _check_whole(run: RunRecord, case: np.ndarray, each: int, which: np.ndarray) -> np.ndarray:
    """Return the cases, if the run tested as many, and each has as many rows that are not the same."""
    tested = np.unique(case)
    if len(tested) != run.test_cases:
        raise ValueError(f"{len(tested)} of {run.test_cases} cases")
    if len(which) != (wanted := each * len(tested)):
        raise ValueError(f"{len(which)} rows in place of {wanted}")
    if len(np.unique(which)) < len(which):
        raise ValueError("a row is there twice")
    return tested


def _check_counts(lesions: np.ndarray, found: np.ndarray, false: np.ndarray) -> None:
    _check((found >= 0) & (found <= lesions), "lesions_found")
    _check(false >= 0, "false_lesions")


def _check(possible: np.ndarray, name: str) -> None:
    if not possible.all():
        raise ValueError(f"{name!r}: impossible in row {int(possible.argmin()) + 1}")


def _read_history(path: Path) -> Any:
    rows = read_columns(path, Epoch)
    with reading_record(path):
        if not rows["epoch"]:
            raise ValueError("no epoch")
        return SimpleNamespace(**{name: np.array(column, float) for name, column in rows.items()})
