"""Read splits.json: which cases to train on, and which to test on."""

from pathlib import Path
from typing import Any, TypeGuard

from boundaryloss.files.errors import UserError
from boundaryloss.files.text import read_json


def read_split(path: Path) -> dict[str, list[str]]:
    """Return the names of the cases under ``train`` and under ``test``.

    Raises:
        UserError: there is no such file, or it has other contents.
    """
    split = read_json(path)
    train, test = (split.get(key) if isinstance(split, dict) else None for key in ("train", "test"))
    if not is_names(train) or not is_names(test):
        raise UserError(f'{path}: must be {{"train": [names], "test": [names]}}; rewrite it so')
    return {"train": train, "test": test}


def is_names(part: Any) -> TypeGuard[list[str]]:
    """Return whether a value of JSON is a list of texts."""
    return isinstance(part, list) and all(isinstance(name, str) for name in part)
