"""A folder of predictions against a folder of truths -> tables, and the summary.json of nnU-Net."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np

from boundaryloss.files import (
    UserError,
    atomic_write,
    looks_void,
    read_label_map,
    reading,
)
from boundaryloss.report.store import (
    CASES,
    LESIONS,
    SUMMARY,
    CaseScores,
    Contour,
    LabelScores,
    LesionScores,
    write_table,
)
from boundaryloss.scoring.judge import Judge, Judged, in_processes
from boundaryloss.scoring.nnunet import (
    SUMMARY_JSON,
    case_record,
    find_description,
    label_keys,
    write_summary_json,
)
from boundaryloss.scoring.pairs import Pair, find_pairs

MARK = "evaluation.json"  # names what a directory of tables was made from


def evaluate(
    predictions: Path,
    truth: Path,
    out: Path,
    *,
    spacing: Sequence[float] | None = None,
    allow_missing: bool = False,
    tolerance: float = 1.0,
    contour: Contour = "faces",
    labels: Sequence[int] | None = None,
    ignore: int | None = None,
    threshold: float | None = None,
    split: str | None = None,
    jobs: int = 1,
    on_bad: Callable[[str], None] | None = None,
    on_note: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> list[LabelScores]:
    """Compare label files of the same name, 2-D or 3-D, one case at a time.

    Every value of either side has a row, so that a predicted label that no truth has is a false alarm. Where
    the dataset.json of nnU-Net has regions these have the rows, each named by the value of its
    ``regions_class_order``; its ``ignore`` label is left out of every measure.

    Args:
        predictions: Folder of predicted label files.
        truth: Folder of true label files, or a data folder with ``masks`` or ``labelsTr`` inside.
        out: Folder for ``cases.csv``, ``lesions.csv`` and ``summary.csv``: new, or that of an earlier
            evaluation of the same two folders on the same contour, whose tables are replaced. If a
            dataset.json of nnU-Net declares the labels, nnU-Net's ``summary.json`` is written too, with the
            distances added; what has no value is null in it.
        spacing: Size of a voxel in mm. Default: as a NIfTI file of the pair says, else one.
        allow_missing: Judge only the cases that have a prediction. By default a truth without one is an
            error, because a forgotten case is not a found lesion.
        tolerance: Of NSD, and the width of the band of boundary IoU, in mm.
        contour: Where contours run, as in `case_metrics`.
        labels: The values to judge; all others are background.
        ignore: The value of voxels that nobody labelled, which are left out of every measure.
        threshold: Values above it are 1 and all others 0, as in training. Predictions that hold nothing but 0
            and 1, as those of `predict`, stay as they are.
        split: Judge the cases only that splits.json has in this list: ``train`` or ``test``.
        jobs: Number of processes; the tables are the same with any number. With more than one, a script
            needs ``if __name__ == "__main__":`` around its call.
        on_bad: Gets a line about each case that cannot be compared, which is left out. By default it is an
            error.
        on_note: Gets a line on how many of the cases were trained on, if a splits.json tells, and on labels
            that no prediction has.
        progress: Is called with cases done, cases in all and the name of the last one.

    Returns:
        The rows of the summary.

    Raises:
        UserError: Nothing can be compared, or `out` holds something else; nothing is written then.
    """
    predictions, truth, out = Path(predictions), Path(truth), Path(out)
    _check_settings(tolerance, contour, labels, ignore, threshold)
    if jobs < 1:
        raise UserError(f"jobs {jobs}: give the number of processes, 1 or more")
    pairs, trained = find_pairs(predictions, truth, allow_missing=allow_missing, split=split)
    mark = {"predictions": str(predictions.resolve()), "truth": str(truth.resolve()), "contour": contour}
    _check_out(out, mark)
    if trained:
        on_note(trained)
    description = find_description(predictions, truth)
    if labels is not None and description and description[1].regions:
        raise UserError(f"{description[0]}: has regions: labels cannot choose; leave it out")
    found = description[1] if description else None
    unlabelled = found.ignore if found and ignore is None else ignore
    judge = Judge(
        spacing=spacing,
        tolerance=tolerance,
        contour=contour,
        labels=None if labels is None else tuple(dict.fromkeys(labels)),
        ignore=unlabelled,
        threshold=threshold,
        threshold_predicted=None if _are_masks(pairs, threshold) else threshold,
        regions=dict(zip(found.region_values, found.regions, strict=True)) if found else {},
        declared=frozenset({0, unlabelled, *(labels or ()), *(found.label_values if found else ())}),
    )
    record = _Record(judge, pairs)
    with closing(in_processes(judge.try_judge, pairs, jobs)) as results:
        for done, (pair, result) in enumerate(zip(pairs, results, strict=True), start=1):
            if error := record.add(pair, result):
                if on_bad is None:
                    raise error
                on_bad(str(error))
            progress(done, len(pairs), pair.name)
    rows = record.rows(predictions, truth)
    if ignore is None and looks_void(record.true):
        on_note("255 beside small labels often marks unlabelled voxels; if so, judge with --ignore 255")
    if never := record.never_predicted():
        on_note(f"no prediction has the label {never}; if the run was not to find it, judge with --labels")

    from boundaryloss.scoring.summary import summarise

    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / MARK, "facts") as file:
        file.write((json.dumps(mark, indent=1) + "\n").encode())
    summary = summarise(rows)
    write_table(out / CASES, rows)
    write_table(out / LESIONS, record.lesions, LesionScores)
    write_table(out / SUMMARY, summary)
    (out / SUMMARY_JSON).unlink(missing_ok=True)  # of an earlier evaluation
    if description:
        write_summary_json(out / SUMMARY_JSON, record.entries(label_keys(*description)))
    return summary


class _Record:
    """Hold what was found in the cases so far, of each only the rows of the values that it holds."""

    def __init__(self, judge: Judge, pairs: Sequence[Pair]) -> None:
        self.judge, self.pairs = judge, pairs
        self.mine: set[int] = set()
        self.true: set[int] = set()
        self.cases: list[tuple[Pair, Judged, dict[int, CaseScores]]] = []
        self.lesions: list[LesionScores] = []

    def add(self, pair: Pair, found: Judged | UserError) -> UserError | None:
        """Add a case, or return what is wrong with it.

        Raises:
            UserError: the values of all files together look like grey pictures.
        """
        if isinstance(found, UserError):
            return found
        if self.cases and (axes := self.cases[0][1].axes) != found.axes:
            return UserError(f"{pair.truth}: {found.axes}-D, but others are {axes}-D; judge one kind")
        self._look_at(*self.judge.values(found.shared))
        if self._grey():  # as far as seen: the rule is for the values of all files together
            for other in self.pairs:
                with suppress(UserError):
                    self._look_at(*self.judge.look(other))
            if error := self._grey():
                raise error
        rows, lesions = found.rows or self.judge.judge(pair, sure=True).rows or ({}, ())
        self.cases.append((pair, found, dict(rows)))
        self.lesions += lesions
        return None

    def rows(self, predictions: Path, truth: Path) -> list[CaseScores]:
        """Return the rows of all cases, those of values that a case does not hold too."""
        if not self.cases:
            raise UserError(f"{predictions}: no prediction in it can be compared")
        if self.mine and self.true and not self.mine & self.true:
            raise UserError(
                f"{predictions}: predictions have the values {sorted(self.mine)}, the truth "
                f"{sorted(self.true)}; write the same values"
            )
        if absent := [value for value in self.judge.labels or () if value not in self.mine | self.true]:
            raise UserError(f"{truth}: no file has the label {absent[0]} that is to be judged; give others")
        if not self.mine and not self.true:
            raise UserError(f"{truth}: all masks and predictions are empty; nothing to compare")
        labels = self.judge.regions or self.judge.labels or sorted(self.mine | self.true)
        return [self._row(case, label) for case in self.cases for label in labels]

    def entries(self, keys: Mapping[str, tuple[int, tuple[int, ...]]]) -> list[dict[str, Any]]:
        """Return the cases as summary.json has them, with a table for each of `keys`."""
        if self.judge.labels:
            keys = {str(label): (label, (label,)) for label in self.judge.labels}
        return [
            case_record(
                case[0], case[1].shared, {label: self._row(case, label) for label, _ in keys.values()}, keys
            )
            for case in self.cases
        ]

    def never_predicted(self) -> str:
        """Name the labels that only the truth has, where predictions have others."""
        never = self.true - self.mine
        return ", ".join(map(str, sorted(never))) if self.mine and not self.judge.regions else ""

    def _look_at(self, mine: set[int], true: set[int]) -> None:
        self.mine |= mine
        self.true |= true

    def _grey(self) -> UserError | None:
        return self.judge.grey(self.mine, self.true, self.pairs[0])

    def _row(self, case: tuple[Pair, Judged, dict[int, CaseScores]], label: int) -> CaseScores:
        pair, found, rows = case
        return rows.get(label) or self.judge.absent(pair.name, label, found.axes)


def _are_masks(pairs: Sequence[Pair], threshold: float | None) -> bool:
    """Return whether predictions hold only 0 and 1, so that a threshold above would leave nothing."""
    if threshold is None or threshold < 1:
        return False
    with suppress(UserError):  # values that are no labels
        return all(read_label_map(pair.prediction)[0].max() <= 1 for pair in pairs)
    return False


def _check_settings(
    tolerance: float,
    contour: Contour,
    labels: Sequence[int] | None,
    ignore: int | None,
    threshold: float | None,
) -> None:
    if contour not in get_args(Contour):
        raise UserError(f"contour {contour!r}: give faces, centers or surfels")
    if not np.isfinite(tolerance) or tolerance < 0:
        raise UserError(f"tolerance {tolerance}: give a distance in mm, 0 or more")
    if threshold is not None and not np.isfinite(threshold):
        raise UserError(f"threshold {threshold}: give a number")
    if labels is not None and not (labels and min(labels) > 0):
        raise UserError(f"labels {list(labels)}: give the values of objects, which are above 0")
    if ignore is not None and not 0 < ignore <= 65535:
        raise UserError(f"ignore {ignore}: give a value from 1 to 65535; 0 is background, which is judged")
    if ignore is not None and labels is not None and ignore in labels:
        raise UserError(f"ignore {ignore} is one of the labels to judge; take it out of one")
    if ignore is not None and threshold is not None:
        raise UserError("threshold leaves nothing but 0 and 1, so no value to ignore; leave one out")


def _check_out(out: Path, mark: dict[str, str]) -> None:
    """Refuse a directory that holds anything but an earlier evaluation of the same folders and contour."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot make the directory {out}: {there} cannot be written to")
    if there != out or all(path.name.startswith(".") for path in out.iterdir()):
        return
    earlier = None
    if (out / MARK).exists():
        with reading(out / MARK):
            earlier = json.loads((out / MARK).read_text(encoding="utf-8"))
    if earlier != mark:
        raise UserError(
            f"{out} exists and is no evaluation of these two folders with contour {mark['contour']}; "
            "give a new directory with --out"
        )
