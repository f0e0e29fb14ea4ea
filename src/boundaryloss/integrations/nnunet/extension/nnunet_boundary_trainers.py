"""All that nnU-Net sees: it puts this folder first on `sys.path`, where another file could hide a package."""

from boundaryloss.integrations.nnunet.trainer import (
    nnUNetTrainerBoundary,
    nnUNetTrainerBoundaryConstant,
    nnUNetTrainerBoundaryRatio,
    nnUNetTrainerBoundaryRebalance,
    nnUNetTrainerBoundaryWarmStart,
)

__all__ = [
    "nnUNetTrainerBoundary",
    "nnUNetTrainerBoundaryConstant",
    "nnUNetTrainerBoundaryRatio",
    "nnUNetTrainerBoundaryRebalance",
    "nnUNetTrainerBoundaryWarmStart",
]
