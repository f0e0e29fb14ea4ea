"""The log form of the boundary loss: its gradient does not vanish where a network is sure and wrong."""

import math
from collections.abc import Sequence

from torch import Tensor

from boundaryloss.losses.base import MapLoss
from boundaryloss.losses.functional import Activation, Reduction, log_boundary_loss, log_odds_of
from boundaryloss.losses.target import Objects


class LogBoundaryLoss(MapLoss):
    r"""Compute a cross-entropy weighted by the distance to the boundary: the boundary loss for logits.

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

    `balance_lesions=True` lets every lesion count alike, whatever its size. Without it a lesion weighs about
    as much as it has voxels: one of 1000 outweighs ninety of ten. A lesion `k` is a connected component
    of the object in one image (voxels that share a face, an edge or a corner; 8 neighbours in 2-D, 26 in
    3-D). Inside it the weights are multiplied by

    .. math:: s_k = \min\left(10, \max\left(\tfrac{1}{10}, \frac{\bar T}{T_k}\right)\right), \qquad
              T_k = \sum_{q \in k} M^-(q)

    with :math:`\bar T` the mean of the :math:`T_k` of that class in the batch, so that all have the same
    total, unless that takes more than a factor of 10. :math:`\lambda` is measured with these weights.
    Several classes, and overlapping masks, have lesions of their own. Its limits: lesions that touch are
    one. A lesion that the patch cuts off counts as a whole one, so what the patch shows of it is heavy; so do
    the parts of a lesion that `mask` or `ignore_index` cuts in two. Each process of several takes the mean
    over its own part of the batch. Components of lesions cost less than the map, on the CPU.

    The value is never negative. As with the integral nothing pulls at the boundary itself, so combine it with
    a region loss, see `RegionBoundaryLoss`.

    Args:
        activation: what makes probabilities of the logits: `"softmax"`, `"sigmoid"`, or `None` if they are
            probabilities already.
        include_background: whether channel 0 counts, as in `BoundaryLoss`.
        spacing: size of a voxel along each spatial axis, or one number for all.
        saturation: distance, in the unit of `spacing`, from which on all voxels count about alike.
        balance_lesions: whether every connected component of the truth has the same total weight.
        ignore_index: the value of unlabelled voxels in integer targets.
        reduction: `"mean"` over batch, class and voxels, `"sum"`, or `"none"`.

    Shape:
        As `BoundaryLoss`; the call takes `spacing` and `mask`, too.

    Raises:
        TypeError, ValueError: as `BoundaryLoss`; also a `saturation` that is not positive and finite.

    There is no such form in the official code, and no such balance. What they gain: see "When it helps" in
    the documentation.

    Example:
        >>> import math
        >>> import torch
        >>> from boundaryloss import LogBoundaryLoss
        >>> target = torch.tensor([[[0, 0, 1, 1]]])
        >>> logits = torch.zeros(1, 2, 1, 4)
        >>> loss = LogBoundaryLoss(saturation=1.0)(logits, target)
        >>> round(float(loss), 4)  # log 2 * (tanh 1.5 + tanh 0.5) / 2; both sides pull alike
        0.4739

        Two lesions, of 1 voxel and of 3: 1 + 3 is 2 + 2. With a tiny saturation all sizes are 1. The four
        inside pull like the four outside, so nothing is lifted.

        >>> target = torch.tensor([[[1, 0, 0, 1, 1, 1, 0, 0]]])
        >>> loss = LogBoundaryLoss(saturation=1e-6, balance_lesions=True, reduction="none")
        >>> weights = loss(torch.zeros(1, 2, 1, 8), target) / math.log(2)
        >>> [round(weight, 3) for weight in weights.flatten().tolist()]
        [2.0, 1.0, 1.0, 0.667, 0.667, 0.667, 1.0, 1.0]
    """

    def __init__(
        self,
        *,
        activation: Activation = "softmax",
        include_background: bool = False,
        spacing: Sequence[float] | float | None = None,
        saturation: float = 2.0,
        balance_lesions: bool = False,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            activation=activation,
            include_background=include_background,
            spacing=spacing,
            contour="faces",
            ignore_index=ignore_index,
            reduction=reduction,
        )
        if not 0 < saturation < math.inf:
            raise ValueError(f"saturation must be a positive distance, got {saturation}")
        self.saturation = saturation
        self.balance_lesions = balance_lesions

    def from_map(self, logits: Tensor, signed_distance: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the loss against a map of your own, as in `BoundaryLoss`.

        A class whose map is zero throughout counts as absent; give infinity or minus infinity to say which.
        """
        self._check_map(logits, signed_distance, mask)
        absent = ~signed_distance.flatten(2).any(2).view(*signed_distance.shape[:2], *[1] * (logits.ndim - 2))
        phi = signed_distance.masked_fill(absent, math.inf)
        log_odds = log_odds_of(logits, self.activation)[:, -phi.shape[1] :]
        return log_boundary_loss(
            log_odds,
            phi,
            self.saturation,
            balance_lesions=self.balance_lesions,
            mask=mask,
            reduction=self.reduction,
        )

    def _map(self, objects: Objects, spacing: list[float]) -> Tensor:
        phi = super()._map(objects, spacing)
        corner = phi[(slice(None), slice(None), *[slice(1)] * (phi.ndim - 2))]
        full = (corner == 0) & objects.first_voxel()  # measured to faces, phi is zero only without a boundary
        return phi.masked_fill(full, -math.inf)

    def extra_repr(self) -> str:
        """Return the settings, for `print`."""
        own = f"saturation={self.saturation!r}, balance_lesions={self.balance_lesions!r}"
        return f"{super().extra_repr()}, {own}"
