"""The directory that a command writes: new or its own, for one command or its parts at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from boundaryloss.files.errors import UserError

LOCK = ".lock"
PATIENCE = 1.0  # seconds; parts that start at once look for others by the same files


def check_new(out: Path, *, or_with: str | None = None) -> None:
    """Refuse a directory that holds something, or that cannot be made; write nothing.

    Args:
        out: the directory.
        or_with: a file that says whose directory it is; with it, it may hold anything.

    Raises:
        UserError: nothing may be overwritten.
    """
    try:
        names = {path.name for path in out.iterdir() if not path.name.startswith(".")}  # a kill leaves these
    except FileNotFoundError:
        above = next(parent for parent in out.absolute().parents if parent.exists())
        if above.is_dir():
            return
        raise UserError(f"cannot make the directory {out}: {above} is a file") from None
    except OSError as error:
        raise UserError(f"cannot make the directory {out}: {error.strerror}") from None
    if names and or_with not in names:
        raise UserError(f"{out} exists and is not empty; give a new directory with --out, or remove this one")


def check_run(run: Path, checkpoint: str) -> None:
    """Refuse what is no directory of a run with this checkpoint: `last` (or the one before) or `best`.

    Raises:
        UserError: there is none.
    """
    names = (checkpoint, "previous") if checkpoint == "last" else (checkpoint,)
    if not any((run / "checkpoints" / f"{name}.ckpt").is_file() for name in names):
        raise UserError(f"{run} holds no checkpoints/{checkpoint}.ckpt; give the directory of a training run")


def holds_json(path: Path) -> bool:
    """Return whether a file is there and whole; what is not can be made again."""
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def prepare_directory(out: Path) -> None:
    """Make `out`; one that holds something is refused, since nothing may be overwritten.

    Raises:
        UserError: `out` is not empty, or cannot be made.
    """
    check_new(out)
    _make(out)


@contextmanager
def locked(out: Path, part: tuple[int, int] | None = None) -> Iterator[None]:
    """Keep other commands out of `out` while this one works there; a process that is killed lets go of it.

    The directory is made, and removed if nothing was written into it.

    Args:
        out: the directory.
        part: which part of how many this command works at; those of the other parts may be at work, too.

    Raises:
        UserError: another command is at work there, or the directory cannot be made or written to.
    """
    made = [path for path in (out, *out.parents) if not path.exists()]
    _make(out)
    mine, friends = (f"{LOCK}-{part[0]}-of-{part[1]}", f"-of-{part[1]}") if part else (LOCK, None)
    try:
        with _held(out / mine):  # before looking for others: of two that start at once, one at least sees it
            for other in list(out.glob(f"{LOCK}*")):
                if other.name != mine and not (friends and other.name.endswith(friends)):
                    with _held(other, PATIENCE):  # left behind by a kill
                        pass
            yield
    finally:
        for path in made:
            with suppress(OSError):  # holds something
                path.rmdir()


def check_free(out: Path, part: tuple[int, int] | None = None) -> None:
    """Refuse a directory in which another command is at work; write nothing.

    Raises:
        UserError: as `locked`.
    """
    if any(out.glob(f"{LOCK}*")):
        with locked(out, part):
            pass


@contextmanager
def _held(path: Path, patience: float = 0.0) -> Iterator[None]:
    lock = FileLock(path, timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{path.parent} is in use by another command; wait for it, or give a new directory with --out"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write into the directory {path.parent}: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who opened it meanwhile sees that it is gone
        lock.release()


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the directory {out}: {error.strerror}") from None
