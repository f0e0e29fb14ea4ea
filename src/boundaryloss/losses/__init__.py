"""Probabilities x signed distance map -> scalar."""

from boundaryloss.losses.boundary import BoundaryLoss, boundary_loss
from boundaryloss.losses.combined import RegionBoundaryLoss

__all__ = ["BoundaryLoss", "RegionBoundaryLoss", "boundary_loss"]
