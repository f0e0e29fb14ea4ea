"""The boundary loss on the GPU as an op: loss and gradient in the last pass of the distance maps.

The kernel writes the gradient of the sum beside the sum, so backward only scales it. A backward that is to be
differentiated itself (`create_graph=True`) goes the ordinary way instead, over a map in memory. Where the
kernel does not serve, plain torch computes both from the map.
"""

import torch
from torch import Tensor

from boundaryloss.distance import op, reference
from boundaryloss.distance.devices import Kernels
from boundaryloss.distance.trials import agree
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
    gradient = _new_gradient(logits)
    settings = num_classes, first_class, spacing, face_offset

    def launch() -> tuple[Tensor, Tensor]:
        from boundaryloss.losses import cuda

        return cuda.boundary_loss(logits, maps, gradient, *settings, softmax, as_distance)

    if (made := KERNELS.run(logits.device, launch)) is None:
        phi = op.signed_distance(maps, *settings, None)
        total, slope = plain(logits, phi, softmax, as_distance)
        return total, gradient.copy_(slope)
    total, labels_fit = made
    op.assert_labels(labels_fit, num_classes)
    return total, gradient


def plain(logits: Tensor, phi: Tensor, softmax: bool, as_distance: bool) -> tuple[Tensor, Tensor]:
    """Return the sum of probability times `phi`, the map of the last channels, and its gradient."""
    counted = slice(logits.shape[1] - phi.shape[1], None)
    probabilities = probabilities_of(logits, "softmax" if softmax else "sigmoid")
    products = probabilities[:, counted] * phi
    if softmax:
        slope = -probabilities * products.sum(1, keepdim=True)
        slope[:, counted] += products
    else:
        slope = torch.zeros_like(probabilities)
        slope[:, counted] = products * (1 - probabilities[:, counted])
    total = products.sum()
    return total - phi.clamp(max=0).sum() if as_distance else total, slope


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
    result = _fake_scale(gradient, factor, half)

    def launch() -> Tensor:
        from boundaryloss.losses import cuda

        return cuda.scale(gradient, factor, result)

    made = KERNELS.run(gradient.device, launch)
    return result.copy_(gradient.float() * factor) if made is None else made


def _fake_scale(gradient: Tensor, factor: Tensor, half: bool) -> Tensor:
    return torch.empty_like(gradient, dtype=torch.float16 if half else gradient.dtype)


_scaled = op.define("scaled", "(Tensor gradient, Tensor factor, bool half) -> Tensor", _scale, _fake_scale)


def _trial(device: torch.device) -> None:
    """Try the kernels of this module as `distance.trials` does those of the maps."""
    from boundaryloss.losses import cuda

    factor = torch.full((), 0.3, dtype=torch.float32, device=device)
    for shape, spacing in (((2, 3, 9, 32), [1.0, 2.0]), ((1, 1, 9, 2, 33), [1.0, 2.0, 0.5])):
        softmax, classes = shape[1] > 1, max(shape[1], 2)
        count = torch.Size(shape).numel()
        logits = 2 * torch.arange(count, dtype=torch.float32, device="cpu").sin().reshape(shape)
        maps = (logits.flip(-1)[:, :1] > 1.5).to(torch.uint8)
        phi = reference.signed_distance(maps, classes, 1, spacing, 0.5)
        expected, slope = plain(logits, phi, softmax, as_distance=False)
        logits, maps = logits.to(device), maps.to(device)
        gradient = torch.empty_like(logits)
        total, _ = cuda.boundary_loss(logits, maps, gradient, classes, 1, spacing, 0.5, softmax, False)
        agree(total, expected)
        agree(gradient, slope)
        agree(cuda.scale(gradient, factor, torch.empty_like(gradient)), slope * 0.3)


KERNELS = Kernels("the fused boundary loss", _trial, instead="plain PyTorch computes it from the map")
