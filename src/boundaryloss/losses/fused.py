"""`BoundaryLoss` on the GPU in its ordinary case: loss and gradient in the last pass of the distance maps.

The kernel writes the gradient of the sum beside the sum, so backward only scales it. A backward that is to be
differentiated itself (`create_graph=True`) goes the ordinary way instead, over a map in memory.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from boundaryloss.distance import op
from boundaryloss.distance.signed import op_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boundaryloss.losses.boundary import BoundaryLoss

MOST_CHANNELS = 8  # whose maps a tile can keep in registers


def takes(loss: "BoundaryLoss", logits: Tensor, mask: Tensor | None) -> bool:
    """Whether this is the ordinary case: every voxel counts, nothing but the sum or mean is asked for."""
    return (
        op.triton_runs_on(logits.device)
        and logits.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and logits.shape[1] <= MOST_CHANNELS
        and logits.numel() > 0
        and loss.activation != "none"
        and loss.reduction != "none"
        and loss.normalize is None
        and loss.ignore_index is None
        and mask is None
    )


def boundary_loss(
    loss: "BoundaryLoss", logits: Tensor, objects: Tensor, first: int, spacing: "Sequence[float] | None"
) -> Tensor:
    """The loss of `logits` against `objects`: labels, or the masks of the channels from `first` on."""
    channels = logits.shape[1]
    num_classes = None if objects.dtype == torch.bool else max(channels, 2)
    with_background = channels > 1 and first == 0
    arguments, scale = op_arguments(objects, num_classes, spacing, loss.boundary, with_background)
    total, _ = _integral(logits, *arguments, loss.activation == "softmax", loss.as_distance)
    if loss.reduction == "mean":
        scale *= channels / (logits.numel() * (channels - first))
    return total * scale


def _sum_and_gradient(
    logits: Tensor,
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: list[float],
    face_offset: float,
    softmax: bool,
    as_distance: bool,
) -> tuple[Tensor, Tensor]:
    """Sum of probability times signed distance, and its gradient."""
    from boundaryloss.losses import cuda

    total, gradient, labels_fit = cuda.boundary_loss(
        logits, maps, num_classes, first_class, spacing, face_offset, softmax, as_distance
    )
    op.assert_labels(labels_fit, num_classes)
    return total, gradient


def _sum_and_gradient_of_no_values(logits: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return logits.new_empty((), dtype=torch.float32), new_gradient(logits)


_integral = op.define(
    "boundary_loss",
    "(Tensor logits, Tensor maps, int num_classes, int first_class, float[] spacing, float face_offset, "
    "bool softmax, bool as_distance) -> (Tensor, Tensor)",
    _sum_and_gradient,
    _sum_and_gradient_of_no_values,
)


def new_gradient(logits: Tensor) -> Tensor:
    """Of the sum: beyond the range of float16, whatever that of the mean."""
    half = logits.dtype == torch.float16
    return torch.empty_like(logits, dtype=torch.float32 if half else logits.dtype)


def _remember(ctx, inputs, output) -> None:
    logits, maps, *ctx.settings = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(logits, maps, output[1])


def _backward(ctx, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    logits, maps, gradient = ctx.saved_tensors
    if torch.is_grad_enabled():
        total = _unfused_integral(logits, maps, *ctx.settings)
        (result,) = torch.autograd.grad(total, logits, slope, create_graph=True)
    else:
        result = _scaled(gradient, slope, logits.dtype == torch.float16)
    return result, *[None] * (1 + len(ctx.settings))


torch.library.register_autograd(
    "boundaryloss::boundary_loss", _backward, setup_context=_remember, lib=op.LIBRARY
)


def _unfused_integral(
    logits: Tensor,
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: list[float],
    face_offset: float,
    softmax: bool,
    as_distance: bool,
) -> Tensor:
    phi = op.signed_distance(maps, num_classes, first_class, spacing, face_offset, None)
    values = logits.float()
    probabilities = values.softmax(1) if softmax else values.sigmoid()
    probabilities = probabilities[:, -phi.shape[1] :]
    return ((probabilities - (phi < 0).float() if as_distance else probabilities) * phi).sum()


def _times(gradient: Tensor, factor: Tensor, half: bool) -> Tensor:
    """`gradient * factor` in float32, as float16 if `half`, else in its own type."""
    from boundaryloss.losses import cuda

    return cuda.scaled(gradient, factor, torch.float16 if half else gradient.dtype)


def _times_of_no_values(gradient: Tensor, factor: Tensor, half: bool) -> Tensor:
    return torch.empty_like(gradient, dtype=torch.float16 if half else gradient.dtype)


_scaled = op.define(
    "scaled", "(Tensor gradient, Tensor factor, bool half) -> Tensor", _times, _times_of_no_values
)
