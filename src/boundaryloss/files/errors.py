"""The one exception that tells a user what to change, and how damaged files come to it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """A mistake in what the user gave: one line that says what is wrong and what to do.

    The command prints the line and exits with 2; a traceback would only hide it.
    """


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into one line that names the file.

    Raises:
        UserError: also if there is no file, or something else of that name: a pipe would block for ever.
    """
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file")
        if not path.is_file():
            raise UserError(f"{path}: is no regular file; give the file itself")
        yield
    except (UserError, ImportError):
        raise
    except Exception as error:  # a handful of decoders, a dozen exceptions for broken bytes
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = re.sub(r" <_io\S+ object at \w+>", "", " ".join(reason.split())) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({reason}); write it again or move it away") from error
