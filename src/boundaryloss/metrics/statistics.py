"""Distances with areas, and the numbers that sum them up."""

from dataclasses import dataclass
from math import ceil, floor

import torch
from torch import Tensor

# What a product of floats may be too large by: a distance equal to the tolerance is within it.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Distances:
    """The distances of the points of one contour to the other, ascending, and the area of each."""

    values: Tensor
    areas: Tensor

    @classmethod
    def of(cls, values: Tensor, areas: Tensor) -> "Distances":
        """Sort by distance."""
        values, order = values.to(areas.dtype).sort()
        return cls(values, areas[order])

    def __add__(self, other: "Distances") -> "Distances":
        """Return the statistics of both contours together."""
        return self.of(torch.cat((self.values, other.values)), torch.cat((self.areas, other.areas)))

    def area(self) -> float:
        """Return the area of the contour."""
        return float(self.areas.sum())

    def largest(self) -> float:
        """Return the largest distance."""
        return float(self.values[-1])

    def mean(self) -> float:
        """Return the mean over the area."""
        return float((self.values * self.areas).sum() / self.areas.sum())

    def share_within(self, tolerance: float) -> float:
        """Return the share of the area that is no farther than `tolerance`."""
        near = self.values <= tolerance * (1 + ROUNDING)
        return float(self.areas[near].sum() / self.areas.sum())

    def percentile(self, percentile: float, *, interpolated: bool) -> float:
        """Return the distance that `percentile` % of the area is not beyond.

        `interpolated` is for areas of 1, and does as NumPy does: linearly between the two points at whose
        ranks the percentile lies.
        """
        below = self.areas.cumsum(0)
        if not interpolated:
            # What rounding has left of a sum of areas must not choose the next distance.
            share = below[-1:] * (percentile / 100 * (1 - 1e-8))
            return float(self.values[torch.searchsorted(below, share).clamp_max(len(below) - 1)])
        rank = (float(below[-1]) - 1) * percentile / 100
        ranks = below.new_tensor([floor(rank), ceil(rank)])
        low, high = self.values[torch.searchsorted(below, ranks, right=True)].tolist()
        return low + (high - low) * (rank - floor(rank))


@dataclass(frozen=True)
class Comparison:
    """What is measured of two masks; where one is empty, distances to it are infinite.

    The bands are the voxels within the tolerance of their own mask's contour: those in both, those in any.
    """

    to_truth: Distances
    to_prediction: Distances
    band_shared: int
    band_either: int
