"""Pictures of a run's test: image, truth and prediction side by side."""

from pathlib import Path

import numpy as np
from PIL import Image

from boundaryloss.files import atomic_write, fullest_slice
from boundaryloss.training.data.rundata import RunData

COUNT = 4
COLOURS = np.array([[0, 0, 0], [255, 176, 0], [0, 176, 246], [234, 85, 133], [120, 200, 90], [150, 120, 255]])


def shown_names(data: RunData) -> set[str]:
    """Choose a few test cases, spread evenly over those that hold an object, whatever the result."""
    filled = data.filled or data.test.names
    return {filled[index] for index in np.linspace(0, len(filled) - 1, COUNT).round().astype(int)}


def write_picture(path: Path, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> None:
    """Write one picture of a case, image (C, *space); of a volume, the slice that holds most of the truth."""
    if truth.ndim == 3:
        index = fullest_slice(truth)
        image, truth, prediction = (
            np.rot90(a[..., index], axes=(-2, -1)) for a in (image, truth, prediction)
        )
    grey = np.repeat(image[:1].clip(0, 1).transpose(1, 2, 0) * 255, 3, axis=2)
    row = np.hstack([grey, _painted(grey, truth), _painted(grey, prediction)])
    picture = Image.fromarray(row.round().astype(np.uint8))
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path, "picture") as file:
        picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(
            file, format="PNG"
        )


def _painted(grey: np.ndarray, classes: np.ndarray) -> np.ndarray:
    colours = COLOURS[np.where(classes == 0, 0, (classes.astype(int) - 1) % (len(COLOURS) - 1) + 1)]
    return np.where(classes[..., None] > 0, 0.25 * grey + 0.75 * colours, grey)
