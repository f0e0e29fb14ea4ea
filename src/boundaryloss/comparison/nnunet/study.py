"""Which results are compared, on which folds and cases, and with what; no image is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boundaryloss.comparison.nnunet.folders import (
    Trained,
    declared,
    find_images,
    find_trained,
    find_truth,
    names_of,
    probabilities_of,
)
from boundaryloss.comparison.nnunet.log import Log, read_log
from boundaryloss.files import Description, UserError


@dataclass(frozen=True)
class Result:
    """Hold what one trainer came to.

    Attributes:
        name: What it is called.
        trained: Where it is.
        logs: What the logs of each fold tell.
        predictions: Files by the names of the cases.
    """

    name: str
    trained: Trained
    logs: Mapping[int, Log]
    predictions: Mapping[str, Path]


@dataclass(frozen=True)
class Study:
    """Hold what is compared.

    Attributes:
        dataset: What nnU-Net calls it.
        results: The first is the one that the others are held against.
        description: What dataset.json declares.
        folds: Number of a fold -> names of its cases.
        truth: Folder of true labels.
        labels: True labels by the names of the cases.
        images: The same of images, as far as they are found.
        probabilities: Whether every prediction has them.
        notes: What is missing or left out, each in a sentence.
    """

    dataset: str
    results: Sequence[Result]
    description: Description
    folds: Mapping[int, Sequence[str]]
    truth: Path
    labels: Mapping[str, Path]
    images: Mapping[str, Path]
    probabilities: bool
    notes: Sequence[str]


def find_study(
    folders: Sequence[Path],
    *,
    baseline: str | None = None,
    folds: Sequence[int] | None = None,
    truth: Path | None = None,
) -> Study:
    """Find all files of a study, and check whether they fit together.

    Args:
        folders: nnU-Net's folders of trainers, all of one dataset.
        baseline: The name of the result that the others are held against. Default: the first.
        folds: Which to compare. Default: those that all results have.
        truth: Folder of true labels. Default: the gt_segmentations in $nnUNet_preprocessed, else the
            labelsTr in $nnUNet_raw.

    Raises:
        UserError: A file is missing or wrong, or the results are not of the same cases.
    """
    trained = [find_trained(folder) for folder in folders]
    names, description = names_of(trained), declared(trained)
    if baseline is not None and baseline not in names:
        raise UserError(f"no result is called {baseline!r}; give one of {', '.join(names)}")
    shared, notes = _shared_folds(trained, folds)
    predictions, cases = _find_predictions(trained, shared)
    results = [
        Result(name, one, {fold: read_log(one.fold(fold)) for fold in shared}, files)
        for name, one, files in zip(names, trained, predictions, strict=True)
    ]
    results.sort(key=lambda result: result.name != baseline)  # which leaves the others in their order
    where, labels = find_truth(trained[0].dataset, truth)
    every = [name for of_fold in cases.values() for name in of_fold]
    if missing := [name for name in every if name not in labels]:
        raise UserError(f"{where}: no true labels of {missing[0]}; give another folder with --truth")
    images = find_images(trained[0].dataset, where)
    lacking = _lack_probabilities(results)
    notes += [*lacking, *_about_epochs(results), *_lack_images(every, images)]
    return Study(trained[0].dataset, results, description, cases, where, labels, images, not lacking, notes)


def _shared_folds(trained: Sequence[Trained], chosen: Sequence[int] | None) -> tuple[list[int], list[str]]:
    """Return the folds to compare, the chosen ones or those that all have, and what to say about others."""
    for one in trained:
        if lacking := {*(chosen or ())} - {*one.folds}:
            raise UserError(f"{one.folder}: has no fold_{min(lacking)}; train it, or choose other --folds")
    shared = set.intersection(*({*one.folds} for one in trained))
    if not shared:
        raise UserError(f"{trained[0].folder} and {trained[-1].folder}: the results share no fold")
    if chosen:
        return sorted({*chosen}), []
    left = sorted({fold for one in trained for fold in one.folds} - shared)
    said = [f"Fold {', '.join(map(str, left))} is left out: not every result has it."] if left else []
    return sorted(shared), said


def _find_predictions(
    trained: Sequence[Trained], folds: Sequence[int]
) -> tuple[list[dict[str, Path]], dict[int, list[str]]]:
    """Return the predictions of each result, and the cases of each fold, which must be the same in all."""
    predictions: list[dict[str, Path]] = [{} for _ in trained]
    cases: dict[int, list[str]] = {}
    for fold in folds:
        for one, files in zip(trained, predictions, strict=True):
            found = one.predictions(fold)
            names = cases.setdefault(fold, sorted(found))
            if differ := {*names} ^ {*found}:
                raise UserError(
                    f"{one.fold(fold)} and {trained[0].fold(fold)}: only one of them has a prediction of "
                    f"{min(differ)}; results must have the same cases in every fold"
                )
            if twice := {*found} & {*files}:
                raise UserError(
                    f"{one.fold(fold)}: {min(twice)} is in the validation of another fold, too; give --folds "
                    "that share no case"
                )
            files |= found
    return predictions, cases


def _lack_probabilities(results: Sequence[Result]) -> list[str]:
    for result in results:
        for path in result.predictions.values():
            if not probabilities_of(path).is_file():
                return [
                    f"{result.name} has no probabilities of {path.name} (nnUNetv2_train ... --npz): no curve "
                    "over thresholds, no comparison at equal sensitivity."
                ]
    return []


def _about_epochs(results: Sequence[Result]) -> list[str]:
    said = []
    for result in results:
        counts = {fold: len(log.epochs) for fold, log in result.logs.items()}
        if without := [str(fold) for fold, count in counts.items() if not count]:
            said.append(f"{result.name} has no training_log_*.txt with epochs for fold {', '.join(without)}.")
        if begun := [str(fold) for fold, log in result.logs.items() if not log.ended]:
            said.append(
                f"The last training of {result.name} did not end, says its log (fold {', '.join(begun)}): "
                "the predictions may be those of an earlier one."
            )
        if len({*counts.values()} - {0}) > 1:
            epochs = ", ".join(f"{count} (fold {fold})" for fold, count in counts.items())
            said.append(f"The folds of {result.name} were trained for different numbers of epochs: {epochs}.")
    return said


def _lack_images(cases: Sequence[str], images: Mapping[str, Path]) -> list[str]:
    lacking = [case for case in cases if case not in images]
    if not lacking:
        return []
    return [f"{len(lacking)} of {len(cases)} images are not found; their pictures show outlines only."]
