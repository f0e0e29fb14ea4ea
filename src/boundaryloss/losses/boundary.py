"""The boundary loss as a function and as a module."""

import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from boundaryloss.distance import signed_distance_map
from boundaryloss.distance.checks import (
    check_floating,
    check_integer,
    check_same_device,
    check_spacing,
    check_tensor,
    computable,
    differ,
    is_integer,
    kind_of,
)
from boundaryloss.distance.signed import FACE_OFFSET, Boundary
from boundaryloss.losses import fused

EMPTY_BATCHES = 20  # one after another: then something is wrong
Activation = Literal["softmax", "sigmoid", "none"]
Reduction = Literal["mean", "sum", "none"]


def boundary_loss(
    probabilities: Tensor,
    signed_distance: Tensor,
    *,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The integral of the predicted probabilities against the signed distance map.

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
        TypeError: probabilities or map are no tensors of a floating type, or `mask` is no tensor.
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
    if probabilities.shape != signed_distance.shape or probabilities.ndim < 3:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and signed_distance {tuple(signed_distance.shape)} "
            "must have the same shape (batch, class, *space)"
        )
    check_same_device("probabilities", probabilities, signed_distance=signed_distance, mask=mask)
    _check_reduction(reduction)
    return reduce(at_least_float32(probabilities) * signed_distance.detach(), mask, reduction)


def reduce(values: Tensor, mask: Tensor | None, reduction: Reduction) -> Tensor:
    """`values` `(batch, class, *space)` where `mask` is True, or their sum or mean; 0 if there are none."""
    count = max(values.numel(), 1)
    if mask is not None:
        mask = _as_mask(mask, values)
        values = values.masked_fill(~mask, 0)
        count = (mask.sum() * values.shape[1]).clamp(min=1)
    if reduction == "none":
        return values
    total = values.sum()
    return total if reduction == "sum" else total / count


