"""Distances between the surfaces of two masks; the one place that asks MONAI for them."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance
from scipy import ndimage


def surface_metrics(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float
) -> tuple[float, float, float]:
    """Return HD95, ASSD and NSD of two non-empty masks, by MONAI.

    Surfaces are voxels with a face on the background or on the edge of the image; each directed distance of
    HD95 is a percentile of its own, and the larger one counts.
    """
    box = ndimage.find_objects((prediction | truth).astype(np.uint8))[0]  # elsewhere there is no surface
    p, t = (
        torch.from_numpy(np.ascontiguousarray(np.pad(mask[box], 1)))[None, None]
        for mask in (prediction, truth)
    )
    options: Any = {"include_background": True, "spacing": [float(step) for step in spacing]}
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "monai.metrics.utils get_mask_edges", FutureWarning
        )  # MONAI's own call
        hausdorff = compute_hausdorff_distance(p, t, percentile=95, **options)
        average = compute_average_surface_distance(p, t, symmetric=True, **options)
        surface_dice = compute_surface_dice(p, t, class_thresholds=[tolerance], **options)
    return float(hausdorff), float(average), float(surface_dice)
