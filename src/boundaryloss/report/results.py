"""The runs of a comparison, read from disk into arrays (seed, case)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from boundaryloss.files import UserError
from boundaryloss.report.store import (
    CASES,
    COMPARISON,
    HISTORY,
    POINTS,
    RUN,
    CaseScores,
    ComparisonRecord,
    Contour,
    Epoch,
    OperatingPoint,
    RunRecord,
    read_record,
    read_table,
    reading_record,
)

Columns = Any  # the columns of cases.csv by the names of `CaseScores`, each an array (seed, case)


@dataclass(frozen=True)
class Measure:
    """Hold a ratio of sums over cases, and which way is better: +1 up, -1 down, 0 neither."""

    key: str
    title: str
    better: int
    digits: int
    terms: Callable[[Columns], tuple[np.ndarray, np.ndarray]]

    def of(self, columns: Columns) -> np.ndarray:
        """Return numerator and denominator, stacked: (2, seed, case)."""
        return np.stack(np.broadcast_arrays(*self.terms(columns))).astype(float)


def _where(mask: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(mask, np.nan_to_num(values), 0), mask


def _mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values, np.ones_like(values)


MEASURES = (
    Measure("dice", "Dice", +1, 3, lambda c: _where(c.lesions > 0, c.dice)),
    Measure("hd95_penalised_mm", "HD95 mm, penalised", -1, 1, lambda c: _mean(c.hd95_penalised_mm)),
    Measure("missed", "missed cases", -1, 3, lambda c: _where(c.lesions > 0, c.missed)),
    Measure("lesion_sensitivity", "lesion sensitivity", +1, 3, lambda c: (c.lesions_found, c.lesions)),
    Measure(
        "lesion_f1",
        "lesion F1",
        +1,
        3,
        lambda c: (2 * c.lesions_found, c.lesions + c.lesions_found + c.false_lesions),
    ),
    Measure("false_lesions_per_case", "false lesions per case", -1, 2, lambda c: _mean(c.false_lesions)),
)
HD95 = Measure(
    "hd95_mm", "HD95 mm, where it exists", 0, 1, lambda c: _where(np.isfinite(c.hd95_mm), c.hd95_mm)
)

CONTOURS = {"faces": "the faces between voxels", "centers": "voxel centres", "surfels": "surfels"}


@dataclass(frozen=True)
class Method:
    """Hold a method's runs."""

    name: str
    baseline: str | None
    index: int
    columns: Mapping[int, Columns]  # label -> cases.csv
    points: Mapping[int, np.ndarray]  # label -> (lesions, found, false; threshold, seed, case)
    histories: list[Any]  # of each run: the columns of metrics.csv by the names of `Epoch`
    planes: Mapping[str, np.ndarray]  # case -> prediction of the first seed
    runs: list[RunRecord]


@dataclass(frozen=True)
class Results:
    """Hold a comparison."""

    out: Path  # where it is
    facts: ComparisonRecord
    cases: list[str]
    units: list[str]  # of each case: the patient, or the case itself
    thresholds: np.ndarray
    methods: list[Method]
    contour: Contour  # that the distances of all runs were measured on

    def method(self, name: str) -> Method:
        """Return the method of that name."""
        return next(method for method in self.methods if method.name == name)

    @property
    def pairs(self) -> list[tuple[Method, Method]]:
        """List each method that has a baseline: (baseline, method)."""
        return [(self.method(m.baseline), m) for m in self.methods if m.baseline]

    @property
    def repeated(self) -> str:
        """Return what each method was trained several times over: `seed`, or `fold` without seeds."""
        return "seed" if self.facts.seeds else "fold"

    @property
    def repetitions(self) -> int:
        """Return how many seeds, or folds without seeds, there are."""
        return len(self.facts.seeds or self.facts.folds)

    @property
    def shared(self) -> str:
        """Say in a sentence which epochs methods were trained once for, if any."""
        groups: dict[int, list[str]] = {}
        for method in self.methods:
            for epochs in {run.shared_epochs for run in method.runs} - {0}:
                groups.setdefault(epochs, []).append(method.name)
        return " ".join(
            f"The first {epochs} epoch{'s' * (epochs > 1)} of {' and '.join(names)} were trained once "
            "for each fold and seed: there, all of them train the region loss alone."
            for epochs, names in groups.items()
        )


