"""Cases as arrays: what inspection has decoded goes on to training, so that no file is decoded twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boundaryloss.files import Case, class_indices, read_labels, read_raw, scale_image
from boundaryloss.training.task import Task

Windows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Decoded:
    """A case on its way from inspection to training, in hardly more bytes than it will have there.

    Args:
        images: by file, as they are stored; or one that is scaled.
        scaled: whether it is.
        labels: for each voxel, which of `values` it has.
        values: that the file has, ascending.
    """

    images: tuple[np.ndarray, ...]
    scaled: bool
    labels: np.ndarray
    values: np.ndarray

    @classmethod
    def of(
        cls, images: Sequence[np.ndarray], labels: np.ndarray, values: Sequence[int], windows: Windows | None
    ) -> "Decoded":
        """Scale images whose windows are known: in their file they may have eight bytes a voxel."""
        codes = np.zeros(max(values) + 1, np.uint8 if len(values) <= 256 else np.uint16)
        codes[list(values)] = np.arange(len(values))
        if windows is not None:
            images = [scale_files(images, windows)]
        return cls(tuple(images), windows is not None, codes[labels], np.array(values))


def read_case(case: Case, task: Task, decoded: Decoded | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the image of a case, float32 (C, *space) in [0, 1], and its class indices (*space), if any.

    They are read from its files, or taken from `decoded`.
    """
    if decoded is not None:
        image = decoded.images[0] if decoded.scaled else scale_files(decoded.images, task.windows)
        return image, class_indices(decoded.values, task.label_values, task.ignore_value)[decoded.labels]
    image = scale_files([read_raw(path)[0] for path in case.images], task.windows)
    if case.labels is None:
        return image, None
    labels = read_labels(case.labels, case.threshold)
    return image, class_indices(labels, task.label_values, task.ignore_value)


def scale_files(images: Sequence[np.ndarray], windows: Windows) -> np.ndarray:
    """Scale the values of a case, in one file or in one per channel, to float32 (C, *space)."""
    if len(images) == 1:
        return scale_image(images[0], windows)
    parts = zip(images, [(window,) for window in windows] or [()] * len(images), strict=True)
    return np.concatenate([scale_image(image, window) for image, window in parts])
