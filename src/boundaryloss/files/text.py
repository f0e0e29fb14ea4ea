"""Read JSON and TOML; whatever is wrong with a file is one line that names it."""

import json
import sys
from pathlib import Path
from typing import Any

from boundaryloss.files.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]


def is_file(path: Path) -> bool:
    """Return whether there is an ordinary file; reading a pipe would wait for ever."""
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file; a byte-order mark may stand before them.

    Raises:
        UserError: it is no file, cannot be read, is not JSON, or names a key twice.
    """
    if not is_file(path):
        raise UserError(f"{path}: no such file")
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_without_doubles)
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; repair it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); repair it or remove it") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the contents of a TOML file; a byte-order mark may stand before them.

    Raises:
        UserError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply; repair it") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are
        raise UserError(f"{path} is not valid TOML: {error}") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} comes twice")
    return table
