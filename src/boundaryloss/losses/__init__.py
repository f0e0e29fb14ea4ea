"""Logits or probabilities x target -> scalar."""

from boundaryloss.losses.boundary import BoundaryLoss
from boundaryloss.losses.combined import RegionBoundaryLoss
from boundaryloss.losses.functional import boundary_loss
from boundaryloss.losses.log import LogBoundaryLoss

__all__ = ["BoundaryLoss", "LogBoundaryLoss", "RegionBoundaryLoss", "boundary_loss"]
