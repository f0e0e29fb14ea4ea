"""Weights with which every lesion of the truth counts alike, whatever its size."""

import torch
from torch import Tensor

from boundaryloss.distance import cpu, op

MOST = 10.0  # times the weight of a lesion, up or down


def _lesion_factors(sizes: Tensor, inside: Tensor) -> Tensor:
    """Return the factor of every voxel that gives the components of `inside` the same total of `sizes`.

    Args:
        sizes: `(batch, class, *space)`, positive inside.
        inside: bool, of the same shape.

    Returns:
        float32: `mean_j T_j / T_k` in component `k`, with `T` the totals and the mean over the components of
        a class in the batch, but at least 1/10 and at most 10; 1 outside.
    """
    if op.triton_runs_on(sizes.device):
        return on_any_device(sizes, inside, op.components(inside))
    factors = cpu.component_factors(sizes.cpu(), cpu.components(inside.cpu()), MOST)
    return factors.to(sizes.device)


def on_any_device(sizes: Tensor, inside: Tensor, numbers: Tensor) -> Tensor:
    """Return the factors, given the `components`, in plain PyTorch: no shape depends on what is inside."""
    images, classes = sizes.shape[:2]
    numbers = numbers.flatten(2).long()
    places = numbers.shape[2] + 1  # the outside, number 0, has one too
    first = places * torch.arange(images * classes, device=sizes.device)
    place = numbers + first.view(images, classes, 1)
    inner = torch.where(inside, sizes, 0).flatten().double()
    totals = inner.new_zeros(images * classes * places).index_add_(0, place.flatten(), inner)
    totals = totals.view(images, classes, places)
    count = (totals > 0).sum((0, 2), keepdim=True).clamp(min=1)
    factors = (totals.sum((0, 2), keepdim=True) / count / totals).clamp(1 / MOST, MOST).float()
    return torch.where(inside, factors.flatten()[place].view_as(sizes), 1)


def _of_no_values(sizes: Tensor, inside: Tensor) -> Tensor:
    return torch.empty_like(inside, dtype=torch.float32, memory_format=torch.contiguous_format)


lesion_factors = op.define(
    "lesion_factors", "(Tensor sizes, Tensor inside) -> Tensor", _lesion_factors, _of_no_values
)
