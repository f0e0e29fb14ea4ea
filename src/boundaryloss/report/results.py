"""The runs of a comparison, read from disk into arrays (seed, case)."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boundaryloss.files import UserError

Rows = list[dict[str, str]]
Columns = Mapping[str, np.ndarray]  # a column of cases.csv -> (seed, case)


@dataclass(frozen=True)
class Measure:
    """A ratio of sums over cases, and which way is better: +1 up, -1 down, 0 neither."""

    key: str
    title: str
    better: int
    digits: int
    terms: Callable[[Columns], tuple[np.ndarray, np.ndarray]]

    def of(self, columns: Columns) -> np.ndarray:
        """Numerator and denominator, stacked: (2, seed, case)."""
        return np.stack(np.broadcast_arrays(*self.terms(columns))).astype(float)


def _where(mask: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(mask, np.nan_to_num(values), 0), mask


def _mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values, np.ones_like(values)


MEASURES = (
    Measure("dice", "Dice", +1, 3, lambda c: _where(c["lesions"] > 0, c["dice"])),
    Measure("hd95_penalised_mm", "HD95 mm, penalised", -1, 1, lambda c: _mean(c["hd95_penalised_mm"])),
    Measure("missed", "missed cases", -1, 3, lambda c: _where(c["lesions"] > 0, c["missed"])),
    Measure("lesion_sensitivity", "lesion sensitivity", +1, 3, lambda c: (c["lesions_found"], c["lesions"])),
    Measure(
        "lesion_f1",
        "lesion F1",
        +1,
        3,
        lambda c: (2 * c["lesions_found"], c["lesions"] + c["lesions_found"] + c["false_lesions"]),
    ),
    Measure("false_lesions_per_case", "false lesions per case", -1, 2, lambda c: _mean(c["false_lesions"])),
)
HD95 = Measure(
    "hd95_mm", "HD95 mm, where it exists", 0, 1, lambda c: _where(np.isfinite(c["hd95_mm"]), c["hd95_mm"])
)


@dataclass(frozen=True)
class Method:
    """A method's runs."""

    name: str
    baseline: str | None
    index: int
    columns: Mapping[int, Columns]  # label -> cases.csv
    points: Mapping[int, np.ndarray]  # label -> (lesions, found, false; threshold, seed, case)
    histories: list[dict[str, np.ndarray]]  # of each run: metrics.csv
    planes: Mapping[str, np.ndarray]  # case -> prediction of the first seed
    runs: list[dict[str, Any]]  # of each run: run.json


@dataclass(frozen=True)
class Results:
    """A comparison."""

    facts: dict[str, Any]
    cases: list[str]
    units: list[str]  # of each case: the patient, or the case itself
    thresholds: np.ndarray
    methods: list[Method]

    def method(self, name: str) -> Method:
        """The method of that name."""
        return next(method for method in self.methods if method.name == name)

    @property
    def pairs(self) -> list[tuple[Method, Method]]:
        """Each method that has a baseline: (baseline, method)."""
        return [(self.method(m.baseline), m) for m in self.methods if m.baseline]


def read_results(out: Path) -> Results:
    """Read what `boundaryloss.comparison.run.run_experiment` left in `out`.

    Raises:
        UserError: a file is missing, or is not as it was written.
    """
    facts = _read_json(out / "comparison.json")
    groups: dict[str, str] = facts["groups"]
    cases, seeds = list(groups), facts["seeds"]
    place = {case: index for index, case in enumerate(cases)}
    thresholds = np.array(facts["thresholds"])
    methods = []
    for index, described in enumerate(facts["methods"]):
        folders = [out / "runs" / name for name in described["runs"]]
        runs = [_read_json(folder / "run.json") for folder in folders]
        columns: dict[int, dict[str, np.ndarray]] = {label: {} for label in facts["labels"]}
        points = {label: np.zeros((3, len(thresholds), len(seeds), len(cases))) for label in facts["labels"]}
        planes: dict[str, np.ndarray] = {}
        for folder, run in zip(folders, runs, strict=True):
            with _reading(folder / "run.json"):
                seed = seeds.index(run["seed"])
            with _reading(folder / "cases.csv") as path:
                _fill_columns(columns, _read_cases(path, run), seed, place, len(seeds))
            with _reading(folder / "operating_points.csv") as path:
                _fill_points(points, _read_cases(path, run), seed, place, thresholds)
            if seed == 0:
                planes |= read_arrays(folder / "planes.npz")
        histories = [_read_history(folder / "metrics.csv") for folder in folders]
        methods.append(
            Method(described["name"], described["baseline"], index, columns, points, histories, planes, runs)
        )
    return Results(facts, cases, list(groups.values()), thresholds, methods)


def _fill_columns(columns: Any, rows: Rows, seed: int, place: Mapping[str, int], seeds: int) -> None:
    for row in rows:
        table = columns[int(row.pop("label"))]
        case = place[row.pop("name")]
        for name, value in row.items():
            if name not in table:
                table[name] = np.full((seeds, len(place)), np.nan)
            table[name][seed, case] = float(value or "nan")


def _fill_points(
    points: Any, rows: Rows, seed: int, place: Mapping[str, int], thresholds: np.ndarray
) -> None:
    level = {value: index for index, value in enumerate(thresholds.tolist())}
    for row in rows:
        counts = [float(row[name]) for name in ("lesions", "lesions_found", "false_lesions")]
        points[int(row["label"])][:, level[float(row["threshold"])], seed, place[row["name"]]] = counts


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an .npz file."""
    with _reading(path), np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_history(path: Path) -> dict[str, np.ndarray]:
    with _reading(path):
        rows = _read_csv(path)
        return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def _read_json(path: Path) -> dict[str, Any]:
    with _reading(path):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def _read_cases(path: Path, run: Mapping[str, Any]) -> Rows:
    """The rows of all cases that the run tested."""
    rows = _read_csv(path)
    if (found := len({row["name"] for row in rows})) != run["test_cases"]:
        raise ValueError(f"{found} of {run['test_cases']} cases")
    return rows


def _read_csv(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Turn whatever a damaged file raises into one line."""
    try:
        yield path
    except Exception as error:  # json, csv, zip and NumPy each have their own for damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: missing or damaged ({reason}); remove its directory and run the comparison again"
        ) from error
