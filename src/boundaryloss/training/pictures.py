"""Pictures of a run's test: image, truth and prediction side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from boundaryloss.training.data import Slices

COUNT = 4
COLOURS = np.array([[0, 0, 0], [255, 176, 0], [0, 176, 246], [234, 85, 133], [120, 200, 90], [150, 120, 255]])


def write_pictures(folder: Path, slices: Slices, predictions: Sequence[np.ndarray]) -> None:
    """Write pictures of a few slices, spread evenly over those that hold an object, whatever the result."""
    labels = slices.labels
    assert labels is not None
    filled = [index for index in range(len(labels)) if labels[index].any()] or [0]
    folder.mkdir(exist_ok=True)
    for index in np.unique(np.linspace(0, len(filled) - 1, COUNT).round().astype(int)):
        case = filled[index]
        grey = np.repeat(slices.images[case][:1].transpose(1, 2, 0) * 255, 3, axis=2)
        row = np.hstack([grey, _painted(grey, labels[case]), _painted(grey, predictions[case])])
        picture = Image.fromarray(row.round().astype(np.uint8))
        picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(
            folder / f"{slices.names[case]}.png"
        )


def _painted(grey: np.ndarray, classes: np.ndarray) -> np.ndarray:
    colours = COLOURS[np.where(classes == 0, 0, (classes.astype(int) - 1) % (len(COLOURS) - 1) + 1)]
    return np.where(classes[..., None] > 0, 0.25 * grey + 0.75 * colours, grey)
