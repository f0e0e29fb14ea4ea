"""The contract of tables and records: what runs and comparisons write, and what reports read.

Each class is a file: its fields are the columns or keys, with their types; lengths and sizes carry the unit.
"""

import csv
import functools
import itertools
import json
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from boundaryloss.files import UserError, atomic_write, write_csv

CASES, LESIONS, SUMMARY = "cases.csv", "lesions.csv", "summary.csv"
HISTORY, POINTS = "metrics.csv", "operating_points.csv"
RUN, COMPARISON = "run.json", "comparison.json"
CHUNK = 256  # rows at a time, which a processor's cache holds

Contour = Literal["faces", "centers", "surfels"]  # where contours run, see `metrics.contour_distances`
Outcome = Literal["found", "missed", "false"]
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class CaseScores:
    """Hold the scores of one label in one case: a row of cases.csv.

    P is the predicted object and T the true one. Lengths are in the unit of the spacing, called mm. Distances
    are those of `boundaryloss.metrics.contour_distances`; the edge of the image is part of a contour where an
    object touches it.

    Attributes:
        name: The case.
        label: What is judged.
        dice: `2 |P & T| / (|P| + |T|)`; 0 for a miss and for a false alarm; nan if both are empty.
        hd95_mm: The larger of the two directed 95th percentiles of the distances between the contours; nan
            if P or T is empty.
        hd95_penalised_mm: The same, but the image's diagonal if just one is empty, and 0 if both are.
        missed: 1 if only P is empty, otherwise 0.
        false_alarm: 1 if only T is empty, otherwise 0.
        both_empty: 1 if both are empty, otherwise 0.
        lesions: Connected components of T; diagonal neighbours connect.
        lesions_found: How many of them P touches.
        false_lesions: Connected components of P that do not touch T.
        truth_mm2: Size of T in 2-D; None in 3-D, where `truth_mm3` holds it.
        prediction_mm2: Size of P in 2-D; None in 3-D.
        truth_mm3: Size of T in 3-D; None in 2-D.
        prediction_mm3: Size of P in 3-D; None in 2-D.
        hd95_pooled_mm: The 95th percentile of the distances in both directions together, as MedPy has it; nan
            if P or T is empty.
        assd_mm: Mean distance over both contours together; nan if P or T is empty.
        nsd: Normalised surface dice: the share of both contours within `tolerance_mm` of the other; 0 if just
            one of P and T is empty, nan if both are.
        boundary_iou: Intersection over union of the voxels of P and of T within `tolerance_mm` of their own
            contour; 0 if just one of P and T is empty, nan if both are, or if no voxel is as near.
        tolerance_mm: The tolerance of `nsd` and `boundary_iou`.
        contour: Where the contours run, and so what all distances mean: `faces`, `centers` or `surfels`.
        predicted_lesions: Connected components of P.
    """

    name: str
    label: int
    dice: float
    hd95_mm: float
    hd95_penalised_mm: float
    missed: int
    false_alarm: int
    both_empty: int
    lesions: int
    lesions_found: int
    false_lesions: int
    truth_mm2: float | None
    prediction_mm2: float | None
    truth_mm3: float | None
    prediction_mm3: float | None
    hd95_pooled_mm: float
    assd_mm: float
    nsd: float
    boundary_iou: float
    tolerance_mm: float
    contour: Contour
    predicted_lesions: int


