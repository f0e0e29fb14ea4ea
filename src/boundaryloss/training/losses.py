"""The losses by name: MONAI's region losses, and three boundary losses: ours, MONAI's, the official one."""

from collections.abc import Sequence

from monai.losses import boundary_loss as monai_boundary
from monai.losses.dice import DiceCELoss, DiceLoss, GeneralizedDiceLoss
from torch import Tensor, nn

from boundaryloss.distance import signed_distance_map
from boundaryloss.losses import BoundaryLoss, RegionBoundaryLoss, boundary_loss
from boundaryloss.training.config import TERMS, TrainConfig


class CrossEntropy(nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` for a target with a channel axis: `(batch, 1, *space)`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of the logits `input`."""
        return super().forward(input, target.squeeze(1))


class MonaiBoundaryLoss(monai_boundary.BoundaryLoss):
    """MONAI's own boundary loss on the foreground, in pixels: it knows neither spacing nor mask."""

    def __init__(self) -> None:
        super().__init__(include_background=False, to_onehot_y=True, softmax=True)

    def forward(
        self, input: Tensor, target: Tensor, *, spacing: Sequence[float] | None = None, mask: None = None
    ) -> Tensor:
        """Their loss; `spacing` is not used, as they do not."""
        return super().forward(input, target)


class OfficialBoundaryLoss(nn.Module):
    """The boundary loss as the code published with the MIDL paper computes it, on the foreground.

    Its maps have the type of the labels, so that distances are cut to whole pixels. One thing is left out: a
    class that fills the image, for which SciPy measures to a voxel outside of it; here its map is zero.
    """

    def forward(
        self, logits: Tensor, target: Tensor, *, spacing: Sequence[float] | None = None, mask: None = None
    ) -> Tensor:
        """Mean over batch, foreground classes and pixels; `spacing` is not used."""
        phi = signed_distance_map(target[:, 0], logits.shape[1], boundary="pixel").trunc()
        return boundary_loss(logits.softmax(1)[:, 1:], phi)


def make_loss(name: str, config: TrainConfig, spacing: tuple[float, ...] | None = None) -> nn.Module:
    """The loss called `name`, for logits `(batch, class, *space)` and labels `(batch, 1, *space)`.

    Args:
        name: a region loss `ce`, `dice`, `gdl` or `dicece`; a boundary term `boundary`, `monai.BoundaryLoss`
            or `official.BoundaryLoss`; or both with a `+` between, which makes a `RegionBoundaryLoss`.
        config: gives the schedule.
        spacing: the pixel size that the distance map is measured in; default one pixel.
    """
    if name in TERMS:
        return _make_term(name, spacing)
    region, _, term = name.partition("+")
    if not term:
        return _make_region(region)
    return RegionBoundaryLoss(_make_region(region), _make_term(term, spacing), config.make_schedule())


def _make_term(name: str, spacing: tuple[float, ...] | None) -> nn.Module:
    if name == "boundary":
        return BoundaryLoss(spacing=spacing)
    if name == "monai.BoundaryLoss":
        return MonaiBoundaryLoss()
    if name == "official.BoundaryLoss":
        return OfficialBoundaryLoss()
    raise ValueError(f"unknown boundary loss {name!r}")


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
