"""The definition: exact distance maps in plain PyTorch, on any device.

A squared Euclidean distance separates over the axes, so each axis takes one pass,
`f(i) <- min_j f(j) + cost(i - j)`, here over all offsets `i - j` in turn: O(n) tensor operations a pass
and no clever search. Every kernel is held against this file, and it serves where there is none.
"""

import math
from collections.abc import Sequence
from itertools import product
from operator import mul

import torch
from torch import Tensor
from torch.nn import functional

from boundaryloss.distance.checks import differ

AT_ONCE = 2**18  # floats in a tensor: few enough for the cache, enough for the time a call takes


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
    outside = _root(squared_distance(objects, spacing, face_offset))
    inside = _root(squared_distance(~objects, spacing, face_offset))
    if face_offset == 0:
        inside = inside - 1
    phi = torch.where(objects, -inside, outside)
    return phi.masked_fill(phi.isinf(), 0).float()  # absent or full: no boundary


def distance_transform(mask: Tensor, spacing: Sequence[float]) -> Tensor:
    """Compute the distance of every True voxel of `(batch, *space)` to the nearest False one."""
    return _root(squared_distance(~mask, spacing, 0.0)).float()


def _root(squared: Tensor) -> Tensor:
    """Return the square root, rounded once where a device has float64: PyTorch's of float32 is not exact."""
    return squared.sqrt() if squared.device.type == "mps" else squared.double().sqrt()


def squared_distance(sources: Tensor, spacing: Sequence[float], face_offset: float) -> Tensor:
    """Compute the squared distance of every voxel to the nearest source, to its centre or to its faces.

    At `k` voxels along an axis the cost is `(max(|k| - face_offset, 0) * spacing)^2`. Along the first axis
    there is nothing to add it to: the nearest source counts.
    """
    (first, *others), (step, *steps) = range(-len(spacing), 0), spacing
    voxels = (_voxels_to_a_source(sources.movedim(first, 0)) - face_offset).clamp(min=0)
    squared = ((voxels * step) ** 2).movedim(0, first)
    for axis, step in zip(others, steps, strict=True):
        lines = squared.movedim(axis, 0)
        columns = lines.flatten(1)
        reached = columns.isfinite().any(0).nonzero()[:, 0]
        for some in reached.split(max(1, AT_ONCE // len(columns))) if len(reached) else ():
            columns[:, some] = _cheapest(columns[:, some], step, face_offset)
        squared = columns.view(lines.shape).movedim(0, axis)
    return squared


def _voxels_to_a_source(sources: Tensor) -> Tensor:
    """Count the voxels to the nearest source along axis 0: those within 1, 2, 4, .. more hear of it."""
    voxels = torch.zeros_like(sources, dtype=torch.float32).masked_fill(~sources, math.inf)
    step = 1
    while step < len(voxels):
        before, after = voxels[:-step] + step, voxels[step:] + step
        torch.minimum(voxels[step:], before, out=voxels[step:])
        torch.minimum(voxels[:-step], after, out=voxels[:-step])
        step *= 2
    return voxels


def _cheapest(squared: Tensor, step: float, face_offset: float) -> Tensor:
    """Compute `min_j squared(j) + cost(i - j)` along axis 0, for offsets that can lower it."""
    nearest, candidates = squared.clone(), torch.empty_like(squared)
    for k in range(1, len(squared)):
        cost = ((k - face_offset) * step) ** 2
        if k % 4 == 1 and cost >= nearest.max():
            break
        torch.add(squared, cost, out=candidates)
        torch.minimum(nearest[k:], candidates[:-k], out=nearest[k:])
        torch.minimum(nearest[:-k], candidates[k:], out=nearest[:-k])
    return nearest


def components(masks: Tensor) -> Tensor:
    """Compute the components of bool masks `(batch, class, *space)`, numbered by their first voxel.

    Voxels are joined along the edges between neighbours: the root of the one joins that of the other, the
    lower one, until no edge has two roots.
    """
    space = masks.shape[2:]
    padded = functional.pad(masks, (1, 1) * len(space)).contiguous()  # so that all have neighbours
    inside, voxels = padded.flatten(), padded.flatten().nonzero()[:, 0]
    own = torch.arange(len(voxels), device=masks.device)
    index = torch.zeros_like(inside, dtype=torch.long).index_put_((voxels,), own)
    edges = []
    for offset in product((-1, 0, 1), repeat=len(space)):
        if offset < (0,) * len(space):  # the other half of the neighbours has the same edges
            neighbours = voxels + sum(map(mul, offset, padded.stride()[2:]))
            there = inside[neighbours]
            edges.append(torch.stack((index[neighbours[there]], own[there])))
    ends, roots = torch.cat(edges, dim=1), own.clone()
    while (ends := roots[ends][:, roots[ends[0]] != roots[ends[1]]]).numel():
        roots.scatter_reduce_(0, ends.amax(0), ends.amin(0), "amin")
        while not torch.equal(roots, further := roots[roots]):
            roots = further
    first = masks.flatten(2).nonzero()[:, 2][roots]
    return first.new_zeros(masks.shape, dtype=torch.int32).masked_scatter_(masks, (first + 1).int())


def component_factors(sizes: Tensor, numbers: Tensor, most: float) -> Tensor:
    """Return factors that give the `components` of a class the same total size, from `1 / most` to `most`.

    They are 1 outside, which has number 0. No shape depends on what is inside.
    """
    voxels = math.prod(sizes.shape[2:])
    inside, own = numbers > 0, torch.arange(sizes.numel(), device=sizes.device).view_as(sizes)
    # The outside of a map adds nothing, each voxel at its own place: at one place they would queue on a GPU.
    place = torch.where(inside, own - own % voxels + numbers - 1, own).flatten()
    inner = torch.where(inside, sizes, 0).flatten().double()
    totals = torch.zeros_like(inner).index_add_(0, place, inner).view(*sizes.shape[:2], voxels)
    count = (totals > 0).sum((0, 2), keepdim=True).clamp(min=1)
    factors = (totals.sum((0, 2), keepdim=True) / count / totals).clamp(1 / most, most).float()
    return torch.where(inside, factors.flatten()[place].view_as(sizes), 1)
