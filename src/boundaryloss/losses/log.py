"""The log form of the boundary loss: its gradient does not vanish where a network is sure and wrong."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from boundaryloss.distance.checks import differ
from boundaryloss.losses.boundary import (
    Activation,
    BoundaryLoss,
    Reduction,
    at_least_float32,
    reduce,
    split_target,
)

LIFT = 4.0  # at most: about 1 / tanh(1/4)


class LogBoundaryLoss(BoundaryLoss):
    r"""Cross-entropy weighted by the distance to the boundary: the boundary loss for logits.

    .. math:: L = -\frac{1}{BC|\Omega|} \sum_{b,c} \sum_{q \in \Omega}
              M^+_{bc}(q) \log(1 - p_{bc}(q)) + \lambda_c M^-_{bc}(q) \log p_{bc}(q), \qquad
              M = \tanh(\phi / saturation)

    with `p` the activated logits, :math:`\phi` the `signed_distance_map` of the target, and
    :math:`M = M^+ - M^-` the parts outside and inside. Both this and the paper's integral
    (`boundaryloss.BoundaryLoss`) are lowest for a perfect prediction and forgive what is near the boundary.
    They differ in the gradient at the logits. The integral's, :math:`M p (1 - p)`, vanishes on errors that
    the network is sure of; this one's, :math:`M^+ p - \lambda M^- (1 - p)`, is largest there. Saturation
    keeps far voxels from outweighing the object. A class that is absent is infinitely far, :math:`M = 1`, so
    that false positives cost there as well; of one that fills the image :math:`M = -1`.

    .. math:: \lambda_c = \min\left(4, \max\left(1, \frac{\sum_{b,q} M^+_{bc} \, p_{bc}}
              {\sum_{b,q} M^-_{bc} \, (1 - p_{bc})}\right)\right)

    lifts the inside until the class is pulled in as hard as it is pushed out: the term then tells right
    places from wrong ones, and leaves it to the region loss how much to predict. It is measured in every
    batch, and constant for the gradient. Four makes a voxel of size 1 beside the boundary count
    inside, at the default saturation, as much as a far one does outside.

    The value is never negative. As with the integral nothing pulls at the boundary itself, so combine it with
    a region loss, see `RegionBoundaryLoss`.

    Args:
        activation: what makes probabilities of the logits: `"softmax"`, `"sigmoid"`, or `"none"`.
        include_background: whether channel 0 counts, as in `BoundaryLoss`.
        spacing: size of a voxel along each spatial axis.
        saturation: distance, in the unit of `spacing`, from which on all voxels count about alike.
        ignore_index: the value of unlabelled voxels in integer targets.
        reduction: `"mean"` over batch, class and voxels, `"sum"`, or `"none"`.

    Shape:
        As `BoundaryLoss`; the call takes `spacing` and `mask`, too.

    Raises:
        TypeError, ValueError: as `BoundaryLoss`; also a `saturation` that is not positive and finite.

    There is no such form in the official code.

    Example:
        >>> import torch
        >>> from boundaryloss import LogBoundaryLoss
        >>> target = torch.tensor([[[0, 0, 1, 1]]])
        >>> logits = torch.zeros(1, 2, 1, 4)
        >>> loss = LogBoundaryLoss(saturation=1.0)(logits, target)
        >>> round(float(loss), 4)  # log 2 * (tanh 1.5 + tanh 0.5) / 2; both sides pull alike
        0.4739
    """

    def __init__(
        self,
        *,
        activation: Activation = "softmax",
        include_background: bool = False,
        spacing: Sequence[float] | None = None,
        saturation: float = 2.0,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            activation=activation,
            include_background=include_background,
            spacing=spacing,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        if not 0 < saturation < math.inf:
            raise ValueError(f"saturation must be a positive distance, got {saturation}")
        self.saturation = saturation

    def integrate(self, logits: Tensor, signed_distance: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """The loss against a map of your own; an object whose map is zero is absent."""
        self._check_map(logits, signed_distance, mask)
        weight = (_everywhere(signed_distance) / self.saturation).tanh().detach()
        log_odds = self._log_odds(at_least_float32(logits))[:, self._first_class(logits) :]
        wrong = torch.where(weight < 0, -log_odds, log_odds)  # the log odds of being wrong
        weight = torch.where(weight < 0, -_lift(weight, wrong, mask) * weight, weight)
        return reduce(weight * functional.softplus(wrong), mask, self.reduction)

    def _log_odds(self, logits: Tensor) -> Tensor:
        """Log p / (1 - p) of every channel."""
        if self.activation == "sigmoid":
            return logits
        if self.activation == "none":
            return logits.logit(eps=torch.finfo(logits.dtype).eps)
        if logits.shape[1] == 2:
            return logits - logits.flip(1)
        top = logits.argmax(1, keepdim=True)  # whose 1 - p may be nothing but rounding
        total = logits.logsumexp(1, keepdim=True)
        others = total + (logits - total).exp().scatter(1, top, 0).neg().log1p()
        return logits - others.scatter(1, top, logits.scatter(1, top, -math.inf).logsumexp(1, keepdim=True))

    def _map(
        self, logits: Tensor, target: Tensor, spacing: Sequence[float] | None
    ) -> tuple[Tensor, Tensor | None]:
        phi, valid = super()._map(logits, target, spacing)
        labels, masks = split_target(logits, target)
        masks = masks[(slice(None), slice(None), *[slice(1)] * (logits.ndim - 2))]  # full if one voxel is
        if labels is not None:
            classes = torch.arange(max(logits.shape[1], 2), device=masks.device)[-phi.shape[1] :]
            counts = True if self.ignore_index is None else differ(masks, self.ignore_index)
            masks = (masks == classes.view(1, -1, *[1] * (logits.ndim - 2))) & counts
        return _everywhere(phi, masks[:, -phi.shape[1] :]), valid

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"{super().extra_repr()}, saturation={self.saturation!r}"


@torch.no_grad()
def _lift(weight: Tensor, wrong: Tensor, mask: Tensor | None) -> Tensor:
    """What the inside is multiplied by, `(1, class, 1, ...)`, to pull as hard as the outside pushes."""
    pull = reduce(weight * wrong.sigmoid(), mask, "none")  # the gradient, but for its scale
    space = (0, *range(2, pull.ndim))
    outside, inside = pull.clamp(min=0).sum(space, keepdim=True), -pull.clamp(max=0).sum(space, keepdim=True)
    return (outside / inside).nan_to_num(1).clamp(1, LIFT)


def _everywhere(phi: Tensor, full: Tensor | None = None) -> Tensor:
    """`phi` with infinity, or minus infinity if `full`, where there is no boundary: only there it is zero."""
    corner = phi[(slice(None), slice(None), *[slice(1)] * (phi.ndim - 2))]
    far = torch.full_like(corner, math.inf)
    return torch.where(corner == 0, far if full is None else torch.where(full, -far, far), phi)
