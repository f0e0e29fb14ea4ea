"""The mathematics of the losses: probabilities or log odds against a signed distance map.

Pure functions of tensors `(batch, class, *space)`; the modules, the fallback of the fused op and the tests
share them.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from boundaryloss.distance.checks import check_floating, check_same_device, kind_of
from boundaryloss.losses.lesions import lesion_factors

Activation = Literal["softmax", "sigmoid"] | None
Reduction = Literal["mean", "sum", "none"]
LIFT = 4.0  # at most: next to the boundary tanh makes 1/4 of a voxel at the usual saturation


def boundary_loss(
    probabilities: Tensor,
    signed_distance: Tensor,
    *,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Return the integral of the predicted probabilities against the signed distance map.

    .. math:: L_B = \int_\Omega \phi_G(q) \, s_\theta(q) \, dq

    with :math:`s_\theta` = `probabilities` and :math:`\phi_G` = `signed_distance`. It is lowest, and
    negative, where the prediction is one inside the object and zero outside; an empty prediction has zero.

    Args:
        probabilities: `(batch, class, *space)`. Half-precision values are summed in float32.
        signed_distance: of the same shape, as `signed_distance_map` gives it; it is a constant.
        mask: bool `(batch, *space)` or `(batch, 1, *space)`; voxels that are False leave the sum and the
            mean's denominator.
        reduction: `"mean"` over batch, class and voxels, `"sum"`, or `"none"`.

    Returns:
        A scalar in the unit of `signed_distance`, or `(batch, class, *space)` with `reduction="none"`.
        Zero if nothing is left to average.

    Raises:
        TypeError: no tensors, or not of a floating type.
        ValueError: shapes or devices that do not match, a `mask` that is not bool, or an unknown `reduction`.

    Example:
        >>> import torch
        >>> phi = torch.tensor([[[[1.5, 0.5, -0.5, -1.5]]]])
        >>> float(boundary_loss(torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]]), phi))
        -0.5
        >>> float(boundary_loss(torch.tensor([[[[0.0, 1.0, 1.0, 1.0]]]]), phi))
        -0.375

    The official code multiplies and averages in the same way, over the classes it is given.

    Reference:
        H. Kervadec et al., "Boundary loss for highly unbalanced segmentation", Medical Image Analysis
        67, 2021.
    """
    check_floating("probabilities", probabilities)
    check_floating("signed_distance", signed_distance)
    check_same_device("probabilities", probabilities, signed_distance=signed_distance, mask=mask)
    if probabilities.shape != signed_distance.shape:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and signed_distance {tuple(signed_distance.shape)} "
            "must have the same shape (batch, class, *space)"
        )
    check_reduction(reduction)
    return reduce(at_least_float32(probabilities) * signed_distance.detach(), mask, reduction)


def log_boundary_loss(
    log_odds: Tensor,
    signed_distance: Tensor,
    saturation: float,
    *,
    balance_lesions: bool = False,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the log form, see `LogBoundaryLoss`: cross-entropy weighted by the saturated distance.

    A map may be infinite where a class is absent, and minus infinity where it fills the image.
    """
    weight = (signed_distance / saturation).tanh().detach()
    mask = None if mask is None else as_mask(mask, log_odds)
    if balance_lesions:
        inside = weight < 0 if mask is None else (weight < 0) & mask
        weight = weight * lesion_factors(-weight, inside)
    wrong = torch.where(weight < 0, -log_odds, log_odds)  # the log odds of being wrong
    weight = torch.where(weight < 0, -_lift(weight, wrong, mask) * weight, weight)
    return reduce(weight * functional.softplus(wrong), mask, reduction)


def probabilities_of(logits: Tensor, activation: Activation) -> Tensor:
    """Return the probability of every channel, in at least float32."""
    logits = at_least_float32(logits)
    if activation == "softmax":
        return logits.softmax(dim=1)
    return logits.sigmoid() if activation == "sigmoid" else logits


def log_odds_of(logits: Tensor, activation: Activation) -> Tensor:
    """Return log p / (1 - p) of every channel, in at least float32."""
    logits = at_least_float32(logits)
    if activation == "sigmoid":
        return logits
    if activation is None:
        return logits.logit(eps=torch.finfo(logits.dtype).eps)
    if logits.shape[1] == 2:
        return logits - logits.flip(1)
    top = logits.argmax(1, keepdim=True)  # whose 1 - p may be nothing but rounding
    total = logits.logsumexp(1, keepdim=True)
    others = total + (logits - total).exp().scatter(1, top, 0).neg().log1p()
    return logits - others.scatter(1, top, logits.scatter(1, top, -math.inf).logsumexp(1, keepdim=True))


def minus_truth(probabilities: Tensor, signed_distance: Tensor) -> Tensor:
    """Return `probabilities` minus the truth: what makes a distance of the integral."""
    return probabilities - (signed_distance < 0).to(probabilities.dtype)


def reduce(values: Tensor, mask: Tensor | None, reduction: Reduction) -> Tensor:
    """Return `values` where `mask` is True, or their sum or mean; 0 if there are none."""
    count = max(values.numel(), 1)
    if mask is not None:
        mask = as_mask(mask, values)
        values = values.masked_fill(~mask, 0)
        count = (mask.sum() * values.shape[1]).clamp(min=1)
    if reduction == "none":
        return values
    total = values.sum()
    return total if reduction == "sum" else total / count


def as_mask(mask: Tensor, values: Tensor) -> Tensor:
    """Return `mask` as bool `(batch, 1, *space)`, or raise."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a bool tensor, got {kind_of(mask)}")
    batch, _, *space = values.shape
    if mask.shape == (batch, *space):
        mask = mask.unsqueeze(1)
    if mask.dtype != torch.bool or mask.shape != (batch, 1, *space):
        raise ValueError(
            f"mask must be bool of shape {(batch, *space)} or {(batch, 1, *space)}, "
            f"got {mask.dtype} {tuple(mask.shape)}"
        )
    return mask


def at_least_float32(values: Tensor) -> Tensor:
    """Return `values` in float32 if they are of half precision, too coarse for sums over an image."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def check_reduction(reduction: str) -> None:
    """Raise ValueError if there is no such reduction."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


@torch.no_grad()
def _lift(weight: Tensor, wrong: Tensor, mask: Tensor | None) -> Tensor:
    """Return the factor of the inside, `(1, class, 1, ...)`, with which it pulls as hard as the outside."""
    pull = reduce(weight * wrong.sigmoid(), mask, "none")  # the gradient, but for its scale
    space = (0, *range(2, pull.ndim))
    outside, inside = pull.clamp(min=0).sum(space, keepdim=True), -pull.clamp(max=0).sum(space, keepdim=True)
    return (outside / inside).nan_to_num(1).clamp(1, LIFT)
