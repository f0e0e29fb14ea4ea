"""The boundary loss with the arguments of MONAI's losses, and together with its Dice and cross-entropy."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.data.meta_tensor import MetaTensor
from monai.losses.dice import DiceCELoss
from monai.utils.enums import LossReduction
from torch import Tensor
from torch.nn.modules.loss import _Loss

import boundaryloss
from boundaryloss import GradientRatio, RegionBoundaryLoss


class BoundaryLoss(_Loss):
    r"""`boundaryloss.BoundaryLoss` with the arguments of MONAI's losses.

    .. math:: L_B = \frac{1}{BC|\Omega|} \sum_{b,c} \sum_{q \in \Omega} \phi_{bc}(q) \, p_{bc}(q)

    With `contour="centers"` it is `monai.losses.BoundaryLoss`: same values, reductions and warnings, from
    faster maps. The default, `"faces"`, also rewards objects up to two voxels thick and knows anisotropic
    spacing.

    Args:
        include_background: whether channel 0 counts.
        to_onehot_y: whether the target is labels `(B, 1, *space)` or `(B, *space)`, of any type. They are not
            expanded to one-hot; they are read as they are.
        sigmoid: whether to apply a sigmoid to the input.
        softmax: whether to apply a softmax to the input.
        other_act: another activation.
        reduction: `"mean"`, `"sum"` or `"none"` of the means over space, `(B, C)`.
        batch: whether to average over the batch before the reduction.
        spacing: size of a voxel along each spatial axis; it is not taken from a `MetaTensor`, whose batches
            may mix spacings. In `DeepSupervisionLoss` coarse levels count their own voxels.
        contour: `"faces"` or `"centers"`, see `boundaryloss.signed_distance_map`.
        as_distance: whether to add the paper's constant, so that the value is never negative.
        ignore_index: the value of unlabelled voxels in a label target; they carry no loss, and leave the
            denominator of `reduction="mean"`.

    Shape:
        - input: `(B, C, *space)`, 2-D or 3-D; a `MetaTensor` is taken, a plain tensor returned.
        - target: as the input, or labels with `to_onehot_y=True`.
        - returns: a scalar; with `reduction="none"` `(B, C')`, or `(C',)` with `batch=True`.

    Raises:
        TypeError: `other_act` is not callable.
        ValueError: more than one activation, an unknown option, or an input that is neither 2-D nor 3-D.
        AssertionError: the target's shape does not match the input's.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[[0, 0, 1, 1]]]])
        >>> loss = BoundaryLoss(include_background=False, to_onehot_y=True, softmax=True, as_distance=True)
        >>> float(loss(torch.zeros(1, 2, 1, 4), target))
        0.5
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[Tensor], Tensor] | None = None,
        reduction: LossReduction | str = LossReduction.MEAN,
        batch: bool = False,
        *,
        spacing: Sequence[float] | None = None,
        contour: Literal["faces", "centers"] = "faces",
        as_distance: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(reduction=LossReduction(reduction).value)
        if other_act is not None and not callable(other_act):
            raise TypeError(f"other_act must be None or callable, got {type(other_act).__name__}")
        if sum((sigmoid, softmax, other_act is not None)) > 1:
            raise ValueError("give at most one of sigmoid=True, softmax=True and other_act")
        self.include_background = include_background
        self.to_onehot_y = to_onehot_y
        self.sigmoid, self.softmax, self.other_act = sigmoid, softmax, other_act
        self.batch = batch
        self.ignore_index = ignore_index

        def loss_of(activation: Literal["softmax", "sigmoid"] | None) -> boundaryloss.BoundaryLoss:
            return boundaryloss.BoundaryLoss(
                activation=activation,
                include_background=include_background,
                spacing=spacing,
                contour=contour,
                as_distance=as_distance,
                ignore_index=ignore_index,
                reduction="mean" if self.reduction == "mean" else "none",
            )

        self.of_probabilities = loss_of(None)
        self.of_logits = loss_of("softmax" if softmax else "sigmoid")

    def forward(
        self,
        input: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of `input` `(B, C, *space)`; `spacing` and `mask` as in `BoundaryLoss`."""
        input, target = _plain(input), _plain(target)
        if input.ndim not in (4, 5):
            raise ValueError(f"input must be (batch, class, *space) in 2-D or 3-D, got {tuple(input.shape)}")
        single = input.shape[1] == 1
        if single:
            self._warn_of_what_a_single_channel_ignores()
        loss = self.of_probabilities
        if self.sigmoid and not self.include_background:  # `of_logits` counts every channel of a sigmoid
            input = input.sigmoid()
        elif self.sigmoid or (self.softmax and not single):
            loss = self.of_logits
        if self.other_act is not None:
            input = self.other_act(input)
        target = self._as_labels_or_masks(input, target)
        value = loss(input, target, spacing=spacing, mask=mask)
        if self.reduction == "mean":  # of all: the means over space and batch have equal shares
            return value
        value = value.flatten(2).mean(dim=2)
        if self.batch:
            value = value.mean(dim=0)
        return value.sum() if self.reduction == "sum" else value

    def _as_labels_or_masks(self, input: Tensor, target: Tensor) -> Tensor:
        channels = input.shape[1]
        labels = self.to_onehot_y and channels > 1
        if labels and target.ndim == input.ndim - 1:
            target = target.unsqueeze(1)
        expected = (input.shape[0], 1 if labels else channels, *input.shape[2:])
        if target.shape != expected:
            hint = "" if labels else "; labels need to_onehot_y=True"
            raise AssertionError(
                f"target of shape {tuple(target.shape)} does not match the input: {expected} is needed{hint}"
            )
        if labels or self.ignore_index is not None:
            integer = not (target.is_floating_point() or target.dtype == torch.bool)
            return target if integer else target.long()
        return target > 0.5

    def _warn_of_what_a_single_channel_ignores(self) -> None:
        ignored = {
            "softmax=True": self.softmax,
            "to_onehot_y=True": self.to_onehot_y,
            "include_background=False": not self.include_background,
        }
        for argument in (name for name, given in ignored.items() if given):
            warnings.warn(f"single channel prediction, `{argument}` ignored.", stacklevel=3)


class DiceCEBoundaryLoss(RegionBoundaryLoss):
    r"""MONAI's Dice and cross-entropy plus the boundary loss: one `_target_` for a bundle or Auto3DSeg.

    .. math:: L = w_R \, (L_{Dice} + L_{CE}) + w_B \, L_B

    Args:
        include_background: for Dice and boundary loss alike.
        to_onehot_y: whether the target is labels `(B, 1, *space)`.
        sigmoid: whether to apply a sigmoid to the input.
        softmax: whether to apply a softmax to the input.
        other_act: another activation, for Dice and boundary loss; cross-entropy takes the input as it is.
        reduction: `"mean"`, or `"sum"`, which adds up images and classes in Dice and boundary loss, and the
            voxels in cross-entropy.
        batch: whether Dice and boundary loss see the batch as one image.
        weighting: of a `RegionBoundaryLoss`: the boundary weight, a schedule or a `GradientRatio`. A number
            needs nobody to call `set_epoch`, which MONAI's own training loops do not.
        spacing: size of a voxel along each spatial axis, for the boundary loss.
        contour: `"faces"` or `"centers"`.
        dice_ce: further arguments of `monai.losses.DiceCELoss`, which shape Dice and cross-entropy alone.

    Raises:
        ValueError: `weight`, which the boundary loss does not know, and what MONAI refuses, such as
            `reduction="none"`.

    Example:
        >>> import torch
        >>> loss = DiceCEBoundaryLoss(to_onehot_y=True, softmax=True)
        >>> target = torch.tensor([[[[0, 0, 1, 1]]]])
        >>> [round(float(term), 3) for term in loss.terms(torch.zeros(1, 2, 1, 4), target)]  # 1/2 + log 2
        [1.193, 0.0]
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        *,
        other_act: Callable[[Tensor], Tensor] | None = None,
        reduction: LossReduction | str = LossReduction.MEAN,
        batch: bool = False,
        weighting: Callable[[int], tuple[float, float]] | GradientRatio | float = 0.01,
        spacing: Sequence[float] | None = None,
        contour: Literal["faces", "centers"] = "faces",
        **dice_ce: Any,
    ) -> None:
        if dice_ce.get("weight") is not None:
            raise ValueError(
                "weight would reach Dice and cross-entropy only; if you want that, say so: "
                "RegionBoundaryLoss(DiceCELoss(..., weight=...), BoundaryLoss(...))"
            )
        reduction = LossReduction(reduction).value
        shared = (include_background, to_onehot_y, sigmoid, softmax, other_act)
        super().__init__(
            DiceCELoss(*shared, reduction=reduction, batch=batch, **dice_ce),
            BoundaryLoss(*shared, reduction, batch, spacing=spacing, contour=contour),
            weighting,
        )

    def terms(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the region and the boundary term, unweighted, as plain tensors."""
        return super().terms(_plain(logits), _plain(target), spacing=spacing, mask=mask)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted sum of both terms, as a plain tensor."""
        return super().forward(_plain(logits), _plain(target), spacing=spacing, mask=mask)


def _plain(tensor: Tensor) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"input and target must be tensors, got {type(tensor).__name__}")
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
