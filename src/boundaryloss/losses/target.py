"""A target, in any of the forms that people have, -> the objects that a loss measures to."""

from typing import NamedTuple

import torch
from torch import Tensor

from boundaryloss.distance import signed_distance_map
from boundaryloss.distance.checks import computable, differ, is_integer
from boundaryloss.distance.signed import Contour


class Objects(NamedTuple):
    """The objects of the channels that count, which are the last of the logits'."""

    maps: Tensor  # integer labels (batch, *space), or bool masks (batch, counted, *space)
    num_classes: int | None  # of labels
    counted: int  # channels
    valid: Tensor | None  # bool (batch, 1, *space): what has a label

    def signed_distance(self, spacing: list[float], contour: Contour, ignore_index: int | None) -> Tensor:
        """Return the map `(batch, counted, *space)`."""
        return signed_distance_map(
            self.maps,
            self.num_classes,
            spacing=spacing,
            contour=contour,
            include_background=self.counted == self.num_classes,
            ignore_index=ignore_index,
        )

    def first_voxel(self) -> Tensor:
        """Return whether each object has the first voxel, bool `(batch, counted, 1, ...)`."""
        if self.num_classes is None:
            return self.maps[_corner(self.maps)]
        labels = self.maps.unsqueeze(1)
        first = labels[_corner(labels)]
        classes = torch.arange(self.num_classes, device=first.device)[-self.counted :]
        has = first == classes.view(1, -1, *[1] * (first.ndim - 2))
        return has if self.valid is None else has & self.valid[_corner(self.valid)]


def _corner(values: Tensor) -> tuple[slice, ...]:
    return (slice(None), slice(None), *[slice(1)] * (values.ndim - 2))


def parse_target(
    logits: Tensor, target: Tensor, *, every_channel: bool, background: bool, ignore_index: int | None
) -> Objects:
    """Return the objects of `target`.

    Args:
        logits: `(batch, class, *space)`.
        target: labels `(batch, *space)` or `(batch, 1, *space)`, or masks of the logits' shape.
        every_channel: whether all channels of masks count, or all but the first.
        background: whether channel 0 of labels counts.
        ignore_index: the value of unlabelled voxels in labels.

    Raises:
        TypeError: labels of a floating type.
        ValueError: a shape that does not match, or `ignore_index` for masks.
    """
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
        valid = None if ignore_index is None else differ(target, ignore_index)
        counted = channels if background or channels == 1 else channels - 1
        return Objects(target[:, 0], max(channels, 2), counted, valid)
    if target.shape != logits.shape:
        raise ValueError(
            f"target of shape {tuple(target.shape)} does not match logits {tuple(logits.shape)}: it must be "
            "labels (batch, *space) or (batch, 1, *space), or masks of the logits' shape"
        )
    if ignore_index is not None:
        raise ValueError("ignore_index needs integer labels as target; for masks pass mask= to the call")
    first = 0 if every_channel or channels == 1 else 1
    masks = target if target.dtype == torch.bool else target > 0.5
    return Objects(masks[:, first:], None, channels - first, None)
