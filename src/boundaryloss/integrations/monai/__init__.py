"""The boundary loss in MONAI's manner: losses with its arguments, transforms that keep metadata."""

from boundaryloss.extras import require

require("train", __name__, "monai")

from boundaryloss.integrations.monai.losses import BoundaryLoss, DiceCEBoundaryLoss
from boundaryloss.integrations.monai.transforms import (
    SignedDistanceMap,
    SignedDistanceMapD,
    SignedDistanceMapd,
    SignedDistanceMapDict,
)

__all__ = [
    "BoundaryLoss",
    "DiceCEBoundaryLoss",
    "SignedDistanceMap",
    "SignedDistanceMapD",
    "SignedDistanceMapDict",
    "SignedDistanceMapd",
]
