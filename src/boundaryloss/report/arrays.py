"""The pictures of a comparison: there may be thousands, so that each is read when the page shows it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from boundaryloss.report.store import reading_record


class StoredArrays(Mapping[str, np.ndarray]):
    """Arrays in .npz files, by name, as `stored_in` finds them.

    Raises:
        UserError: an array that is asked for is damaged.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> np.ndarray:
        path = self._paths[name]
        with reading_record(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def stored_in(path: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return where each of the arrays is, if an .npz file holds them all.

    Raises:
        UserError: it is missing or damaged, or lacks one.
    """
    with reading_record(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if lacking := set(names) - set(arrays.files):
            raise ValueError(f"no {min(lacking)!r}")
    return dict.fromkeys(names, path)
