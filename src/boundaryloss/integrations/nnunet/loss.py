"""nnU-Net's loss plus the boundary loss, on the logits and targets that nnU-Net's trainers pass."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from boundaryloss import BoundaryLoss, GradientRatio, LogBoundaryLoss, RegionBoundaryLoss


def with_boundary(
    region: nn.Module,
    weighting: Callable[[int], tuple[float, float]] | GradientRatio,
    *,
    spacing: Sequence[float],
    has_regions: bool,
    ignore_label: int | None,
    form: Callable[..., BoundaryLoss | LogBoundaryLoss] = BoundaryLoss,
) -> RegionBoundaryLoss:
    """Return `region`, as nnU-Net builds it, together with the boundary loss.

    Args:
        region: nnU-Net's loss, wrapped for deep supervision or not.
        weighting: of a `RegionBoundaryLoss`.
        spacing: of the network's input, as the plan has it; the unit of the boundary term.
        has_regions: whether the target is a mask per region, for a sigmoid, instead of labels for a softmax.
        ignore_label: the label of voxels that carry no loss. With regions they are the target's last channel.
        form: makes the boundary loss: `BoundaryLoss`, or `LogBoundaryLoss`.

    Returns:
        A loss of logits `(B, C, *space)` and labels `(B, 1, *space)` or masks `(B, C, *space)`, or of lists
        of both, one pair per level of deep supervision. With an `ignore_label` masks have one channel more.

    Example:
        >>> import torch
        >>> from boundaryloss import Constant
        >>> loss = with_boundary(
        ...     torch.nn.BCEWithLogitsLoss(), Constant(1), spacing=(1, 2), has_regions=True, ignore_label=None
        ... )
        >>> loss.set_epoch(0)
        >>> target = torch.tensor([[[[False, False, True, True]]]])  # phi = 3, 1, -1, -3
        >>> logits = torch.tensor([[[[-99.0, 0.0, 99.0, 99.0]]]])
        >>> float(loss.boundary(logits, target))  # (0 * 3 + 1/2 * 1 - 1 * 1 - 1 * 3) / 4
        -0.875
    """
    boundary = form(
        activation="sigmoid" if has_regions else "softmax",
        spacing=spacing,
        ignore_index=None if has_regions else ignore_label,
    )
    full = FullResolution(boundary, ignored_channel=has_regions and ignore_label is not None)
    return RegionBoundaryLoss(region, full, weighting)


class FullResolution(nn.Module):
    """A boundary loss at the first, full resolution of deep supervision.

    The coarser targets are thinned out labels, in which small objects are lost.

    Args:
        boundary: the loss of one level.
        ignored_channel: whether the last channel of a target marks the voxels that carry no loss.
    """

    def __init__(self, boundary: nn.Module, *, ignored_channel: bool) -> None:
        super().__init__()
        self.boundary = boundary
        self.ignored_channel = ignored_channel

    def forward(
        self, logits: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor], **options: object
    ) -> Tensor:
        """Return the loss of the logits of one level, or of the first of a list of levels."""
        if isinstance(logits, Sequence):
            logits = logits[0]
        if isinstance(target, Sequence):
            target = target[0]
        if self.ignored_channel:
            target, options["mask"] = target[:, :-1], ~target[:, -1].bool()
        return self.boundary(logits, target, **options)