def read_results(out: Path) -> Results:
    """Read what `boundaryloss.comparison.run.run_experiment` left in `out`.

    Raises:
        UserError: a file is missing, or is not as it was written.
    """
    facts = read_record(out / COMPARISON, ComparisonRecord)
    cases, thresholds = list(facts.groups), np.array(facts.thresholds)
    place = {case: index for index, case in enumerate(cases)}
    methods: list[Method] = []
    contours: dict[Contour, Path] = {}
    places = {seed: place for place, seed in enumerate(facts.seeds or [None])}
    for index, described in enumerate(facts.methods):
        folders = [out / "runs" / name for name in described.runs]
        runs = [read_record(folder / RUN, RunRecord) for folder in folders]
        shape = len(places), len(cases)
        columns = {label: _columns(CaseScores, shape) for label in facts.labels}
        points = {label: np.zeros((3, len(thresholds), *shape)) for label in facts.labels}
        planes: dict[str, np.ndarray] = {}
        for folder, run in zip(folders, runs, strict=True):
            with reading_record(folder / RUN):
                seed = places[run.seed]
            rows, at = read_table(folder / CASES, CaseScores), read_table(folder / POINTS, OperatingPoint)
            with reading_record(folder / CASES):
                _fill_columns(columns, _whole(rows, run), seed, place)
            with reading_record(folder / POINTS):
                _fill_points(points, _whole(at, run), seed, place, facts.thresholds)
            contours |= {row.contour: folder for row in rows}
            if seed == 0:
                planes |= read_arrays(folder / "planes.npz")
        histories = [_read_history(folder / HISTORY) for folder in folders]
        methods.append(
            Method(described.name, described.baseline, index, columns, points, histories, planes, runs)
        )
    if len(contours) > 1:
        (first, at), (other, there) = list(contours.items())[:2]
        raise UserError(
            f"{there} has distances with contour {other}, {at} with {first}; remove one and compare again"
        )
    (contour,) = contours
    return Results(out, facts, cases, list(facts.groups.values()), thresholds, methods, contour)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an .npz file.

    Raises:
        UserError: it is missing or damaged.
    """
    with reading_record(path), np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _columns(kind: type, shape: tuple[int, ...]) -> Any:
    """Return an object with an array of nan for every field of `kind` that is a number."""
    names = [field.name for field in fields(kind) if field.type not in (str, Contour)]
    return SimpleNamespace(**{name: np.full(shape, np.nan) for name in names})


def _fill_columns(
    columns: Mapping[int, Columns], rows: Sequence[CaseScores], seed: int, place: Mapping[str, int]
) -> None:
    for row in rows:
        table = vars(columns[row.label])
        for name, column in table.items():
            value = getattr(row, name)
            column[seed, place[row.name]] = np.nan if value is None else value


def _fill_points(
    points: Mapping[int, np.ndarray],
    rows: Sequence[OperatingPoint],
    seed: int,
    place: Mapping[str, int],
    thresholds: Sequence[float],
) -> None:
    level = {value: index for index, value in enumerate(thresholds)}
    for row in rows:
        counts = row.lesions, row.lesions_found, row.false_lesions
        points[row.label][:, level[row.threshold], seed, place[row.name]] = counts


def _whole(rows: Any, run: RunRecord) -> Any:
    """Return the rows, if all cases that the run tested are there."""
    if (found := len({row.name for row in rows})) != run.test_cases:
        raise ValueError(f"{found} of {run.test_cases} cases")
    return rows


def _read_history(path: Path) -> Any:
    rows = read_table(path, Epoch)
    with reading_record(path):
        if not rows:
            raise ValueError("no epoch")
        history = _columns(Epoch, (len(rows),))
        for name, column in vars(history).items():
            column[:] = [np.nan if (value := getattr(row, name)) is None else value for row in rows]
    return history
