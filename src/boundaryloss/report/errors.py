"""The one exception of a comparison that cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ReportError(ValueError):
    """A file of a comparison is missing or damaged: one line that names it and says what to do."""


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Turn whatever a damaged file raises into `ReportError`."""
    try:
        yield path
    except Exception as error:  # json, csv, zip and NumPy each have their own for damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ReportError(
            f"{path}: missing or damaged ({reason}); remove its directory and run the comparison again"
        ) from error