@dataclass(frozen=True)
class LesionScores:
    """Hold the scores of one lesion, true or false: a row of lesions.csv.

    L is the true lesion, and M all predicted components that share a voxel with it, each as a whole. Both are
    connected components; diagonal neighbours connect.

    Attributes:
        name: The case.
        label: What is judged.
        lesion: Number of the row in its case and label, from 1 on.
        outcome: `found` if there is an M, `missed` if not; `false` for a predicted component that shares no
            voxel with any lesion.
        voxel: The first voxel of the lesion, true or false: its indices from 0, in the order of the axes.
        truth_voxels: Size of L; 0 of a false lesion.
        prediction_voxels: Size of M, or of the false lesion; 0 for a miss.
        truth_mm2: Size of L in 2-D; None in 3-D, where `truth_mm3` holds it.
        prediction_mm2: Size of M in 2-D; None in 3-D.
        truth_mm3: Size of L in 3-D; None in 2-D.
        prediction_mm3: Size of M in 3-D; None in 2-D.
        components: Number of predicted components in M.
        other_lesions: Number of other true lesions that M touches, too.
        dice: `2 |L & M| / (|L| + |M|)`; 0 for a miss and for a false lesion.
        hd95_mm: As in `CaseScores`, between L and M; nan for a miss and for a false lesion.
        contour: Where the contours run: `faces`, `centers` or `surfels`.
    """

    name: str
    label: int
    lesion: int
    outcome: Outcome
    voxel: str
    truth_voxels: int
    prediction_voxels: int
    truth_mm2: float | None
    prediction_mm2: float | None
    truth_mm3: float | None
    prediction_mm3: float | None
    components: int
    other_lesions: int
    dice: float
    hd95_mm: float
    contour: Contour


@dataclass(frozen=True)
class LabelScores:
    """Hold the summary of one label over all cases: a row of summary.csv.

    Each mean has a 95 % interval, from ``_low`` to ``_high``: a percentile bootstrap of 4000 resamples that
    draws whole patients anew, with a fixed seed. It is nan if there is one patient. With few patients, say
    fewer than ten, it is too narrow.

    Attributes:
        label: What is judged.
        cases: Number of cases.
        patients: Number of patients that they belong to, as far as their names tell.
        cases_with_truth: Number of cases whose truth holds the label.
        dice: Mean over the `dice_cases` in which it exists; nan if in none.
        dice_cases: Number of cases in which prediction or truth holds the label.
        hd95_mm: Mean over the `hd95_cases` in which it exists; nan if in none.
        hd95_cases: Number of cases in which prediction and truth hold the label.
        hd95_penalised_mm: Mean over all cases.
        missed: Number of missed cases.
        false_alarms: Number of cases in which only the prediction holds the label.
        both_empty: Number of cases in which neither holds it.
        lesions: Number of true lesions.
        lesion_sensitivity: Share of the true lesions that are found; nan if there are none.
        false_lesions_per_image: Mean number of false lesions over all cases.
        lesion_precision: Share of the predicted lesions that touch a true one; nan if there are none.
        lesion_f1: 2 TP / (2 TP + FP + FN), of the lesions found, false and missed; nan if there are none.
        hd95_pooled_mm: Mean over the `hd95_cases`.
        assd_mm: Mean over the `hd95_cases`.
        nsd: Mean over the `dice_cases`.
        boundary_iou: Mean over the `dice_cases`; nan if one of them has no value.
        tolerance_mm: The tolerance of `nsd` and `boundary_iou`.
        contour: Where the contours run: `faces`, `centers` or `surfels`.
    """

    label: int
    cases: int
    patients: int
    cases_with_truth: int
    dice: float
    dice_low: float
    dice_high: float
    dice_cases: int
    hd95_mm: float
    hd95_mm_low: float
    hd95_mm_high: float
    hd95_cases: int
    hd95_penalised_mm: float
    hd95_penalised_mm_low: float
    hd95_penalised_mm_high: float
    missed: int
    false_alarms: int
    both_empty: int
    lesions: int
    lesion_sensitivity: float
    lesion_sensitivity_low: float
    lesion_sensitivity_high: float
    false_lesions_per_image: float
    false_lesions_per_image_low: float
    false_lesions_per_image_high: float
    lesion_precision: float
    lesion_precision_low: float
    lesion_precision_high: float
    lesion_f1: float
    lesion_f1_low: float
    lesion_f1_high: float
    hd95_pooled_mm: float
    hd95_pooled_mm_low: float
    hd95_pooled_mm_high: float
    assd_mm: float
    assd_mm_low: float
    assd_mm_high: float
    nsd: float
    nsd_low: float
    nsd_high: float
    boundary_iou: float
    boundary_iou_low: float
    boundary_iou_high: float
    tolerance_mm: float
    contour: Contour


