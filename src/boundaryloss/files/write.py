"""Writing files, whole or not at all."""

import csv
import gzip
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from boundaryloss.files.errors import UserError
from boundaryloss.files.nifti import nifti_bytes
from boundaryloss.files.read import MOST


@contextmanager
def atomic_write(path: Path, what: str, *, keep_as: Path | None = None) -> Iterator[BinaryIO]:
    """Give a file to write to that takes the place of `path` when it is whole; until then `path` stays.

    What was there before is then called `keep_as`, if that is given.

    Raises:
        UserError: the disc is full, or the folder cannot be written to.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # some file systems tell only now that they are full
        temporary.chmod(0o644)  # mkstemp's own mode shuts out everybody else
        if keep_as is not None and path.exists():
            path.replace(keep_as)
        temporary.replace(path)
    except OSError as error:
        whole = " (the previous one is whole)" if path.exists() else ""
        raise UserError(
            f"cannot write the {what} {path}: {error.strerror}; "
            f"free some space or choose another folder{whole}"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}; choose another one") from None


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV, or the `columns` if there are none; the file is the old one or the whole new one."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(Path(path), "table") as file:
        file.write(text.getvalue().encode())


def write_labels(
    path: Path,
    classes: np.ndarray,
    label_values: tuple[int, ...] | None = None,
    like: Path | None = None,
) -> None:
    """Write class indices with their file values (8 bits; 16 if a value needs them), whole or not at all.

    A `path` in .nii.gz lies where the NIfTI file `like` lies, on its very grid; any other is PNG.

    Raises:
        ValueError: a class without a value, or a value that no label file can hold.
        UserError: the disc is full, or the folder cannot be written to.
    """
    from PIL import Image

    values = np.asarray(label_values if label_values is not None else range(int(classes.max(initial=0)) + 1))
    if classes.min(initial=0) < 0 or classes.max(initial=0) >= len(values):
        raise ValueError(f"classes from {classes.min()} to {classes.max()}, but {len(values)} label values")
    if values.min() < 0 or values.max() > MOST:
        raise ValueError(f"label values from {values.min()} to {values.max()}; a file holds 0 to {MOST}")
    labels = values.astype(np.uint8 if values.max() <= 255 else np.uint16)[classes]
    with atomic_write(path, "labels") as file:
        if like is not None and path.name.endswith(".nii.gz"):
            file.write(gzip.compress(nifti_bytes(labels, like), mtime=0))
        else:
            Image.fromarray(labels).save(file, format="PNG")
