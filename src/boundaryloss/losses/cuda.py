"""The boundary loss and its gradient in Triton, in the last pass of the distance maps: no map in memory."""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from boundaryloss.distance.cuda import LANES, ROWS, all_axes_but_first, signed_root, squared_distances


def boundary_loss(
    logits: Tensor,
    maps: Tensor,
    gradient: Tensor,
    num_classes: int,
    first_class: int,
    spacing: Sequence[float],
    face_offset: float,
    softmax: bool,
    as_distance: bool,
) -> tuple[Tensor, Tensor]:
    """Write `gradient`; return the sum of probability times signed distance, and 0 if a label fits no class.

    The maps, as `distance.cuda.signed_distance` takes them, belong to the last channels of `logits`
    `(batch, channel, *space)`; a channel before them counts in the softmax alone.
    """
    channels = logits.shape[1]
    size, *between, width = logits.shape[2:]
    padded = triton.next_power_of_2(channels)
    lanes = LANES if padded <= 4 else LANES // 2  # the maps of all classes of a tile stay in registers
    state, bounds, labels_fit = all_axes_but_first(
        maps, num_classes, first_class, spacing, face_offset, None, lanes
    )
    if logits.stride() != gradient.stride():
        logits = torch.empty_like(logits).copy_(logits)
    stride = list(logits.stride())
    if not between:
        stride.insert(3, 0)
    mapped = state.shape[1]
    tiles = state.new_empty(bounds[0].numel() // mapped)
    with torch.cuda.device_of(logits):
        _last_pass[(tiles.numel(),)](
            logits,
            gradient,
            tiles,
            *stride,
            state,
            bounds,
            bounds.stride(0),
            channels,
            mapped,
            size,
            math.prod(between),
            width,
            spacing[0],
            face_offset,
            SOFTMAX=softmax,
            AS_DISTANCE=as_distance,
            CHANNELS=padded,
            LANES=lanes,
            BLOCKS=triton.next_power_of_2(bounds.shape[2]),
            num_warps=1,
        )
    return tiles.sum(), labels_fit


def scale(gradient: Tensor, factor: Tensor, result: Tensor) -> Tensor:
    """Write `gradient` times a scalar on the device, multiplied in float32, to `result`, and return that."""
    with torch.cuda.device_of(gradient):
        _scale[(triton.cdiv(gradient.numel(), 1024),)](
            gradient, factor, result, gradient.numel(), BLOCK=1024, num_warps=4
        )
    return result


_SIZES = ["bounds_stride", "channels", "mapped", "size", "between", "width"]
_STRIDES = ["stride_image", "stride_channel", "stride_size", "stride_between", "stride_width"]


@triton.jit(do_not_specialize=_SIZES + _STRIDES)
def _last_pass(
    logits,
    gradient,
    tiles,
    stride_image,
    stride_channel,
    stride_size,
    stride_between,
    stride_width,
    state,
    bounds,
    bounds_stride,
    channels,
    mapped,
    size,
    between,
    width,
    step,
    face_offset,
    SOFTMAX: tl.constexpr,
    AS_DISTANCE: tl.constexpr,
    CHANNELS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Compute a tile of one image in all its classes: their maps, the products and the gradient."""
    strips = tl.cdiv(width, LANES)
    blocks = tl.cdiv(size, ROWS)
    columns = between * strips  # of one map
    block = tl.program_id(0) % blocks
    column = tl.program_id(0) // blocks % columns
    image = tl.program_id(0) // blocks // columns

    channel = tl.arange(0, CHANNELS)[:, None, None]
    phi = tl.zeros((CHANNELS, ROWS, LANES), tl.float32)
    for c in range(mapped):
        inside, outside, _, _ = squared_distances(
            state, bounds, bounds_stride, (image * mapped + c) * columns + column, block,
            size, between, width, step, face_offset, True, LANES, BLOCKS,
        )  # fmt: skip
        of_class = signed_root(inside, outside, face_offset)[None, :, :]
        phi = tl.where(channel == c + channels - mapped, of_class, phi)

    row = (block * ROWS + tl.arange(0, ROWS)).to(tl.int64)[None, :, None]
    x = (column % strips * LANES + tl.arange(0, LANES))[None, None, :]
    top = image.to(tl.int64) * stride_image + (column // strips).to(tl.int64) * stride_between
    # Beyond the image and the channels: the last ones once more.
    nearest = tl.minimum(row, size - 1) * stride_size + tl.minimum(x, width - 1) * stride_width
    last = tl.minimum(channel, channels - 1).to(tl.int64) * stride_channel
    z = tl.load(logits + top + last + nearest).to(tl.float32)
    z = tl.where(channel < channels, z, -float("inf"))
    if SOFTMAX:
        e = tl.exp(z - tl.max(z, 0)[None, :, :])
        p = e / tl.sum(e, 0)[None, :, :]
    else:
        p = 1 / (1 + tl.exp(-z))
    integral = tl.sum(p * phi, 0)[None, :, :]
    slope = p * (phi - integral) if SOFTMAX else p * (1 - p) * phi
    if AS_DISTANCE:
        integral -= tl.sum(tl.minimum(phi, 0.0), 0)[None, :, :]
    valid = (row < size) & (x < width)
    tl.store(tiles + tl.program_id(0), tl.sum(tl.where(valid, integral, 0.0)))
    here = channel.to(tl.int64) * stride_channel + (row * stride_size + x * stride_width)
    tl.store(gradient + top + here, slope, mask=valid & (channel < channels))


@triton.jit
def _scale(gradient, factor, result, size, BLOCK: tl.constexpr):
    here = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(gradient + here, mask=here < size).to(tl.float32)
    tl.store(result + here, value * tl.load(factor), mask=here < size)
