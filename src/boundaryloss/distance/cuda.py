"""Exact distance maps in Triton: one launch per axis for all images and classes.

**State**: one signed number per voxel and class. The sign is the side of the boundary, positive inside; the
magnitude is the squared distance to the nearest voxel of the other side along the axes done so far. A target
on side `s` sees a source in its column at the height `max(s * state, 0)`, so one rule does both sides:
`squared(i) = min over j of height(j) + cost(i - j)`.

**Search**: a program of one warp owns a tile, `ROWS` targets in each of `LANES` adjacent columns, and reads
the sources in blocks of the same size, the most promising first. The least a block can give is its lowest
height (kept in `bounds` by the pass before) plus the cost of the gap to the tile. When that is no better than
the worst target has, the search is over: empty stretches are never read, dense images end at the neighbours.

With unit spacing all numbers are exact below 2^22, that is to distances of 2048 voxels. Checked on CUDA
(H100, H200); nothing in it is CUDA's own, but ROCm and XPU are untried.
"""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = tl.constexpr(8)
LANES = 32  # wider tiles have looser bounds, narrower ones pay more for each block

_KERNEL_TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def signed_distance(
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: Sequence[float],
    face_offset: float,
    ignore_index: int | None,
) -> tuple[Tensor, Tensor]:
    """Compute signed maps of classes `first_class..num_classes-1` of label maps `(batch, map, *space)`.

    Beside them a scalar on the device: 0 if a label lies outside the classes.
    """
    state, bounds, labels_fit = all_axes_but_first(
        maps, num_classes, first_class, spacing, face_offset, ignore_index
    )
    phi = torch.empty_like(state)
    _pass(state, phi, bounds, state.shape[2:], spacing[0], face_offset, "signed")
    return phi, labels_fit


def distance_transform(mask: Tensor, spacing: Sequence[float]) -> Tensor:
    """Compute the distance of every True voxel of `(batch, *space)` to the nearest False one."""
    state, bounds, _ = all_axes_but_first(mask.unsqueeze(1), 2, 1, spacing, 0.0, None)
    distance = torch.empty_like(state)
    _pass(state, distance, bounds, state.shape[2:], spacing[0], 0.0, "inside")
    return distance.squeeze(1)


