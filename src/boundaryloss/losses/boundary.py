"""The boundary loss as a module."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boundaryloss.distance.signed import Contour, op_arguments
from boundaryloss.losses import op
from boundaryloss.losses.base import MapLoss
from boundaryloss.losses.functional import (
    Activation,
    Reduction,
    boundary_loss,
    minus_truth,
    probabilities_of,
)
from boundaryloss.losses.gradients import DIFFERENTIATION
from boundaryloss.losses.target import Objects


class BoundaryLoss(MapLoss):
    r"""Compute the boundary loss of logits, with exact distance maps of the target on the fly.

    .. math:: L_B = \frac{1}{BC|\Omega|} \sum_{b,c} \sum_{q \in \Omega} \phi_{bc}(q) \, p_{bc}(q)

    with `p` the activated logits and :math:`\phi` the `signed_distance_map` of the target.

    A perfect prediction has the lowest value, which is negative and differs from image to image;
    `as_distance=True` adds the paper's constant :math:`-\int \phi_G g`, so that the value is half the
    distance between the contours: never negative, zero when perfect, with the same gradient. Used alone
    on a binary problem the loss tends to an empty prediction: combine it, see `RegionBoundaryLoss`.

    Args:
        activation: what makes probabilities of the logits: `"softmax"`, `"sigmoid"`, or `None` if they are
            probabilities already.
        include_background: whether channel 0 counts. With masks and `"sigmoid"`, or a single channel, there
            is no background channel and every channel counts.
        spacing: size of a voxel along each spatial axis, or one number for all; the map, and so the loss, has
            its unit.
        contour: the convention of `signed_distance_map`: `"faces"` or `"centers"`.
        as_distance: whether to add the paper's constant.
        ignore_index: the value of unlabelled voxels in integer targets. They belong to no object and
            carry no loss.
        reduction: `"mean"` over batch, class and voxels, `"sum"`, or `"none"`.

    Shape:
        - logits: `(B, C, *space)`, 2-D or 3-D, any floating type; computed in at least float32.
        - target: integer labels `(B, *space)` or `(B, 1, *space)`, or masks `(B, C, *space)`, one-hot or
          overlapping, of any type (a voxel belongs to the object where the mask exceeds 1/2). For a
          single channel, labels are 0 and 1.
        - spacing, mask: keywords of the call; `spacing` overrides the module's, `mask` is bool
          `(B, *space)` or `(B, 1, *space)` with False at voxels that carry no loss.
        - returns: a scalar, or `(B, C', *space)` with `reduction="none"`, `C'` the channels that count.

    Raises:
        TypeError: logits of no floating type, a target or mask that is no tensor, or floating-point labels:
            use `target.long()`.
        ValueError: shapes or devices that do not match, softmax over a single channel (use `"sigmoid"`),
            or what `signed_distance_map` refuses.

    The official code wants one-hot targets, precomputed maps and a list of classes; here the maps come from
    the target. In both, a class that is absent from an image adds nothing for that image.

    Example:
        >>> import torch
        >>> from boundaryloss import BoundaryLoss
        >>> target = torch.tensor([[[0, 0, 1, 1]]])
        >>> logits = torch.zeros(1, 2, 1, 4)
        >>> float(BoundaryLoss()(logits, target))  # p = 1/2; phi = 1.5, 0.5, -0.5, -1.5
        0.0
        >>> float(BoundaryLoss(as_distance=True)(logits, target))
        0.5

    Reference:
        H. Kervadec et al., "Boundary loss for highly unbalanced segmentation", Medical Image Analysis
        67, 2021.
    """

    def __init__(
        self,
        *,
        activation: Activation = "softmax",
        include_background: bool = False,
        spacing: Sequence[float] | float | None = None,
        contour: Contour = "faces",
        as_distance: bool = False,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            activation=activation,
            include_background=include_background,
            spacing=spacing,
            contour=contour,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        self.as_distance = as_distance

    def from_map(self, logits: Tensor, signed_distance: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the loss against a map of your own, say of a whole volume of which the logits see a part.

        `signed_distance` is `(B, C', *space)` for the last `C'` channels, which are those that count; `mask`
        is as in the call.
        """
        self._check_map(logits, signed_distance, mask)
        probabilities = probabilities_of(logits, self.activation)[:, -signed_distance.shape[1] :]
        if self.as_distance:
            probabilities = minus_truth(probabilities, signed_distance)
        return boundary_loss(probabilities, signed_distance, mask=mask, reduction=self.reduction)

    def _of_objects(
        self, logits: Tensor, objects: Objects, spacing: list[float], valid: Tensor | None
    ) -> Tensor:
        if self._is_ordinary(logits, valid):
            return self._fused(logits, objects, spacing)
        return super()._of_objects(logits, objects, spacing, valid)

    def _is_ordinary(self, logits: Tensor, valid: Tensor | None) -> bool:
        """Tell whether the fused op serves: every voxel counts, and only a sum or mean is asked for."""
        return (
            valid is None
            and logits.device.type != "cpu"
            and not DIFFERENTIATION.by_transform
            and logits.dtype in (torch.float32, torch.float16, torch.bfloat16)
            and logits.shape[1] <= op.MOST_CHANNELS
            and logits.numel() > 0
            and self.activation is not None
            and self.reduction != "none"
        )

    def _fused(self, logits: Tensor, objects: Objects, spacing: list[float]) -> Tensor:
        background = objects.counted == objects.num_classes
        arguments, scale = op_arguments(
            objects.maps, objects.num_classes, spacing, self.contour, include_background=background
        )
        total, _ = op.sum_and_gradient(logits, *arguments, self.activation == "softmax", self.as_distance)
        count = logits.numel() // logits.shape[1] * objects.counted
        return total * (scale / count if self.reduction == "mean" else scale)

    def extra_repr(self) -> str:
        """Return the settings, for `print`."""
        return f"{super().extra_repr()}, as_distance={self.as_distance!r}"
