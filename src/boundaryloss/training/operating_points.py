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
        One row per foreground class and threshold: ``name``, ``label``, ``threshold``, ``lesions``,
        ``lesions_found`` and ``false_lesions`` of the voxels whose probability exceeds the threshold.
    """
    full = np.ones((3,) * truth.ndim)
    rows = []
    for index, label in enumerate(label_values[1:], start=1):
        probability = probabilities[index]
        components, lesions = ndimage.label(truth == index, full)  # pyright: ignore[reportGeneralTypeIssues]
        peaks = np.array(ndimage.maximum(probability, components, range(1, lesions + 1)))
        for threshold in THRESHOLDS:
            predicted = probability > threshold
            found, count = ndimage.label(predicted, full)  # pyright: ignore[reportGeneralTypeIssues]
            true = len(np.unique(found[predicted & (components > 0)]))
            rows.append(
                {
                    "name": name,
                    "label": label,
                    "threshold": threshold,
                    "lesions": lesions,
                    "lesions_found": int((peaks > threshold).sum()),
                    "false_lesions": count - true,
                }
            )
    return rows
