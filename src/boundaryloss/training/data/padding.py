"""Arrays that are too small for what looks at them: repeated at their edges, and cut back afterwards."""

from collections.abc import Sequence

import torch
from torch import Tensor

MULTIPLE = 16  # of voxels that four halvings divide


def pad_edges(values: Tensor, size: Sequence[int]) -> Tensor:
    """Repeat the outermost voxels of `values` (..., *space), as much on both sides, up to `size`.

    A copy of the edge changes no distance inside, and no zeros enter the statistics of a norm. An axis that
    is long enough stays as it is.
    """
    for axis, n in enumerate(size, start=values.ndim - len(size)):
        if (m := values.shape[axis]) < n:
            repeated = torch.arange(n, device=values.device) - (n - m) // 2
            values = values.index_select(axis, repeated.clamp(0, m - 1))
    return values


def cut_back(values: Tensor, size: Sequence[int]) -> Tensor:
    """Return the part of `values` (..., *space) that `pad_edges` was given, of shape (..., *size); a view."""
    starts = [(n - m) // 2 for n, m in zip(values.shape[-len(size) :], size, strict=True)]
    return values[(..., *(slice(start, start + m) for start, m in zip(starts, size, strict=True)))]
