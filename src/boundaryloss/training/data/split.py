"""Which cases to train on, which to test on, and which of the former choose the best checkpoint."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from boundaryloss.files import EACH, UserError, is_names, read_json, read_split

Split = tuple[list[str], list[str]]  # names to train on, names to test on
TEST_SHARE = 0.2  # of a random split, so five folds
ADVICE = (
    "give splits.json or --test-prefix, or say what in a name is the patient, such as "
    f"group = '^(.+?)_' under [split] ('{EACH}': each case for itself)"
)


def split_names(
    folder: Path,
    names: list[str],
    *,
    seed: int,
    groups: Mapping[str, str],
    test_prefix: str | Sequence[str] | None,
    test_fraction: float = TEST_SHARE,
    fold: int = 0,
    split: Path | None = None,
) -> Split:
    """Split by the first rule that applies; `boundaryloss.training.data.cases.find_cases` lists them.

    Raises:
        UserError: a file is wrong, a part is empty, or there is no such fold.
    """
    only = None  # the rule that makes one split, and no folds
    if split is not None:  # a run's own
        train, test = _read_split(split, names)
        if test_prefix is not None and set(test) != set(_split_by_prefix(folder, names, test_prefix)[1]):
            raise UserError(
                f"{split} tests other cases than those whose names begin with {test_prefix}; leave the "
                "prefix out, or give a new directory"
            )
    elif test_prefix is not None:
        train, test = _split_by_prefix(folder, names, test_prefix)
        only = "the prefixes"
    elif (folder / "splits.json").exists():
        train, test = _read_split(folder / "splits.json", names)
        only = "splits.json"
    elif (folder / "splits_final.json").exists():
        train, test = _read_fold(folder / "splits_final.json", names, fold)
    elif all(name.startswith(("train_", "test_")) for name in names):
        train, test = _part(names, {name for name in names if name.startswith("test_")})
        only = "the names (train_..., test_...)"
    else:
        train, test = _split_at_random(folder, names, groups, seed, test_fraction, fold)
    if only and fold:
        raise UserError(f"{folder}: fold {fold}, but {only} give one split only; leave the fold out")
    for part, purpose in ((train, "train"), (test, "test")):
        if not part:
            raise UserError(f"{folder}: no case left to {purpose} on; give splits.json or other names")
    return train, test


def split_validation(names: Sequence[str], groups: Mapping[str, str], share: float, seed: int) -> Split:
    """Set a seeded share of the training cases aside, whole patients.

    It is none if it comes to less than a case, or if patients are so large that it would come to more than
    three times the share.

    Raises:
        UserError: nothing would be left to train on.
    """
    patients = list(dict.fromkeys(groups[name] for name in names))
    order = np.random.default_rng(seed).permutation(len(patients)).tolist()
    count = max(1, round(share * len(patients))) if round(share * len(names)) else 0
    chosen = {patients[i] for i in order[:count]}
    learn, validate = _part(list(names), {name for name in names if groups[name] in chosen})
    if len(validate) > 3 * share * len(names):
        return list(names), []
    if not learn:
        raise UserError(
            f"validation = {share:g} of {len(names)} cases leaves nothing to train on; set it lower, or 0"
        )
    return learn, validate


def _split_by_prefix(folder: Path, names: list[str], test_prefix: str | Sequence[str]) -> Split:
    prefixes = (test_prefix,) if isinstance(test_prefix, str) else tuple(test_prefix)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise UserError(f"{folder}: no name begins with {prefix!r}; the first is {names[0]!r}")
    return _part(names, {name for name in names if name.startswith(prefixes)})


def _split_at_random(
    folder: Path, names: list[str], groups: Mapping[str, str], seed: int, fraction: float, fold: int
) -> Split:
    patients = sorted({groups[name] for name in names})
    grouped = len(patients) < len(names)
    if grouped and len(patients) < round(1 / fraction):
        shown = ", ".join(patients[:5])
        raise UserError(
            f"{folder}: {len(names)} cases of {len(patients)} patient{'s' * (len(patients) > 1)} ({shown}) "
            f"are too few for a random split; {ADVICE}"
        )
    random.Random(seed).shuffle(patients)
    count = max(1, round(fraction * len(patients)))
    chosen = set(patients[fold * count : (fold + 1) * count])
    if not chosen:
        raise UserError(
            f"fold {fold}: {len(patients)} patients make {-(-len(patients) // count)} folds, from 0 on"
        )
    train, test = _part(names, {name for name in names if groups[name] in chosen})
    if grouped and not fraction / 4 <= len(test) / len(names) <= 0.5:
        shown = ", ".join(sorted(chosen)[:5])
        raise UserError(
            f"{folder}: fold {fold} would train on {len(train)} cases and test on {len(test)} ({shown}), "
            f"as patients differ so much in size; {ADVICE}"
        )
    return train, test


def _read_split(path: Path, names: list[str]) -> Split:
    split = read_split(path)
    return _checked(path, names, split["train"], split["test"])


def _read_fold(path: Path, names: list[str], fold: int) -> Split:
    """Read one of nnU-Net's folds; its validation cases are what this run tests on."""
    folds = read_json(path)
    if not isinstance(folds, list) or not all(
        isinstance(part, dict) and is_names(part.get("train")) and is_names(part.get("val")) for part in folds
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
            raise UserError(f"{path}: no case is called {name[:60]!r}; {hint}")
    if both := sorted(set(train) & set(test)):
        raise UserError(f"{path}: {both[0]!r} is in train and in test; take it out of one")
    return list(dict.fromkeys(train)), list(dict.fromkeys(test))


def _part(names: list[str], test: set[str]) -> Split:
    return [name for name in names if name not in test], [name for name in names if name in test]
