"""The losses by name: MONAI's region losses, each alone or with the boundary loss."""

from typing import Any, Literal

from monai.losses.dice import DiceCELoss, DiceLoss, GeneralizedDiceLoss
from torch import Tensor, nn
from torch.nn import functional

from boundaryloss.losses import BoundaryLoss, RegionBoundaryLoss
from boundaryloss.training.config import TrainConfig

Activation = Literal["softmax", "sigmoid"]


class CrossEntropy(nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` for a target with a channel axis: `(batch, 1, *space)`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of the logits `input`."""
        return super().forward(input, target.squeeze(1))


class LabelledOnly(nn.Module):
    """Region losses where some voxels carry no label: these leave every sum and every mean.

    Args:
        name: `ce`, `dice`, `gdl` or `dicece`.
        activation: `softmax` for labels, `sigmoid` for masks of regions whose last channel is what is
            unlabelled.
        ignore_index: the label of unlabelled voxels.
    """

    def __init__(self, name: str, activation: Activation, ignore_index: int) -> None:
        super().__init__()
        self.activation, self.ignore_index = activation, ignore_index
        self.entropy = name in ("ce", "dicece")
        self.overlap = {"dice": DiceLoss, "dicece": DiceLoss, "gdl": GeneralizedDiceLoss}.get(
            name, lambda: None
        )()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` over the voxels with a label."""
        if self.activation == "sigmoid":
            valid, truth = ~target[:, -1:].bool(), target[:, :-1].to(logits.dtype)
            entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(
                1, keepdim=True
            )
            probabilities = logits.sigmoid()
        else:
            valid = target != self.ignore_index
            labels = target.masked_fill(~valid, 0)[:, 0]
            truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
            entropy = functional.cross_entropy(logits, labels, reduction="none")[:, None]
            probabilities = logits.softmax(1)
        loss = logits.new_zeros(())
        if self.entropy:
            loss = loss + (entropy * valid).sum() / valid.sum().clamp(min=1)
        if self.overlap is not None:
            loss = loss + self.overlap(probabilities * valid, truth * valid)
        return loss


def make_loss(
    name: str,
    config: TrainConfig,
    spacing: tuple[float, ...] | None = None,
    *,
    activation: Activation = "softmax",
    ignore_index: int | None = None,
) -> nn.Module:
    """The loss called `name`, for logits `(batch, class, *space)` and labels `(batch, 1, *space)`.

    Args:
        name: `ce`, `dice`, `gdl` or `dicece`; with `+boundary` it is a `RegionBoundaryLoss`.
        config: gives the schedule.
        spacing: the pixel size that the distance map is measured in; default one pixel.
        activation: `sigmoid` where the target is masks of regions `(batch, region, *space)`.
        ignore_index: the label of voxels that carry no loss.
    """
    region_name, _, with_boundary = name.partition("+")
    region = _make_region(region_name, activation, ignore_index)
    if not with_boundary:
        return region
    boundary = BoundaryLoss(
        activation=activation,
        spacing=spacing,
        ignore_index=ignore_index if activation == "softmax" else None,
    )
    return RegionBoundaryLoss(region, boundary, config.make_schedule())


def _make_region(name: str, activation: Activation, ignore_index: int | None) -> nn.Module:
    if ignore_index is not None:
        return LabelledOnly(name, activation, ignore_index)
    softmax = activation == "softmax"
    options: Any = {"softmax": True, "to_onehot_y": True} if softmax else {"sigmoid": True}
    if name == "ce":
        return CrossEntropy() if softmax else _BinaryCrossEntropy()
    if name == "dice":
        return DiceLoss(**options)
    if name == "gdl":
        return GeneralizedDiceLoss(**options)
    if name == "dicece":
        return DiceCELoss(**options)
    raise ValueError(f"unknown region loss {name!r}")


class _BinaryCrossEntropy(nn.BCEWithLogitsLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return super().forward(input, target.to(input.dtype))
