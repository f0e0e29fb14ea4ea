"""One prediction of nnU-Net -> its scores, and the plane of it that a page shows."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boundaryloss.comparison.nnunet.folders import probabilities_of
from boundaryloss.comparison.planes import grey, plane
from boundaryloss.files import UserError, is_nifti, read_image, reading
from boundaryloss.report.store import CaseScores, LesionScores, OperatingPoint
from boundaryloss.scoring import Pair, operating_points, score_case

HALF = 0.5  # the only threshold that is known without probabilities
ROUNDING = 1e-3  # what a probability may lie below the largest if its class was predicted


@dataclass(frozen=True)
class Case:
    """Hold a prediction and what it is judged by.

    Attributes:
        pair: Prediction and truth.
        classes: The labels, background first.
        ignore: The label of voxels that nobody labelled.
        probabilities: Whether to judge at every threshold.
        image: To show with it, if it is found.
    """

    pair: Pair
    classes: tuple[int, ...]
    ignore: int | None
    probabilities: bool
    image: Path | None


@dataclass(frozen=True)
class Judged:
    """Hold what is told of a prediction; arrays are planes of class indices, and of the grey image."""

    rows: list[CaseScores]
    lesions: list[LesionScores]
    points: list[OperatingPoint]
    prediction: np.ndarray
    truth: np.ndarray
    image: np.ndarray


def judge(case: Case) -> Judged:
    """Read and judge a prediction.

    Raises:
        UserError: a file cannot be read, or does not fit to the others.
    """
    prediction, truth, spacing = case.pair.read()
    _check_labels(prediction, case.pair.prediction, {*case.classes})
    _check_labels(truth, case.pair.truth, {*case.classes, case.ignore})
    known = np.ones(truth.shape, bool) if case.ignore is None else truth != case.ignore
    index = np.zeros(max(case.classes) + 1, np.min_scalar_type(len(case.classes)))
    index[[*case.classes]] = range(len(case.classes))
    predicted, true = (index[array * known] for array in (prediction, truth))
    name, objects = case.pair.name, {label: (place,) for place, label in enumerate(case.classes) if place}
    rows, lesions = score_case(predicted, true, objects, spacing=spacing, name=name)
    if case.probabilities:
        shares = _read_probabilities(case, index[prediction]) * known
        points = operating_points(shares, true, name=name, label_values=case.classes)
    else:
        points = [_only_point(row) for row in rows]
    image = _read_image(case.image, true)
    return Judged(rows, lesions, points, plane(predicted, true), plane(true, true), image)


def _check_labels(array: np.ndarray, path: Path, known: set[int | None]) -> None:
    if foreign := {*np.unique(array).tolist()} - known:
        raise UserError(f"{path}: label {min(foreign)} is not in dataset.json; correct one of them")


def _read_probabilities(case: Case, predicted: np.ndarray) -> np.ndarray:
    """Read the probabilities beside a prediction, (class, *space) on its grid; nnU-Net turns that of NIfTI.

    Args:
        case: The case.
        predicted: The index of the predicted class of every voxel.

    Raises:
        UserError: they are not those of this prediction.
    """
    path = probabilities_of(case.pair.prediction)
    again = "validate again with nnUNetv2_train ... --val --npz"
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        found = arrays["probabilities"].astype(np.float32, copy=False)
    classes, *space = found.shape or (0,)
    space = space[::-1] if is_nifti(case.pair.prediction) else space
    if classes != len(case.classes) or _thick(space) != _thick(predicted.shape):
        raise UserError(
            f"{path}: probabilities {found.shape} of a prediction with {len(case.classes)} classes and "
            f"{predicted.shape} voxels; {again}"
        )
    if is_nifti(case.pair.prediction):
        found = found.transpose(0, *range(found.ndim - 1, 0, -1))
    found = found.reshape(classes, *predicted.shape)
    if not (found.min() >= 0 and found.max() <= 1):
        raise UserError(f"{path}: probabilities must lie between 0 and 1; {again}")
    own = np.take_along_axis(found, predicted[None].astype(np.intp), 0)[0]
    if (own < found.max(axis=0) - ROUNDING).any():
        raise UserError(f"{path}: are not those of {case.pair.prediction.name}; {again}, or remove all .npz")
    return found


def _thick(shape: Sequence[int]) -> list[int]:
    """Return a shape without the axis that a slice has in nnU-Net and not in its file."""
    return [size for size in shape if size > 1]


def _only_point(row: CaseScores) -> OperatingPoint:
    dice = row.dice if row.lesions else float("nan")
    return OperatingPoint(row.name, row.label, HALF, row.lesions, row.lesions_found, row.false_lesions, dice)


def _read_image(path: Path | None, truth: np.ndarray) -> np.ndarray:
    """Return the plane to show of an image; blank if it cannot be read, or lies on another grid."""
    image = np.zeros(truth.shape)
    with suppress(UserError):
        if path is not None and (found := read_image(path)[0][0]).shape == truth.shape:
            image = found
    return grey(plane(image, truth))
