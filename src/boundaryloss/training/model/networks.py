"""MONAI's U-Nets, by configuration, and how they see a whole image."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers.inferer import SliceInferer, SlidingWindowInferer
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.dynunet import DynUNet
from torch import Tensor, nn

from boundaryloss.files import UserError
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.padding import MULTIPLE, cut_back, pad_edges
from boundaryloss.training.task import Task

OVERLAP = 0.5  # of neighbouring windows
COARSE = 2  # an axis with voxels so many times longer than the shortest waits before it is halved
FULL = 256  # what DynUNet is built for where whole slices are seen


def make_network(config: TrainConfig, task: Task) -> BasicUNet | DynUNet:
    """Make the network of a run, for images of `task.channels` channels.

    Raises:
        UserError: the patch cannot be halved as often as the network does it.
    """
    patch, spacing = task.patch, task.spacing
    if config.network == "basicunet":
        if patch and (any(n % MULTIPLE for n in patch) or max(patch) == MULTIPLE):
            raise UserError(
                f"patch {list(patch)}: basicunet halves every axis four times; "
                'choose multiples of 16, one of them above it, or network = "dynunet"'
            )
        return BasicUNet(len(spacing), task.channels, task.outputs, (*config.features, config.features[0]))
    levels = len(config.features) if patch else min(5, len(config.features))
    strides, kernels = plan_levels(patch or (FULL,) * len(spacing), spacing, levels)
    if len(strides) < 3:
        raise UserError(
            f"patch {list(patch or ())}: dynunet halves it at least twice; choose multiples of 8 from 16 on"
        )
    supervised = config.deep_supervision != "none"
    return DynUNet(
        len(spacing),
        task.channels,
        task.outputs,
        kernel_size=kernels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=config.features[: len(strides)],
        deep_supervision=supervised,
        deep_supr_num=min(3, len(strides) - 2),
    )


def plan_levels(
    patch: Sequence[int], spacing: Sequence[float], levels: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Return strides and kernel sizes by level: fine axes are halved first, until voxels are about cubes.

    >>> plan_levels((64, 64, 16), (1.0, 1.0, 3.0), 4)
    ([[1, 1, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2]], [[3, 3, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3]])
    """
    size, step = list(patch), list(spacing)
    strides, kernels, finest = [[1] * len(size)], [], 0.0
    while True:
        # an axis too thin to be halved does not hold up the others
        can_halve = [s for n, s in zip(size, step, strict=True) if n % 2 == 0 and n >= 8]
        finest = min(can_halve, default=max(finest, min(step)))
        kernels.append([3 if s <= COARSE * finest else 1 for s in step])
        stride = [
            2 if n % 2 == 0 and n >= 8 and s < COARSE * finest else 1 for n, s in zip(size, step, strict=True)
        ]
        if len(strides) == levels or max(stride) == 1:
            return strides, kernels
        strides.append(stride)
        size = [n // k for n, k in zip(size, stride, strict=True)]
        step = [s * k for s, k in zip(step, stride, strict=True)]


def run_whole(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of `images` of any size; the edges are repeated up to a size that can be halved."""
    size = images.shape[2:]
    divisible = [-(-n // MULTIPLE) * MULTIPLE for n in size]
    if max(divisible) == MULTIPLE:
        divisible[-1] *= 2  # one voxel at the lowest level has no variance for the norm to divide by
    return cut_back(network(pad_edges(images, divisible)), size)


class Averaged(nn.Module):
    """The mean logits of several networks, each of which may also see the images mirrored.

    Args:
        networks: with the same outputs.
        mirror: whether to take the mean over all mirrored images, along any of their axes, mirrored back.
    """

    def __init__(self, networks: Iterable[nn.Module], *, mirror: bool) -> None:
        super().__init__()
        self.networks, self.mirror = nn.ModuleList(networks), mirror

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of the logits."""
        axes = range(2, images.ndim) if self.mirror else ()
        flips = [flip for count in range(len(axes) + 1) for flip in combinations(axes, count)]
        logits = [network(images.flip(flip)).flip(flip) for network in self.networks for flip in flips]
        return torch.stack(logits).mean(0)


def make_inferer(task: Task, batch_size: int) -> SlidingWindowInferer | None:
    """Make windows of a patch's size over a volume, or over each slice of it, blended with Gaussian weights.

    None where slices are seen whole.
    """
    if task.patch is None:
        return None
    options: Any = {"sw_batch_size": batch_size, "overlap": OVERLAP, "mode": "gaussian"}
    options["padding_mode"] = "replicate"  # of an image smaller than a window
    if task.slicewise:
        return SliceInferer(spatial_dim=2, roi_size=task.patch, **options)
    return SlidingWindowInferer(task.patch, **options)
