"""A folder of predictions against a folder of truths -> cases.csv, lesions.csv and summary.csv."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

import numpy as np

from boundaryloss.files import (
    Layout,
    UserError,
    atomic_write,
    check_label_values,
    checked_spacing,
    looks_void,
    read_label_map,
    read_layout,
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
            evaluation of the same two folders on the same contour, whose tables are replaced.
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
    pairs, trained = find_pairs(predictions, truth, allow_missing=allow_missing, split=split)
    mark = {"predictions": str(predictions.resolve()), "truth": str(truth.resolve()), "contour": contour}
    _check_out(out, mark)
    if trained:
        on_note(trained)
    judge = _Judge(pairs, _layout(truth, labels), spacing, tolerance, contour, labels, ignore, threshold)
    for done, pair in enumerate(pairs, start=1):
        try:
            case = judge.read(pair)
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(str(error))
        else:
            judge.add(pair, *case)
        progress(done, len(pairs), pair.name)
    rows = judge.rows(predictions, truth)
    if ignore is None and looks_void(judge.true):
        on_note("255 beside small labels often marks unlabelled voxels; if so, judge with --ignore 255")
    if never := judge.never_predicted():
        on_note(f"no prediction has the label {never}; if the run was not to find it, judge with --labels")

    from boundaryloss.scoring.summary import summarise

    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / MARK, "facts") as file:
        file.write((json.dumps(mark, indent=1) + "\n").encode())
    summary = summarise(rows)
    write_table(out / CASES, rows)
    write_table(out / LESIONS, judge.lesions, LesionScores)
    write_table(out / SUMMARY, summary)
    return summary


class _Judge:
    """Hold the rows of the cases so far, of each only those of the values that it holds."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        layout: Layout | None,
        spacing: Sequence[float] | None,
        tolerance: float,
        contour: Contour,
        labels: Sequence[int] | None,
        ignore: int | None,
        threshold: float | None,
    ) -> None:
        self.pairs, self.spacing, self.tolerance = pairs, spacing, tolerance
        self.contour: Contour = contour
        self.threshold = threshold
        self.threshold_predicted = None if _are_masks(pairs, threshold) else threshold
        self.labels = None if labels is None else dict.fromkeys(labels)
        self.ignore = layout.ignore if layout and ignore is None else ignore
        self.regions = dict(zip(layout.region_values, layout.regions, strict=True)) if layout else {}
        self.declared = {0, self.ignore, *(layout.label_values if layout else ()), *(labels or ())}
        self.mine: set[int] = set()
        self.true: set[int] = set()
        self.cases: dict[str, dict[int, CaseScores]] = {}
        self.lesions: list[LesionScores] = []
        self.axes = 0

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
        """Read prediction and truth, with background where nobody labelled, and their spacing."""
        prediction, truth, steps = pair.read(self.threshold, self.threshold_predicted)
        if self.axes not in (0, truth.ndim):
            raise UserError(f"{pair.truth}: {truth.ndim}-D, but others are {self.axes}-D; judge one kind")
        if self.ignore is not None:
            known = truth != self.ignore
            prediction, truth = prediction * known, truth * known
        for path, array in ((pair.prediction, prediction), (pair.truth, truth)):
            if self.regions and (foreign := self._values(array) - self.declared):
                raise UserError(
                    f"{path}: label {min(foreign)} is not in dataset.json, so no region has it; correct one"
                )
        return prediction, truth, steps

    def add(self, pair: Pair, prediction: np.ndarray, truth: np.ndarray, steps: Sequence[float]) -> None:
        """Judge a case."""
        self._look_at(prediction, truth)
        if self._grey():  # as far as seen: the rule is for the values of all files together
            for other in self.pairs:
                with suppress(UserError):
                    self._look_at(*self.read(other)[:2])
            if error := self._grey():
                raise error

        from boundaryloss.scoring.cases import score_case

        self.axes = truth.ndim
        held = sorted(set().union(*map(self._values, (prediction, truth))))
        rows, lesions = score_case(
            prediction,
            truth,
            self.regions or {value: (value,) for value in held},
            spacing=steps if self.spacing is None else checked_spacing(self.spacing, truth.ndim),
            name=pair.name,
            tolerance=self.tolerance,
            contour=self.contour,
        )
        self.cases[pair.name] = {row.label: row for row in rows}
        self.lesions += lesions

    def rows(self, predictions: Path, truth: Path) -> list[CaseScores]:
        """Return the rows of all cases, those of values that a case does not hold too."""
        if not self.cases:
            raise UserError(f"{predictions}: no prediction in it can be compared")
        if self.mine and self.true and not self.mine & self.true:
            raise UserError(
                f"{predictions}: predictions have the values {sorted(self.mine)}, the truth "
                f"{sorted(self.true)}; write the same values"
            )
        if absent := [value for value in self.labels or () if value not in self.mine | self.true]:
            raise UserError(f"{truth}: no file has the label {absent[0]} that is to be judged; give others")
        if not self.mine and not self.true:
            raise UserError(f"{truth}: all masks and predictions are empty; nothing to compare")
        labels = self.regions or self.labels or sorted(self.mine | self.true)
        return [
            rows.get(label) or self._absent(name, label)
            for name, rows in self.cases.items()
            for label in labels
        ]

    def never_predicted(self) -> str:
        """Name the labels that only the truth has, where predictions have others."""
        never = self.true - self.mine
        return ", ".join(map(str, sorted(never))) if self.mine and not self.regions else ""

    def _look_at(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        self.mine |= self._values(prediction)
        self.true |= self._values(truth)

    def _values(self, array: np.ndarray) -> set[int]:
        """Return the values of an array that are judged."""
        found = {*np.unique(array).tolist()} - {0, self.ignore}
        return found & self.labels.keys() if self.labels else found

    def _grey(self) -> UserError | None:
        """Return the error that the values so far are no labels, if so."""
        for found, path in (
            (self.true, self.pairs[0].truth.parent),
            (self.mine - self.true, self.pairs[0].prediction.parent),
        ):
            try:
                check_label_values(found - self.declared, path)
            except UserError as error:
                return error
        return None

    def _absent(self, name: str, label: int) -> CaseScores:
        """Return the row of a label that neither side holds."""
        from boundaryloss.scoring.cases import case_metrics

        nothing = np.zeros((1,) * self.axes, np.uint8)
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


def _layout(truth: Path, labels: Sequence[int] | None) -> Layout | None:
    """Return the layout of the dataset that the truth is part of, if it declares its labels."""
    for folder in (truth, truth.parent):
        if (folder / "dataset.json").exists() and (folder / "labelsTr").is_dir():
            layout = read_layout(folder)
            if layout.regions and labels is not None:
                raise UserError(f"{folder / 'dataset.json'}: has regions: labels cannot choose; leave it out")
            return layout
    return None


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
