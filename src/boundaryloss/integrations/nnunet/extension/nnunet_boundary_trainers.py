"""All that nnU-Net sees: it puts this folder first on `sys.path`, where another file could hide a package."""

from boundaryloss.integrations.nnunet.trainer import (
    nnUNetTrainerBoundary,
    nnUNetTrainerBoundaryRatio,
    nnUNetTrainerBoundaryConstant,
    nnUNetTrainerBoundaryRebalance,
)

__all__ = [
    "nnUNetTrainerBoundary",
    "nnUNetTrainerBoundaryRatio",
    "nnUNetTrainerBoundaryConstant",
    "nnUNetTrainerBoundaryRebalance",
]
