"""Weights with which every lesion of the truth counts alike, whatever its size."""

import torch
from torch import Tensor

from boundaryloss.distance import op

MOST = 10.0  # times the weight of a lesion, up or down


def lesion_factors(weight: Tensor, mask: Tensor | None) -> Tensor:
    """Return the factor of every voxel that gives the components where `weight < 0` the same total.

    Args:
        weight: `(batch, class, *space)`, negative inside.
        mask: bool `(batch, 1, *space)`, False at voxels that carry no loss: they are in no component.

    Returns:
        `mean_j T_j / T_k` in component `k`, `T` the totals of `|weight|` and the mean over the components of
        a class in the batch, but at least 1/10 and at most 10; 1 outside.
    """
    inside = weight < 0 if mask is None else (weight < 0) & mask
    number = op.components(inside).flatten(2).long()
    images, classes, voxels = number.shape
    # Component 0, the outside, has a place too: shapes must not depend on what is in the masks.
    first_place = (voxels + 1) * torch.arange(images * classes, device=weight.device)
    place = number + first_place.view(images, classes, 1)
    exact = torch.float32 if weight.device.type == "mps" else torch.float64
    size = torch.where(inside, -weight, 0).flatten().to(exact)
    totals = size.new_zeros(images * classes * (voxels + 1)).index_add_(0, place.flatten(), size)
    totals = totals.view(images, classes, voxels + 1)
    count = (totals > 0).sum((0, 2), keepdim=True).clamp(min=1)
    factors = (totals.sum((0, 2), keepdim=True) / count / totals).clamp(1 / MOST, MOST).to(weight.dtype)
    return torch.where(inside, factors.flatten()[place].view_as(weight), 1)
