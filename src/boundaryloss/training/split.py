"""Which cases to train on and which to test on."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from boundaryloss.training.errors import UserError

Split = tuple[list[str], list[str]]  # names to train on, names to test on


def patient(name: str) -> str:
    """The text before the first underscore: slices that share it never part in a random split."""
    return name.split("_", 1)[0]


def split_names(
    folder: Path,
    names: list[str],
    *,
    seed: int,
    test_prefix: str | Sequence[str] | None,
    test_fraction: float,
    fold: int = 0,
    split: Path | None = None,
) -> Split:
    """Split by the first rule that applies; `boundaryloss.training.data.find_cases` lists them."""
    if split is not None:
        train, test = _read_split(split, names)
    elif test_prefix is not None:
        train, test = _split_by_prefix(folder, names, test_prefix)
    elif (folder / "splits.json").exists():
        train, test = _read_split(folder / "splits.json", names)
    elif (folder / "splits_final.json").exists():
        train, test = _read_fold(folder / "splits_final.json", names, fold)
    elif all(name.startswith(("train_", "test_")) for name in names):
        train, test = _part(names, {name for name in names if name.startswith("test_")})
    else:
        train, test = _split_at_random(names, seed, test_fraction, fold)
    for part, purpose in ((train, "train"), (test, "test")):
        if not part:
            raise UserError(f"{folder}: no case left to {purpose} on; give splits.json or other names")
    return train, test


def _split_by_prefix(folder: Path, names: list[str], test_prefix: str | Sequence[str]) -> Split:
    prefixes = (test_prefix,) if isinstance(test_prefix, str) else tuple(test_prefix)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise UserError(f"{folder}: no name begins with {prefix!r}; the first is {names[0]!r}")
    return _part(names, {name for name in names if name.startswith(prefixes)})


def _split_at_random(names: list[str], seed: int, fraction: float, fold: int) -> Split:
    patients = {name: patient(name) for name in names}
    if len(set(patients.values())) == 1:  # one word before all names ("slice_07") is no patient
        patients = {name: name for name in names}
    groups = sorted(set(patients.values()))
    random.Random(seed).shuffle(groups)
    count = max(1, round(fraction * len(groups)))
    chosen = set(groups[fold * count : (fold + 1) * count])
    if not chosen:
        raise UserError(
            f"fold {fold}: {len(groups)} patients make {-(-len(groups) // count)} folds, from 0 on"
        )
    return _part(names, {name for name in names if patients[name] in chosen})


def _read_split(path: Path, names: list[str]) -> Split:
    split = _read_json(path)
    train, test = (split.get(key) if isinstance(split, dict) else None for key in ("train", "test"))
    if not _is_names(train) or not _is_names(test):
        raise UserError(f'{path}: must be {{"train": [names], "test": [names]}}; rewrite it so')
    return _checked(path, names, train, test)


def _read_fold(path: Path, names: list[str], fold: int) -> Split:
    """One of nnU-Net's folds; its validation cases are what this run tests on."""
    folds = _read_json(path)
    if not isinstance(folds, list) or not all(
        isinstance(part, dict) and _is_names(part.get("train")) and _is_names(part.get("val"))
        for part in folds
    ):
        raise UserError(f'{path}: must be [{{"train": [names], "val": [names]}}, ...]; rewrite it so')
    if fold >= len(folds):
        raise UserError(f"{path}: no fold {fold}; it has {len(folds)}, from 0 on")
    return _checked(path, names, folds[fold]["train"], folds[fold]["val"])


def _checked(path: Path, names: list[str], train: list[str], test: list[str]) -> Split:
    known = set(names)
    for name in (*train, *test):
        if name not in known:
            hint = f"give names without suffix, such as {names[0]!r}"
            raise UserError(f"{path}: no case is called {name!r}; {hint}")
    if both := sorted(set(train) & set(test)):
        raise UserError(f"{path}: {both[0]!r} is in train and in test; take it out of one")
    return list(dict.fromkeys(train)), list(dict.fromkeys(test))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); repair it or remove it") from error


def _is_names(part: Any) -> TypeGuard[list[str]]:
    return isinstance(part, list) and all(isinstance(name, str) for name in part)


def _part(names: list[str], test: set[str]) -> Split:
    return [name for name in names if name not in test], [name for name in names if name in test]
