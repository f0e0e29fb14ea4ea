"""The boundary loss in MONAI's manner: losses with its arguments, transforms that keep metadata."""

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal

import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.losses.dice import DiceCELoss
from monai.transforms.transform import MapTransform, Transform
from monai.utils.enums import LossReduction, TransformBackends
from monai.utils.type_conversion import convert_to_dst_type, convert_to_tensor
from torch import Tensor
from torch.nn.modules.loss import _Loss

import boundaryloss
from boundaryloss import Constant, RegionBoundaryLoss, signed_distance_map

__all__ = [
    "BoundaryLoss",
    "DiceCEBoundaryLoss",
    "SignedDistanceMap",
    "SignedDistanceMapD",
    "SignedDistanceMapDict",
    "SignedDistanceMapd",
]


class BoundaryLoss(_Loss):
    r"""`boundaryloss.BoundaryLoss` with the arguments of MONAI's losses.

    .. math:: L_B = \frac{1}{BC|\Omega|} \sum_{b,c} \sum_{q \in \Omega} \phi_{bc}(q) \, p_{bc}(q)

    With `boundary="pixel"` it is `monai.losses.BoundaryLoss`: same values, reductions and warnings, from
    faster maps. The default, `"interface"`, also rewards objects up to two voxels thick and knows anisotropic
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
        boundary: `"interface"` or `"pixel"`, see `boundaryloss.signed_distance_map`.
        normalize: `"max"` divides each map by its largest absolute value.
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
        boundary: Literal["interface", "pixel"] = "interface",
        normalize: Literal["max"] | None = None,
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

        def loss_of(activation: Literal["softmax", "sigmoid", "none"]) -> boundaryloss.BoundaryLoss:
            return boundaryloss.BoundaryLoss(
                activation=activation,
                include_background=include_background,
                spacing=spacing,
                boundary=boundary,
                normalize=normalize,
                as_distance=as_distance,
                ignore_index=ignore_index,
                reduction="mean" if self.reduction == "mean" else "none",
            )

        self.of_probabilities = loss_of("none")
        self.of_logits = loss_of("softmax" if softmax else "sigmoid")

    def forward(
        self,
        input: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The loss of `input` `(B, C, *space)`; `spacing` and `mask` as in `boundaryloss.BoundaryLoss`."""
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
        schedule: epoch -> (region weight, boundary weight). The default, `Constant(0.01)`, needs nobody to
            call `set_epoch`, which MONAI's own training loops do not.
        spacing: size of a voxel along each spatial axis, for the boundary loss.
        boundary: `"interface"` or `"pixel"`.
        dice_ce: further arguments of `monai.losses.DiceCELoss`.

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
        schedule: Callable[[int], tuple[float, float]] | None = None,
        spacing: Sequence[float] | None = None,
        boundary: Literal["interface", "pixel"] = "interface",
        **dice_ce: Any,
    ) -> None:
        super().__init__(
            DiceCELoss(include_background, to_onehot_y, sigmoid, softmax, **dice_ce),
            BoundaryLoss(
                include_background, to_onehot_y, sigmoid, softmax, spacing=spacing, boundary=boundary
            ),
            Constant(0.01) if schedule is None else schedule,
        )

    def terms(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The region and the boundary term, unweighted, as plain tensors."""
        return super().terms(_plain(logits), _plain(target), spacing=spacing, mask=mask)


class SignedDistanceMap(Transform):
    """Signed distance map of one channel-first label map, see `boundaryloss.signed_distance_map`.

    Made of the whole volume before patches are cut, the map holds true distances at the patches' edges; feed
    it to `boundaryloss.boundary_loss`. Without patches the losses make their maps themselves.

    The map keeps the metadata and the trace of the label map: `Invertd` brings it back to the file's grid.

    Args:
        num_classes: classes of a label map `(1, *space)`, background included; None for masks `(C, *space)`,
            each channel an object where it exceeds 1/2.
        spacing: size of a voxel along each spatial axis; default `MetaTensor.pixdim`, and 1 without metadata.
        boundary: `"interface"` or `"pixel"`; the latter needs equal spacing.
        include_background: whether the map of class 0 of a label map comes first.
        ignore_index: a label whose voxels belong to no class.

    Returns:
        float32 `(C - 1, *space)` of a label map (`C` with the background), `(C, *space)` of masks; of the
        input's kind: `MetaTensor`, tensor or array.

    Raises:
        ValueError: labels that are no integers or not one channel, and what `signed_distance_map` refuses.

    Example:
        >>> import torch
        >>> SignedDistanceMap(num_classes=2)(torch.tensor([[[0, 0, 1, 1]]])).tolist()
        [[[1.5, 0.5, -0.5, -1.5]]]
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (MONAI's way to say what a transform computes with)

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        spacing: Sequence[float] | None = None,
        boundary: Literal["interface", "pixel"] = "interface",
        include_background: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.spacing = spacing
        self.boundary: Literal["interface", "pixel"] = boundary
        self.include_background = include_background
        self.ignore_index = ignore_index

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """The map of `img` `(1 or C, *space)`."""
        tracked = convert_to_tensor(img, track_meta=get_track_meta())
        spacing = self.spacing
        if spacing is None and isinstance(tracked, MetaTensor):
            spacing = [float(step) for step in tracked.pixdim[: tracked.ndim - 1]]
        values = _plain(tracked)
        objects = values[None] > 0.5 if self.num_classes is None else _one_label_map(values)
        phi = signed_distance_map(
            objects,
            self.num_classes,
            spacing=spacing,
            boundary=self.boundary,
            include_background=self.include_background,
            ignore_index=self.ignore_index,
        )[0]
        return convert_to_dst_type(phi, dst=img, dtype=torch.float32)[0]


class SignedDistanceMapd(MapTransform):
    """`SignedDistanceMap` of the items of a dictionary.

    Args:
        keys: the items.
        num_classes: as the following, see `SignedDistanceMap`.
        spacing: size of a voxel along each spatial axis.
        boundary: `"interface"` or `"pixel"`.
        include_background: whether the map of class 0 comes first.
        ignore_index: a label whose voxels belong to no class.
        new_key_prefix: put before the key to make the map's; None, MONAI's default, replaces the item.
        allow_missing_keys: whether an item may be absent.

    Example:
        >>> import torch
        >>> maps = SignedDistanceMapd("label", num_classes=2, new_key_prefix="distance_")
        >>> sorted(maps({"label": torch.zeros(1, 4, 4)}))
        ['distance_label', 'label']
    """

    backend = SignedDistanceMap.backend

    def __init__(
        self,
        keys: KeysCollection,
        num_classes: int | None = None,
        *,
        spacing: Sequence[float] | None = None,
        boundary: Literal["interface", "pixel"] = "interface",
        include_background: bool = False,
        ignore_index: int | None = None,
        new_key_prefix: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = SignedDistanceMap(
            num_classes,
            spacing=spacing,
            boundary=boundary,
            include_background=include_background,
            ignore_index=ignore_index,
        )
        self.new_key_prefix = new_key_prefix or ""

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """A copy of `data` with the maps."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[f"{self.new_key_prefix}{key}"] = self.transform(items[key])
        return items


SignedDistanceMapD = SignedDistanceMapDict = SignedDistanceMapd


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _one_label_map(values: Tensor) -> Tensor:
    """Integer labels `(1, *space)` of any type: files are read as float32."""
    labels = values if not (values.is_floating_point() or values.dtype == torch.bool) else values.long()
    if len(labels) != 1 or (values.is_floating_point() and not torch.equal(labels.to(values), values)):
        raise ValueError(
            f"num_classes needs one channel of integer labels, got {values.dtype} {tuple(values.shape)}; "
            "leave num_classes out if the channels are masks"
        )
    return labels