@dataclass(frozen=True)
class OperatingPoint:
    """Hold the scores of one label in one case at one threshold: a row of operating_points.csv.

    Attributes:
        name: The case.
        label: What is judged.
        threshold: Voxels whose probability exceeds it are predicted.
        lesions: Connected components of the truth; diagonal neighbours connect.
        lesions_found: How many of them the prediction touches.
        false_lesions: Connected components of the prediction that do not touch the truth.
        dice: As in `CaseScores`, but nan if the truth is empty.
    """

    name: str
    label: int
    threshold: float
    lesions: int
    lesions_found: int
    false_lesions: int
    dice: float


@dataclass(frozen=True)
class Epoch:
    """Hold what was logged in one epoch of training: a row of metrics.csv; None where nothing was."""

    epoch: int
    loss: float | None = None
    region: float | None = None
    boundary: float | None = None
    region_weight: float | None = None
    boundary_weight: float | None = None
    region_gradient: float | None = None
    boundary_gradient: float | None = None
    validation_dice: float | None = None
    seconds: float | None = None  # since the run began


@dataclass(frozen=True)
class RunRecord:
    """Hold what run.json says of a finished run: what it was, how long it took, and on what machine."""

    method: str
    fold: int
    seed: int | None  # none of nnU-Net's, which has no seeds
    shared_epochs: int  # trained once for several runs, see `comparison.beginnings`
    seconds: float | None  # what is not known is none
    finished: str | None
    train_cases: int | None
    test_cases: int
    hardware: str
    versions: dict[str, str]


@dataclass(frozen=True)
class MethodRecord:
    """Hold what comparison.json says of a method."""

    name: str
    baseline: str | None
    loss: str
    epochs: int | None  # none if it is not known, or its runs differ
    runs: list[str]  # names of their directories


@dataclass(frozen=True)
class ComparisonRecord:
    """Hold what comparison.json says: the experiment, its cases, and its runs."""

    title: str
    data: str
    seeds: list[int]  # none: folds are what is repeated, as in nnU-Net
    folds: list[list[str] | int]
    labels: list[int]
    spacing: list[float]  # mm
    train_cases: list[int]  # of each fold
    groups: dict[str, str]  # tested case -> patient
    thresholds: list[float]
    experiment: str  # the text of its file
    methods: list[MethodRecord]
    notes: list[str] | None = None  # for the reader, on what is missing


def write_table(path: Path, rows: Sequence[Any], kind: Any = None) -> None:
    """Write rows of one class as CSV; the file is either the old one or the whole new one.

    Fields that have no default and are None in every row are left out: the sizes in
    the unit of the other dimension. Where there may be no row, `kind` says which columns there are.
    """
    absent = {
        field.name
        for field in (fields(rows[0]) if rows else ())
        if field.default is MISSING and all(getattr(row, field.name) is None for row in rows)
    }
    shown = [{k: v for k, v in asdict(row).items() if k not in absent} for row in rows]
    write_csv(path, shown, [field.name for field in fields(kind)] if kind else ())


def read_table(path: Path, kind: type[Kind]) -> list[Kind]:
    """Return the rows of a CSV file as instances of `kind`.

    Raises:
        UserError: the file is missing, damaged, or lacks a column.
    """
    return [kind(*row) for row in zip(*read_columns(path, kind).values(), strict=True)]


def read_columns(path: Path, kind: type) -> dict[str, list[Any]]:
    """Return the columns of a CSV file by the names of the fields of `kind`: faster than row by row.

    An empty cell of a column that may be None is None; so is every cell of such a column that is not there.

    Raises:
        UserError: the file is missing, damaged, or lacks a column.
    """
    with reading_record(path), path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file, strict=True)
        head = next(rows, [])
        columns = {name: [*values] for name, values in _columns(head, [], kind).items()}
        while chunk := [*itertools.islice(rows, CHUNK)]:
            for name, values in _columns(head, [row for row in chunk if row], kind).items():
                columns[name] += values
        return columns


