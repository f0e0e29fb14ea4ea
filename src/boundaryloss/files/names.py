"""Check the names of cases, since files of a run are called after them."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from boundaryloss.files.errors import UserError

BREAKS = ("Cc", "Zl", "Zp")  # control characters and line breaks
LONGEST = 230  # bytes; file systems take 255, of which a suffix and the mark of an unfinished write need some


def check_names(names: Iterable[str], where: Path) -> None:
    """Raise a `UserError` if a name cannot be that of a file, or two are the same to some file system."""
    seen: dict[str, str] = {}
    for name in names:
        if problem := _problem(name):
            shown = name if len(name) <= 60 else f"{name[:60]}..."
            raise UserError(f"{where}: the case {shown!r} {problem}; rename it")
        key = unicodedata.normalize("NFC", name).casefold()  # macOS and Windows tell neither apart
        if key in seen:
            why = "comes twice" if seen[key] == name else f"and {seen[key]!r} differ only in case or accents"
            raise UserError(f"{where}: the case {name!r} {why}, so one would overwrite the other; rename one")
        seen[key] = name


def _problem(name: str) -> str | None:
    if not name:
        return "has an empty name"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "has a name that is not UTF-8"
    if len(name.encode()) > LONGEST:
        return f"has a name of more than {LONGEST} bytes"
    if name.startswith("."):
        return "begins with a dot, as hidden files do"
    if bad := [letter for letter in name if letter in "/\\" or unicodedata.category(letter) in BREAKS]:
        return f"has {bad[0]!r} in its name"
    return None
