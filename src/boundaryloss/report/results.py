"""The results of a comparison, read from disk into arrays (seed, case)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from boundaryloss.files import UserError
from boundaryloss.report.arrays import StoredArrays
from boundaryloss.report.lesions import Lesions, match_lesions
from boundaryloss.report.runs import Columns, Runs, read_runs
from boundaryloss.report.store import COMPARISON, ComparisonRecord, Contour, RunRecord, read_record


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
    lesions: Mapping[int, np.ndarray] = field(default_factory=dict)  # label -> (found, Dice; seed, lesion)


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
    lesions: Mapping[int, Lesions] = field(
        default_factory=dict
    )  # label -> true lesions; {} without lesions.csv

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

    Groups by lesion size need the lesions.csv of every run; without, `lesions` is empty.

    Raises:
        UserError: a file is missing, or is not as it was written.
    """
    facts = read_record(out / COMPARISON, ComparisonRecord)
    cases, all_runs = list(facts.groups), []
    for described in facts.methods:
        runs = read_runs([out / "runs" / name for name in described.runs], facts)
        untested = np.argwhere(np.isnan([runs.columns[label].lesions for label in facts.labels]).any(axis=0))
        if len(untested):
            seed, case = untested[0]
            which = f" with seed {facts.seeds[seed]}" if facts.seeds else ""
            raise UserError(
                f"{out}: no run of {described.name}{which} tested {cases[case]}; run the comparison again"
            )
        all_runs.append(runs)
    lesions, scores = _match_lesions(facts, all_runs)
    methods = [
        Method(
            name=described.name,
            baseline=described.baseline,
            index=index,
            columns=runs.columns,
            points=runs.points,
            histories=runs.histories,
            planes=StoredArrays(runs.planes),
            runs=runs.records,
            lesions={label: of_label[index] for label, of_label in scores.items()},
        )
        for index, (described, runs) in enumerate(zip(facts.methods, all_runs, strict=True))
    ]
    units, contour = list(facts.groups.values()), _one_contour(all_runs)
    return Results(out, facts, cases, units, np.array(facts.thresholds), methods, contour, lesions)


def _one_contour(all_runs: Sequence[Runs]) -> Contour:
    """Return what the distances of all runs were measured on."""
    contours: dict[Contour, Path] = {}
    for runs in all_runs:
        contours |= runs.contours
    if len(contours) > 1:
        (first, at), (other, there) = list(contours.items())[:2]
        raise UserError(
            f"{there} has distances with contour {other}, {at} with {first}; remove one and compare again"
        )
    (contour,) = contours
    return contour


def _match_lesions(
    facts: ComparisonRecord, all_runs: Sequence[Runs]
) -> tuple[dict[int, Lesions], dict[int, list[np.ndarray]]]:
    """Return the lesions of each label, and what became of them with each method; nothing without tables."""
    lesions, scores = {}, {}
    if all(len(runs.lesions) == len(runs.records) for runs in all_runs):
        tables = [runs.lesions for runs in all_runs]
        for label in facts.labels:
            counts = all_runs[0].columns[label].lesions[0].astype(int)
            lesions[label], scores[label] = match_lesions(tables, label, counts, len(facts.seeds) or 1)
    return lesions, scores
