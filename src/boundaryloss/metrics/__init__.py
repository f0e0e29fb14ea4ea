"""Two masks -> the distances between their contours: HD95, ASSD, NSD and their kin, exact, on any device."""

from boundaryloss.metrics.distances import ContourDistances, contour_distances

__all__ = ["ContourDistances", "contour_distances"]