def all_axes_but_first(
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: Sequence[float],
    face_offset: float,
    ignore_index: int | None,
    lanes: int = LANES,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the state `(batch, map * class, *space)` of all axes but one; its bounds; whether labels fit."""
    maps = maps.contiguous()
    if maps.dtype == torch.bool:
        maps = maps.view(torch.uint8)
    elif maps.dtype not in _KERNEL_TYPES:
        maps = maps.long()
    batch, channels, *slices, height, width = maps.shape
    classes = num_classes - first_class
    state = maps.new_empty((batch, channels * classes, *maps.shape[2:]), dtype=torch.float32)
    bounds = _new_bounds(state, height, lanes)
    labels_fit = torch.ones((), dtype=torch.int32, device=maps.device)
    padded = max(triton.next_power_of_2(width), lanes)
    with torch.cuda.device_of(maps):
        _first_pass[(maps.numel() // width,)](
            maps,
            state,
            bounds,
            bounds.stride(0),
            labels_fit,
            math.prod(slices),
            height,
            width,
            first_class,
            num_classes,
            0 if ignore_index is None else ignore_index,
            spacing[-1],
            face_offset,
            IGNORES=ignore_index is not None,
            LANES=lanes,
            PADDED=padded,
            num_warps=min(max(padded // 512, 1), 16),
        )
    if slices:
        rows, row_bounds, state = state, bounds, torch.empty_like(state)
        bounds = _new_bounds(state, slices[0], lanes)
        _pass(rows, state, row_bounds, (height, width), spacing[1], face_offset, "state", bounds, lanes)
    return state, bounds, labels_fit


def _new_bounds(state: Tensor, size: int, lanes: int) -> Tensor:
    """Return `(side, column of lanes, block)` for the columns along an axis of `size`."""
    width = state.shape[-1]
    columns = state.numel() // (size * width) * triton.cdiv(width, lanes)
    return state.new_full((2, columns, triton.cdiv(size, ROWS.value)), math.inf)


def _pass(
    state: Tensor,
    result: Tensor,
    bounds: Tensor,
    axes: Sequence[int],
    step: float,
    face_offset: float,
    goal: str,
    next_bounds: Tensor | None = None,
    lanes: int = LANES,
) -> None:
    """Search along the first of the last `axes` of `state`, whose spacing is `step`."""
    size, *between, width = axes
    with torch.cuda.device_of(state):
        _search_pass[(bounds[0].numel(),)](
            state,
            result,
            bounds,
            bounds.stride(0),
            bounds if next_bounds is None else next_bounds,
            0 if next_bounds is None else next_bounds.stride(0),
            size,
            math.prod(between),
            width,
            state.shape[2],
            step,
            face_offset,
            GOAL=goal,
            LANES=lanes,
            BLOCKS=triton.next_power_of_2(bounds.shape[2]),
            num_warps=1,
        )


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def _smaller(a, b):
    return tl.minimum(a, b)


@triton.jit
def _cost(offset, step, face_offset):
    along = tl.maximum(tl.abs(offset) - face_offset, 0.0) * step
    return along * along


# Of the sizes, Triton is to look at none but this width: for whole vectors, it is worth a kernel of its own.
@triton.jit(
    do_not_specialize=["bounds_stride", "slices", "height", "first_class", "num_classes", "ignore_index"]
)
def _first_pass(
    maps,
    state,
    bounds,
    bounds_stride,
    labels_fit,
    slices,
    height,
    width,
    first_class,
    num_classes,
    ignore_index,
    step,
    face_offset,
    IGNORES: tl.constexpr,
    LANES: tl.constexpr,
    PADDED: tl.constexpr,
):
    """Measure along the contiguous axis, to the ends of each run. A program does a row, all classes."""
    row = tl.program_id(0) % height
    slice_ = tl.program_id(0) // height % slices
    label_map = (tl.program_id(0) // height // slices).to(tl.int64)
    x = tl.arange(0, PADDED)
    image, not_first, not_last = x < width, (x > 0) & (x < width), x < width - 1
    source = maps + ((label_map * slices + slice_) * height + row) * width + x
    label = tl.load(source, mask=image, other=0)
    left = tl.load(source - 1, mask=not_first, other=0)
    right = tl.load(source + 1, mask=not_last, other=0)

    misfit = image & ((label < 0) | (label >= num_classes))
    if IGNORES:
        misfit = misfit & (label != ignore_index)
    tl.store(labels_fit, 0, mask=tl.max(misfit.to(tl.int32), 0) > 0)

    far = float("inf")
    position = x.to(tl.float32)
    strips = tl.cdiv(width, LANES)
    strip = tl.arange(0, PADDED // LANES)
    for c in range(first_class, num_classes):
        inside, inside_left, inside_right = label == c, left == c, right == c
        if IGNORES:
            counts = c != ignore_index
            inside, inside_left, inside_right = inside & counts, inside_left & counts, inside_right & counts
        starts = tl.where(not_first & (inside != inside_left), position, -far)
        ends = tl.where(not_last & (inside != inside_right), position, far)
        start = tl.associative_scan(starts, 0, _larger)
        end = tl.associative_scan(ends, 0, _smaller, reverse=True)
        squared = _cost(tl.minimum(position - start, end - position) + 1, step, face_offset)
        plane = (label_map * (num_classes - first_class) + c - first_class) * slices + slice_
        signed = tl.where(inside, squared, -squared)
        tl.store(state + (plane * height + row) * width + x, signed, mask=image)
        entry = bounds + (plane * strips + strip) * tl.cdiv(height, ROWS) + row // ROWS
        for side in tl.static_range(2):
            heights = tl.where(image, tl.where(inside == (side == 0), squared, 0.0), far)
            lowest = tl.min(tl.reshape(heights, (PADDED // LANES, LANES)), 1)
            tl.atomic_min(entry + side * bounds_stride, lowest, mask=strip < strips)


@triton.jit(do_not_specialize=["bounds_stride", "next_bounds_stride", "size", "between", "width", "slices"])
def _search_pass(
    state,
    result,
    bounds,
    bounds_stride,
    next_bounds,
    next_bounds_stride,
    size,
    between,
    width,
    slices,
    step,
    face_offset,
    GOAL: tl.constexpr,
    LANES: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Search along an axis of `size` with `between * width` voxels from row to row. A program does a tile.

    `GOAL` is "state", with the bounds for the next axis (of `slices`), "signed" for the signed map, or
    "inside" for the distance of the voxels inside alone.
    """
    column = tl.program_id(0) // tl.cdiv(size, ROWS)
    block = tl.program_id(0) % tl.cdiv(size, ROWS)
    inside, outside, here, image = squared_distances(
        state, bounds, bounds_stride, column, block, size, between, width, step, face_offset,
        GOAL != "inside", LANES, BLOCKS,
    )  # fmt: skip
    if GOAL == "state":
        tl.store(result + here, inside - outside, mask=image)
        strips = tl.cdiv(width, LANES)
        line, strip = column // strips, column % strips
        rows = block * ROWS + tl.arange(0, ROWS)
        next_column = ((line // slices).to(tl.int64) * size + rows) * strips + strip
        entry = next_bounds + next_column * tl.cdiv(slices, ROWS) + line % slices // ROWS
        for side in tl.static_range(2):
            lowest = tl.min(tl.where(image, inside if side == 0 else outside, float("inf")), 1)
            tl.atomic_min(entry + side * next_bounds_stride, lowest, mask=rows < size)
    elif GOAL == "signed":
        tl.store(result + here, signed_root(inside, outside, face_offset), mask=image)
    else:
        tl.store(result + here, tl.sqrt_rn(inside), mask=image)


@triton.jit
def squared_distances(
    state,
    bounds,
    bounds_stride,
    column,
    block,
    size,
    between,
    width,
    step,
    face_offset,
    BOTH: tl.constexpr,
    LANES: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Return squared distances inside and outside, offsets, and the in-image mask.

    Without `BOTH` the voxels outside keep what they have.
    """
    strips = tl.cdiv(width, LANES)
    line = column // strips
    stride = between * width
    rows = block * ROWS + tl.arange(0, ROWS)[:, None]
    lanes = column % strips * LANES + tl.arange(0, LANES)[None, :]
    top = (line // between).to(tl.int64) * size * stride + line % between * width
    columns = state + top + tl.minimum(lanes, width - 1)  # beyond the image: its last column once more
    own = tl.load(columns + tl.minimum(rows, size - 1).to(tl.int64) * stride)
    least = bounds + column.to(tl.int64) * tl.cdiv(size, ROWS)
    inside = _search(own, columns, least, block, size, stride, step, face_offset, 1, BLOCKS)
    if BOTH:
        least += bounds_stride
        outside = _search(own, columns, least, block, size, stride, step, face_offset, -1, BLOCKS)
    else:
        outside = tl.maximum(-own, 0.0)
    here = top + rows.to(tl.int64) * stride + lanes
    return inside, outside, here, (rows < size) & (lanes < width)


@triton.jit
def _search(
    own, columns, least, block, size, stride, step, face_offset, SIDE: tl.constexpr, BLOCKS: tl.constexpr
):
    """Return the squared distances of the targets on one side; 0 on the other."""
    blocks = tl.arange(0, BLOCKS)
    gap = tl.maximum(tl.abs(blocks - block) * ROWS - (ROWS - 1), 0).to(tl.float32)
    promise = tl.load(least + blocks, mask=blocks * ROWS < size, other=float("inf"))
    promise += _cost(gap, step, face_offset)
    best = tl.maximum(SIDE * own, 0.0)
    rows = tl.arange(0, ROWS)[:, None]
    while tl.min(promise, 0) < tl.max(tl.max(best, 0), 0):
        source = tl.argmin(promise, 0)
        promise = tl.where(blocks == source, float("inf"), promise)
        ahead = ((block - source) * ROWS).to(tl.float32)
        for j in tl.static_range(ROWS):  # unrolled, so that the costs of equal offsets are worked out once
            row = tl.minimum(source * ROWS + j, size - 1)  # the last row again, at too high a cost: harmless
            height = tl.maximum(SIDE * tl.load(columns + row.to(tl.int64) * stride), 0.0)
            best = tl.minimum(best, height + _cost(ahead + (rows - j).to(tl.float32), step, face_offset))
    return best


@triton.jit
def signed_root(inside, outside, face_offset):
    """Return the signed distance; 0 without a boundary. Between centres (no face offset) one less inside."""
    phi = tl.sqrt_rn(outside) - tl.sqrt_rn(inside)
    phi = tl.where((inside > 0) & (face_offset == 0), phi + 1, phi)
    return tl.where(tl.abs(phi) == float("inf"), 0.0, phi)