class BoundaryLoss(nn.Module):
    r"""The boundary loss of logits, with exact distance maps of the target computed on the fly.

    .. math:: L_B = \frac{1}{BC|\Omega|} \sum_{b,c} \sum_{q \in \Omega} \phi_{bc}(q) \, p_{bc}(q)

    with `p` the activated logits and :math:`\phi` the `signed_distance_map` of the target.

    A perfect prediction has the lowest value, which is negative and differs from image to image;
    `as_distance=True` adds the paper's constant :math:`-\int \phi_G g`, so that the value is half the
    distance between the contours: never negative, zero when perfect, with the same gradient. Used alone
    on a binary problem the loss tends to an empty prediction: combine it, see `RegionBoundaryLoss`.

    Args:
        activation: what makes probabilities of the logits: `"softmax"`, `"sigmoid"`, or `"none"`.
        include_background: whether channel 0 counts. With `"sigmoid"`, or a single channel, there is no
            background channel and every channel counts.
        spacing: size of a voxel along each spatial axis; the map, and so the loss, has its unit.
        boundary: the convention of `signed_distance_map`: `"interface"` or `"pixel"`.
        normalize: `"max"` divides each map by its largest absolute value; `None` keeps the unit.
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
        spacing: Sequence[float] | None = None,
        boundary: Boundary = "interface",
        normalize: Literal["max"] | None = None,
        as_distance: bool = False,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if activation not in get_args(Activation):
            raise ValueError(f"activation must be 'softmax', 'sigmoid' or 'none', got {activation!r}")
        if boundary not in [*FACE_OFFSET]:
            raise ValueError(f"boundary must be 'interface' or 'pixel', got {boundary!r}")
        if normalize not in (None, "max"):
            raise ValueError(f"normalize must be 'max' or None, got {normalize!r}")
        _check_reduction(reduction)
        self.activation = activation
        self.include_background = include_background
        self.spacing = None if spacing is None else check_spacing(spacing)
        self.boundary: Boundary = boundary
        self.normalize = normalize
        self.as_distance = as_distance
        self.ignore_index = None if ignore_index is None else check_integer("ignore_index", ignore_index)
        self.reduction: Reduction = reduction
        self._empty_batches = 0  # in a row

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The loss of `logits` `(B, C, *space)` against `target`."""
        check_floating("logits", logits)
        check_tensor("target", target)
        check_same_device("logits", logits, target=target, mask=mask)
        if logits.ndim not in (4, 5) or logits.shape[1] == 0:
            raise ValueError(
                f"logits must be (batch, class, *space) in 2-D or 3-D, got {tuple(logits.shape)}"
            )
        if self.activation == "softmax" and logits.shape[1] < 2:
            raise ValueError("softmax over a single channel is constant; use activation='sigmoid'")
        spacing = self.spacing if spacing is None else spacing
        linear = type(self).integrate is BoundaryLoss.integrate
        if linear and fused.takes(self, logits, mask):
            labels, masks = split_target(logits, target)
            first = self._first_class(logits)
            return fused.boundary_loss(
                self, logits, masks[:, first:] if labels is None else labels, first, spacing
            )
        phi, valid = self._map(logits, target, spacing)
        if phi.device.type == "cpu" and not torch.compiler.is_compiling():
            self._warn_of_empty_batches(phi)
        if mask is not None:
            mask = _as_mask(mask, logits)
            valid = mask if valid is None else valid & mask
        return self.integrate(logits, phi, mask=valid)

    def integrate(self, logits: Tensor, signed_distance: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """The loss against a map of your own, say of a whole volume of which the logits see a part.

        `signed_distance` is `(B, C', *space)`, `C'` the channels that count; `mask` as in the call.
        """
        self._check_map(logits, signed_distance, mask)
        probabilities = at_least_float32(logits)
        if self.activation == "softmax":
            probabilities = probabilities.softmax(dim=1)
        elif self.activation == "sigmoid":
            probabilities = probabilities.sigmoid()
        probabilities = probabilities[:, self._first_class(logits) :]
        if self.as_distance:
            probabilities = probabilities - (signed_distance < 0).to(probabilities.dtype)
        return boundary_loss(probabilities, signed_distance, mask=mask, reduction=self.reduction)

    def _check_map(self, logits: Tensor, signed_distance: Tensor, mask: Tensor | None) -> None:
        check_floating("logits", logits)
        check_floating("signed_distance", signed_distance)
        check_same_device("logits", logits, signed_distance=signed_distance, mask=mask)
        counted = logits[:, self._first_class(logits) :].shape
        if signed_distance.shape != counted:
            raise ValueError(
                f"signed_distance must have the channels that count, {tuple(counted)}, "
                f"got {tuple(signed_distance.shape)}"
            )

    def _warn_of_empty_batches(self, phi: Tensor) -> None:
        empty = phi.numel() > 0 and not phi.flatten(2)[..., 0].any() and not phi.any()
        self._empty_batches = self._empty_batches + 1 if empty else 0
        if self._empty_batches == EMPTY_BATCHES:
            warnings.warn(
                f"none of the last {EMPTY_BATCHES} batches had an object to count, their loss was 0: look at "
                "the values of the labels (0 is background), and sample more patches with an object",
                stacklevel=4,
            )

    def _first_class(self, logits: Tensor) -> int:
        every_channel = self.include_background or self.activation == "sigmoid" or logits.shape[1] == 1
        return 0 if every_channel else 1

    def _map(
        self, logits: Tensor, target: Tensor, spacing: Sequence[float] | None
    ) -> tuple[Tensor, Tensor | None]:
        """The map of the channels that count, and the voxels `(B, 1, *space)` that do (None: all)."""
        channels, first = logits.shape[1], self._first_class(logits)
        labels, masks = split_target(logits, target)
        valid = None
        if labels is not None:
            phi = signed_distance_map(
                labels,
                max(channels, 2),
                spacing=spacing,
                boundary=self.boundary,
                include_background=channels > 1 and first == 0,
                ignore_index=self.ignore_index,
            )
            if self.ignore_index is not None:
                valid = differ(labels, self.ignore_index).unsqueeze(1)
        else:
            if self.ignore_index is not None:
                raise ValueError(
                    "ignore_index needs integer labels as target; for masks pass mask= to the call"
                )
            phi = signed_distance_map(masks[:, first:], spacing=spacing, boundary=self.boundary)
        if self.normalize == "max":
            axes = tuple(range(2, phi.ndim))
            phi = phi / phi.abs().amax(axes, keepdim=True).clamp(min=torch.finfo(phi.dtype).tiny)
        return phi, valid

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        names = ("activation", "include_background", "spacing", "boundary", "normalize", "as_distance")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in (*names, "ignore_index", "reduction"))


def split_target(logits: Tensor, target: Tensor) -> tuple[Tensor | None, Tensor]:
    """Labels `(B, *space)` and the same as `(B, 1, *space)`, or None and bool masks `(B, C, *space)`."""
    batch, channels, *space = logits.shape
    integer, target = is_integer(target), computable(target)
    if not (integer or target.is_floating_point() or target.dtype == torch.bool):
        raise TypeError(f"target must be integer labels, or masks of a real type, got {target.dtype}")
    if target.shape == (batch, *space):
        target = target.unsqueeze(1)
    if target.shape == (batch, 1, *space) and (integer or channels > 1):
        if not integer:
            raise TypeError(
                f"labels must be integer, got {target.dtype} for {channels} channels; use target.long(), "
                f"or masks of shape {(batch, channels, *space)}"
            )
        return target[:, 0], target
    if target.shape != logits.shape:
        raise ValueError(
            f"target of shape {tuple(target.shape)} does not match logits {tuple(logits.shape)}: it must be "
            "labels (batch, *space) or (batch, 1, *space), or masks of the logits' shape"
        )
    return None, target if target.dtype == torch.bool else target > 0.5


def _as_mask(mask: Tensor, values: Tensor) -> Tensor:
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
    """Half precision is too coarse for sums over an image."""
    return values.float() if values.dtype.itemsize < 4 else values


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