def write_record(path: Path, record: Any) -> None:
    """Write an instance of one of the classes above as JSON, whole or not at all."""
    with atomic_write(path, "record") as file:
        file.write((json.dumps(asdict(record), indent=1) + "\n").encode())


def read_record(path: Path, kind: type[Kind]) -> Kind:
    """Return what a JSON file holds as an instance of `kind`.

    Raises:
        UserError: the file is missing, damaged, or lacks a key.
    """
    with reading_record(path):
        return _record(json.loads(path.read_text(encoding="utf-8")), kind)


@contextmanager
def reading_record(path: Path) -> Iterator[None]:
    """Turn whatever a missing, damaged or older file raises into one line that names it."""
    try:
        yield
    except Exception as error:  # json, csv, zip and NumPy each have their own for damaged bytes
        again = "give the same `boundaryloss compare` again"
        if path.name == RUN and not path.exists():
            raise UserError(f"{path.parent}: the run is not finished; {again}") from error
        if path.parent.parent.name == "runs":  # a finished run is left alone
            again = f"remove {path.parent}, and {again}"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: missing or damaged ({reason}); {again}") from error


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]], kind: type) -> dict[str, Sequence[Any]]:
    """Return the columns of `kind`; others are left alone."""
    lengths = [*map(len, rows)] or [len(head)]
    if min(lengths) < len(head):
        raise ValueError(f"{head[min(lengths)]!r}: the row ends before it")
    if max(lengths) > len(head):
        raise ValueError("a row has more cells than there are columns")
    cells = dict(zip(head, zip(*rows, strict=True) if rows else [()] * len(head), strict=True))
    hints, columns = _hints(kind), {}
    for field in fields(kind):
        hint = hints[field.name]
        if field.name in cells:
            with _naming(field.name):
                columns[field.name] = _cells(cells[field.name], hint)
        elif type(None) in get_args(hint):
            columns[field.name] = [None] * len(rows)
        else:
            raise _lacks(field.name)
    return columns


def _cells(texts: Sequence[str], hint: Any) -> Sequence[Any]:
    """Return the values of cells; an empty one is None where that may be."""
    if type(None) in get_args(hint):
        return [None if text == "" else float(text) for text in texts]
    if get_origin(hint) is Literal:
        if unknown := set(texts) - set(get_args(hint)):
            raise ValueError(f"{min(unknown)!r} is none of {', '.join(get_args(hint))}")
        return texts
    return texts if hint is str else [*map(hint, texts)]


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _record(content: Any, kind: type[Kind]) -> Kind:
    """Return an instance of `kind`; keys that it does not know are left alone."""
    if not isinstance(content, dict):
        raise ValueError(f"no {kind.__name__}")
    hints, values = _hints(kind), {}
    for field in fields(kind):  # pyright: ignore[reportArgumentType]
        hint = hints[field.name]
        if field.name in content:
            with _naming(field.name):
                values[field.name] = _value(content[field.name], hint)
        elif type(None) in get_args(hint):
            values[field.name] = None
        elif field.default is MISSING:
            raise _lacks(field.name)
    return kind(**values)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say in an error which column or key it is about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r}: {error}") from None


def _lacks(name: str) -> ValueError:
    return ValueError(f"no {name!r}; an older version may have written it")


def _value(value: Any, hint: Any) -> Any:
    """Return a value of a JSON file, or raise if it is not of its type."""
    if is_dataclass(hint):
        return _record(value, hint)  # pyright: ignore[reportArgumentType]
    origin, parts = get_origin(hint), get_args(hint)
    if origin is list and isinstance(value, list):
        return [_value(item, parts[0]) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: _value(item, parts[1]) for key, item in value.items()}
    if origin is types.UnionType:
        for part in parts:
            with suppress(ValueError):
                return _value(value, part)
    if hint is float and type(value) in (int, float):
        return value
    if hint in (int, str, type(None)) and type(value) is hint:
        return value
    raise ValueError(f"{value!r} is not of the type {getattr(hint, '__name__', hint)}")
