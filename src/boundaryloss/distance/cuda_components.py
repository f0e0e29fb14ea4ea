"""Connected components in Triton: a forest over the voxels, three launches for all images and classes.

**Forest**: a voxel of a mask points to an earlier voxel of its component, or to itself. First to the start
of its run in the row. Then every row meets its earlier neighbours: roots that touch are united by
`atomic_min`, so that a voxel only ever points ahead of itself and the root that is left is the first voxel of
the component. Last, every voxel walks to its root.

A root that another program united first is no root any more: `atomic_min` returns what it points to, which
is earlier, and the union goes on from there. So the loops end, and no order of the programs changes a result.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from boundaryloss.distance.cuda import _larger


def components(masks: Tensor) -> Tensor:
    """Compute the components of bool masks `(batch, class, *space)`, numbered by their first voxel."""
    masks = masks.contiguous().view(torch.uint8)
    parents, labels = (torch.empty_like(masks, dtype=torch.int32) for _ in range(2))
    if masks.numel() == 0:
        return labels
    *slices, height, width = masks.shape[2:]
    padded = triton.next_power_of_2(width)
    grid, warps = (masks.numel() // width,), min(max(padded // 256, 1), 8)
    with torch.cuda.device_of(masks):
        _start[grid](masks, parents, math.prod(slices) * height, width, PADDED=padded, num_warps=warps)
        _unite[grid](
            masks, parents, math.prod(slices), height, width, PADDED=padded, VOLUME=bool(slices),
            num_warps=warps,
        )  # fmt: skip
        _finish[grid](
            masks, parents, labels, math.prod(slices) * height, width, PADDED=padded, num_warps=warps
        )
    return labels


@triton.jit(do_not_specialize=["rows"])
def _start(masks, parents, rows, width, PADDED: tl.constexpr):
    """Point every voxel of a row to the start of its run. A program does a row."""
    row = tl.program_id(0)
    x = tl.arange(0, PADDED)
    here = row.to(tl.int64) * width + x
    inside = tl.load(masks + here, mask=x < width, other=0) != 0
    left = tl.load(masks + here - 1, mask=(x > 0) & (x < width), other=0) != 0
    start = tl.associative_scan(tl.where(inside & (left == 0), x, 0), 0, _larger)
    tl.store(parents + here, row % rows * width + start, mask=inside)


@triton.jit(do_not_specialize=["slices", "height"])
def _unite(masks, parents, slices, height, width, PADDED: tl.constexpr, VOLUME: tl.constexpr):
    """Unite the runs of a row with those of the rows before it that touch it. A program does a row."""
    row = tl.program_id(0) % height
    slice_ = tl.program_id(0) // height % slices
    image = (tl.program_id(0) // height // slices).to(tl.int64) * slices * height * width
    own = (slice_ * height + row) * width
    _unite_rows(masks + image, parents + image, own, own - width, row > 0, width, PADDED)
    if VOLUME:
        above = own - height * width
        for step in tl.static_range(-1, 2):
            there = (slice_ > 0) & (row + step >= 0) & (row + step < height)
            _unite_rows(masks + image, parents + image, own, above + step * width, there, width, PADDED)


@triton.jit
def _unite_rows(mask, parent, own, other, there, width, PADDED: tl.constexpr):
    """Unite what touches in the rows that begin at `own` and `other`, once for each stretch of contact."""
    x = tl.arange(0, PADDED)
    image = (x < width) & there
    inside = tl.load(mask + own + x, mask=image, other=0) != 0
    left = tl.load(mask + own + x - 1, mask=image & (x > 0), other=0) != 0
    right = tl.load(mask + own + x + 1, mask=image & (x < width - 1), other=0) != 0
    facing = tl.load(mask + other + x, mask=image, other=0) != 0
    before = tl.load(mask + other + x - 1, mask=image & (x > 0), other=0) != 0
    after = tl.load(mask + other + x + 1, mask=image & (x < width - 1), other=0) != 0
    first = (left == 0) | (before == 0)  # of a stretch in which both rows are inside
    _unite_pairs(parent, own + x, other + x, inside & facing & first)
    # At a corner only: what faces either voxel is outside.
    _unite_pairs(parent, own + x, other + x - 1, inside & before & (facing == 0) & (left == 0))
    _unite_pairs(parent, own + x, other + x + 1, inside & after & (facing == 0) & (right == 0))


@triton.jit
def _unite_pairs(parent, a, b, wanted):
    """Unite the components of the voxels `a` and `b` where `wanted`."""
    active = wanted
    while tl.max(active.to(tl.int32), 0) > 0:
        a, b = _root(parent, a, active), _root(parent, b, active)
        later, earlier = tl.maximum(a, b), tl.minimum(a, b)
        active = active & (later != earlier)
        found = tl.atomic_min(parent + later, earlier, mask=active)
        active = active & (found != later)
        a, b = tl.where(active, found, a), tl.where(active, earlier, b)


@triton.jit
def _root(parent, voxel, active):
    up = tl.load(parent + voxel, mask=active, other=0)
    up = tl.where(active, up, voxel)
    while tl.max((up != voxel).to(tl.int32), 0) > 0:
        voxel = up
        up = tl.where(active, tl.load(parent + voxel, mask=active, other=0), voxel)
    return voxel


@triton.jit(do_not_specialize=["rows"])
def _finish(masks, parents, labels, rows, width, PADDED: tl.constexpr):
    """Write the number of every voxel's root. A program does a row."""
    row = tl.program_id(0)
    x = tl.arange(0, PADDED)
    here = row.to(tl.int64) * width + x
    image = x < width
    inside = tl.load(masks + here, mask=image, other=0) != 0
    forest = parents + (row // rows).to(tl.int64) * rows * width
    root = _root(forest, row % rows * width + x, inside)
    tl.store(labels + here, tl.where(inside, root + 1, 0), mask=image)
