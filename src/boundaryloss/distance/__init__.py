"""Labels -> signed distance map: exact, in 2-D and 3-D, on the device the labels are on."""

from boundaryloss.distance.signed import distance_transform, signed_distance_map

__all__ = ["distance_transform", "signed_distance_map"]
