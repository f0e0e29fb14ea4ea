"""MONAI's manner: losses and metrics with its arguments, transforms that keep metadata."""

from boundaryloss.extras import require

require("train", __name__, "monai")

from boundaryloss.integrations.monai.losses import BoundaryLoss, DiceCEBoundaryLoss
from boundaryloss.integrations.monai.metrics import (
    HausdorffDistanceMetric,
    SurfaceDiceMetric,
    SurfaceDistanceMetric,
)
from boundaryloss.integrations.monai.transforms import (
    SignedDistanceMap,
    SignedDistanceMapD,
    SignedDistanceMapd,
    SignedDistanceMapDict,
)

__all__ = [
    "BoundaryLoss",
    "DiceCEBoundaryLoss",
    "HausdorffDistanceMetric",
    "SignedDistanceMap",
    "SignedDistanceMapD",
    "SignedDistanceMapDict",
    "SignedDistanceMapd",
    "SurfaceDiceMetric",
    "SurfaceDistanceMetric",
]
