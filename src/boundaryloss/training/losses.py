"""The losses by name: MONAI's region losses, each alone or with the boundary loss."""

from typing import Literal

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


class MaskedRegionLoss(nn.Module):
    """Region losses where MONAI has none: of regions that overlap, and of labels that are not everywhere.

    Voxels without a label leave every sum and every mean.

    Args:
        name: `ce`, `dice`, `gdl` or `dicece`.
        activation: `softmax` for labels, `sigmoid` for masks of regions.
        ignore_index: the label of unlabelled voxels; masks have them as one more channel, the last. None: all
            are labelled.
    """

    def __init__(self, name: str, activation: Activation, ignore_index: int | None) -> None:
        super().__init__()
        self.activation, self.ignore_index = activation, ignore_index
        self.entropy = name in ("ce", "dicece")
        overlaps = {"ce": None, "dice": DiceLoss, "dicece": DiceLoss, "gdl": GeneralizedDiceLoss}
        self.overlap = overlaps[name] and overlaps[name]()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` over the voxels with a label."""
        if self.activation == "sigmoid":
            truth = target[:, : logits.shape[1]].to(logits.dtype)
            valid = target.new_ones(()).bool() if self.ignore_index is None else ~target[:, -1:].bool()
            probabilities = logits.sigmoid()
            entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        else:
            valid = target != self.ignore_index
            labels = target.masked_fill(~valid, 0)[:, 0]
            truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
            probabilities = logits.softmax(1)
            entropy = functional.cross_entropy(logits, labels, reduction="none")[:, None]
        loss = logits.new_zeros(())
        if self.entropy:
            counted = valid.expand_as(entropy)
            loss = loss + (entropy * counted).sum() / counted.sum().clamp(min=1)
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
    if activation == "sigmoid" or ignore_index is not None:
        return MaskedRegionLoss(name, activation, ignore_index)
    if name == "ce":
        return CrossEntropy()
    if name == "dice":
        return DiceLoss(softmax=True, to_onehot_y=True)
    if name == "gdl":
        return GeneralizedDiceLoss(softmax=True, to_onehot_y=True)
    if name == "dicece":
        return DiceCELoss(softmax=True, to_onehot_y=True)
    raise ValueError(f"unknown region loss {name!r}")
