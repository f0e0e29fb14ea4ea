"""What a page shows of a case: one plane of it, kept in compressed arrays."""

from pathlib import Path

import numpy as np

from boundaryloss.files import atomic_write, fullest_slice


def plane(array: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return what a page can show of a case: a slice, or the plane of a volume with most of the truth."""
    return array if truth.ndim == 2 else array[..., fullest_slice(truth)]


def grey(image: np.ndarray) -> np.ndarray:
    """Return an image from 0 to 1 as 8 bits."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz, whole or not at all."""
    with atomic_write(path, "arrays") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
