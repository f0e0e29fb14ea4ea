"""The losses by name: MONAI's region losses, each alone or with the boundary loss."""

from monai.losses.dice import DiceCELoss, DiceLoss, GeneralizedDiceLoss
from torch import Tensor, nn

from boundaryloss.losses import BoundaryLoss, RegionBoundaryLoss
from boundaryloss.training.config import TrainConfig


class CrossEntropy(nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` for a target with a channel axis: `(batch, 1, *space)`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of the logits `input`."""
        return super().forward(input, target.squeeze(1))


def make_loss(name: str, config: TrainConfig, spacing: tuple[float, ...] | None = None) -> nn.Module:
    """The loss called `name`, for logits `(batch, class, *space)` and labels `(batch, 1, *space)`.

    Args:
        name: `ce`, `dice`, `gdl` or `dicece`; with `+boundary` it is a `RegionBoundaryLoss`.
        config: gives the schedule.
        spacing: the pixel size that the distance map is measured in; default one pixel.
    """
    region_name, _, with_boundary = name.partition("+")
    region = _make_region(region_name)
    if not with_boundary:
        return region
    return RegionBoundaryLoss(region, BoundaryLoss(spacing=spacing), config.make_schedule())


def _make_region(name: str) -> nn.Module:
    if name == "ce":
        return CrossEntropy()
    if name == "dice":
        return DiceLoss(softmax=True, to_onehot_y=True)
    if name == "gdl":
        return GeneralizedDiceLoss(softmax=True, to_onehot_y=True)
    if name == "dicece":
        return DiceCELoss(softmax=True, to_onehot_y=True)
    raise ValueError(f"unknown region loss {name!r}")
