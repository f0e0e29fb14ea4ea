"""Probabilities x signed distance map -> scalar."""

from boundaryloss.losses.boundary import BoundaryLoss, boundary_loss
from boundaryloss.losses.combined import RegionBoundaryLoss
from boundaryloss.losses.log import LogBoundaryLoss

__all__ = ["BoundaryLoss", "LogBoundaryLoss", "RegionBoundaryLoss", "boundary_loss"]
