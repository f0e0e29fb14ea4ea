"""Weights with which every lesion of the truth counts alike, whatever its size."""

import torch
from torch import Tensor

from boundaryloss.distance import cpu, op, reference
from boundaryloss.distance.devices import COMPONENTS

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
    if COMPONENTS.serve(sizes.device):
        return reference.component_factors(sizes, op.components(inside), MOST)
    sizes_there, inside_there = COMPONENTS.to_cpu(sizes), COMPONENTS.to_cpu(inside)
    return cpu.component_factors(sizes_there, cpu.components(inside_there), MOST).to(sizes.device)


def _of_no_values(sizes: Tensor, inside: Tensor) -> Tensor:
    return torch.empty_like(inside, dtype=torch.float32, memory_format=torch.contiguous_format)


lesion_factors = op.define(
    "lesion_factors", "(Tensor sizes, Tensor inside) -> Tensor", _lesion_factors, _of_no_values
)
