"""Lesions found and false lesions at every threshold: a better network, or only a bolder one?"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from boundaryloss.training.metrics import Row

LOGITS = np.linspace(
    -6, 6, 25
)  # networks are sure of themselves: even steps of probability would miss it all
THRESHOLDS = tuple((1 / (1 + np.exp(-LOGITS))).round(4).tolist())


def operating_points(
    probabilities: np.ndarray, truth: np.ndarray, *, name: str, label_values: Sequence[int]
) -> list[Row]:
    """Count per class and threshold, in one case; lesions are components, as in `case_metrics`.

    Args:
        probabilities: (class, *space).
        truth: Class indices (*space).
        name: Of the case.
        label_values: The file value of each class.

    Returns:
        One row per foreground class and threshold: ``name``, ``label``, ``threshold``, ``lesions``, and of
        the voxels whose probability exceeds the threshold ``lesions_found``, ``false_lesions`` and ``dice``,
        which is nan where there is nothing to find.
    """
    full = np.ones((3,) * truth.ndim)
    rows = []
    for index, label in enumerate(label_values[1:], start=1):
        probability = probabilities[index]
        wanted = truth == index
        components, lesions = ndimage.label(wanted, full)  # pyright: ignore[reportGeneralTypeIssues]
        peaks = np.array(ndimage.maximum(probability, components, range(1, lesions + 1)))
        for threshold in THRESHOLDS:
            predicted = probability > threshold
            found, count = ndimage.label(predicted, full)  # pyright: ignore[reportGeneralTypeIssues]
            overlap = predicted & wanted
            size = predicted.sum() + wanted.sum()
            rows.append(
                {
                    "name": name,
                    "label": label,
                    "threshold": threshold,
                    "lesions": lesions,
                    "lesions_found": int((peaks > threshold).sum()),
                    "false_lesions": count - len(np.unique(found[overlap])),
                    "dice": 2 * overlap.sum() / size if wanted.any() else np.nan,
                }
            )
    return rows
