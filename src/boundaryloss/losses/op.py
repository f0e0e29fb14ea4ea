"""The boundary loss on the GPU as an op: loss and gradient in the last pass of the distance maps.

The kernel writes the gradient of the sum beside the sum, so backward only scales it. A backward that is to be
differentiated itself (`create_graph=True`) goes the ordinary way instead, over a map in memory.
"""

import torch
from torch import Tensor

from boundaryloss.distance import op
from boundaryloss.losses.functional import boundary_loss, minus_truth, probabilities_of

MOST_CHANNELS = 8  # whose maps a tile can keep in registers


def _kernel(
    logits: Tensor,
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: list[float],
    face_offset: float,
    softmax: bool,
    as_distance: bool,
) -> tuple[Tensor, Tensor]:
    """Return the sum of probability times signed distance, and its gradient."""
    from boundaryloss.losses import cuda

    gradient = _new_gradient(logits)
    total, labels_fit = cuda.boundary_loss(
        logits, maps, gradient, num_classes, first_class, spacing, face_offset, softmax, as_distance
    )
    op.assert_labels(labels_fit, num_classes)
    return total, gradient


def _fake(logits: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return logits.new_empty((), dtype=torch.float32), _new_gradient(logits)


sum_and_gradient = op.define(
    "boundary_loss",
    "(Tensor logits, Tensor maps, int num_classes, int first_class, float[] spacing, float face_offset, "
    "bool softmax, bool as_distance) -> (Tensor, Tensor)",
    _kernel,
    _fake,
)


def _new_gradient(logits: Tensor) -> Tensor:
    """Return room for the gradient of the sum, which is beyond the range of float16 whatever the mean's."""
    half = logits.dtype == torch.float16
    return torch.empty_like(logits, dtype=torch.float32 if half else logits.dtype)


def _remember(ctx, inputs, output) -> None:
    logits, maps, *ctx.settings = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(logits, maps, output[1])


def _backward(ctx, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    logits, maps, gradient = ctx.saved_tensors
    if torch.is_grad_enabled():
        total = _over_a_map(logits, maps, *ctx.settings)
        (result,) = torch.autograd.grad(total, logits, slope, create_graph=True)
    else:
        result = _scaled(gradient, slope, logits.dtype == torch.float16)
    return result, *[None] * (1 + len(ctx.settings))


torch.library.register_autograd(
    "boundaryloss::boundary_loss", _backward, setup_context=_remember, lib=op.LIBRARY
)


def _over_a_map(
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
    probabilities = probabilities_of(logits, "softmax" if softmax else "sigmoid")[:, -phi.shape[1] :]
    if as_distance:
        probabilities = minus_truth(probabilities, phi)
    return boundary_loss(probabilities, phi, reduction="sum")


def _scale(gradient: Tensor, factor: Tensor, half: bool) -> Tensor:
    """Return `gradient * factor`, multiplied in float32, as float16 if `half`, else in its own type."""
    from boundaryloss.losses import cuda

    result = _fake_scale(gradient, factor, half)
    cuda.scale(gradient, factor, result)
    return result


def _fake_scale(gradient: Tensor, factor: Tensor, half: bool) -> Tensor:
    return torch.empty_like(gradient, dtype=torch.float16 if half else gradient.dtype)


_scaled = op.define("scaled", "(Tensor gradient, Tensor factor, bool half) -> Tensor", _scale, _fake_scale)
