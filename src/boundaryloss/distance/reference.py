"""The definition: exact distance maps in plain PyTorch, on any device.

A squared Euclidean distance separates over the axes, so each axis takes one pass,
`f(i) <- min_j f(j) + cost(i - j)`, here over all offsets `i - j` in turn: O(n) tensor operations a pass
and no clever search. Every kernel is held against this file.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from boundaryloss.distance.checks import differ


def signed_distance(
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: Sequence[float],
    face_offset: float,
    ignore_index: int | None = None,
) -> Tensor:
    """Compute signed maps of classes `first_class..num_classes-1` of label maps `(batch, map, *space)`."""
    classes = torch.arange(first_class, num_classes, device=maps.device).view(-1, *[1] * len(spacing))
    objects = (maps.unsqueeze(2) == classes).flatten(1, 2)
    if ignore_index is not None:
        objects &= differ(maps, ignore_index).repeat_interleave(len(classes), dim=1)
    outside = squared_distance(objects, spacing, face_offset).sqrt()
    inside = squared_distance(~objects, spacing, face_offset).sqrt()
    if face_offset == 0:
        inside = inside - 1
    phi = torch.where(objects, -inside, outside)
    return phi.masked_fill(phi.isinf(), 0).float()  # absent or full: no boundary


def distance_transform(mask: Tensor, spacing: Sequence[float]) -> Tensor:
    """Compute the distance of every True voxel of `(batch, *space)` to the nearest False one."""
    return squared_distance(~mask, spacing, 0.0).sqrt().float()


def squared_distance(sources: Tensor, spacing: Sequence[float], face_offset: float) -> Tensor:
    """Compute the squared distance of every voxel to the nearest source, to its centre or to its faces.

    At `k` voxels along an axis the cost is `(max(|k| - face_offset, 0) * spacing)^2`.
    """
    dtype = torch.float32 if sources.device.type == "mps" else torch.float64
    squared = torch.zeros_like(sources, dtype=dtype).masked_fill(~sources, math.inf)
    for axis, step in zip(range(-len(spacing), 0), spacing, strict=True):
        size = sources.shape[axis]
        nearest = squared.clone()
        for k in range(1, size):
            cost = ((k - face_offset) * step) ** 2
            for target, source in ((k, 0), (0, k)):
                part = nearest.narrow(axis, target, size - k)
                torch.minimum(part, squared.narrow(axis, source, size - k) + cost, out=part)
        squared = nearest
    return squared


def components(masks: Tensor) -> Tensor:
    """Compute the components of bool masks `(batch, class, *space)`, numbered by their first voxel.

    Every voxel takes the lowest number among its neighbours until nothing changes.
    """
    space = masks.shape[2:]
    pool = functional.max_pool2d if len(space) == 2 else functional.max_pool3d
    numbers = -torch.arange(1, math.prod(space) + 1, dtype=torch.float64, device=masks.device).view(space)
    labels = numbers.expand(masks.shape).masked_fill(~masks, -math.inf)
    while True:
        spread = pool(labels, 3, stride=1, padding=1).masked_fill(~masks, -math.inf)
        if torch.equal(spread, labels):
            return (-labels).masked_fill(~masks, 0).int()
        labels = spread
