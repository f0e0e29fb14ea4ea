"""The ops: what `torch.compile`, autocast and the dispatcher see; the choice of kernel."""

import math
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.torch_version import TorchVersion

from boundaryloss.distance import cpu, reference
from boundaryloss.distance.checks import differ

# Compilers before Triton 3.3, which came with torch 2.7, may crash on the kernels.
_HAS_TRITON = TorchVersion(torch.__version__) >= "2.7" and find_spec("triton") is not None


LIBRARY = torch.library.Library("boundaryloss", "DEF")
_STRIDES = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)  # before torch 2.8


def define(name: str, schema: str, kernel: Callable[..., object], fake: Callable[..., object]) -> OpOverload:
    """Return a new op that runs `kernel`, or `fake` on tensors without values.

    `torch.library.custom_op` does the same, but imports the compiler at the first call of every process.
    """
    LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag, _STRIDES))
    LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"boundaryloss::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.boundaryloss, name).default


def _signed_distance(
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: list[float],
    face_offset: float,
    ignore_index: int | None,
) -> Tensor:
    """Compute the signed maps `(batch, map * class, *space)` of label maps `(batch, map, *space)`."""
    if maps.device.type == "cpu":
        return cpu.signed_distance(maps, num_classes, first_class, spacing, face_offset, ignore_index)
    if triton_runs_on(maps.device):
        from boundaryloss.distance import cuda

        phi, labels_fit = cuda.signed_distance(
            maps, num_classes, first_class, spacing, face_offset, ignore_index
        )
        assert_labels(labels_fit, num_classes)
        return phi
    valid = (maps >= 0) & (maps < num_classes)
    if ignore_index is not None:
        valid |= ~differ(maps, ignore_index)
    assert_labels(valid.all(), num_classes)
    return reference.signed_distance(maps, num_classes, first_class, spacing, face_offset, ignore_index)


def _signed_distance_of_no_values(maps: Tensor, num_classes: int, first_class: int, *_: object) -> Tensor:
    batch, channels, *space = maps.shape
    return maps.new_empty((batch, channels * (num_classes - first_class), *space), dtype=torch.float32)


signed_distance = define(
    "signed_distance",
    "(Tensor maps, int num_classes, int first_class, float[] spacing, float face_offset, int? ignore_index) "
    "-> Tensor",
    _signed_distance,
    _signed_distance_of_no_values,
)


def _distance_transform(mask: Tensor, spacing: list[float]) -> Tensor:
    """Compute the distance of every True voxel of `(batch, *space)` to the nearest False one."""
    if mask.device.type == "cpu":
        return cpu.distance_transform(mask, spacing)
    if triton_runs_on(mask.device):
        from boundaryloss.distance import cuda

        return cuda.distance_transform(mask, spacing)
    return reference.distance_transform(mask, spacing)


def _distance_transform_of_no_values(mask: Tensor, spacing: list[float]) -> Tensor:
    return torch.empty_like(mask, dtype=torch.float32, memory_format=torch.contiguous_format)


distance_transform = define(
    "distance_transform",
    "(Tensor mask, float[] spacing) -> Tensor",
    _distance_transform,
    _distance_transform_of_no_values,
)


def _components(masks: Tensor) -> Tensor:
    """Compute the component of every voxel of bool masks `(batch, class, *space)`, int32: 0 outside the mask.

    Voxels that share a face, an edge or a corner belong together. A component's number is the index of its
    first voxel among those of its image and class, plus 1: the same on all devices.
    """
    if math.prod(masks.shape[2:]) >= 2**31:
        raise ValueError(f"components need images of less than 2^31 voxels, got {tuple(masks.shape[2:])}")
    if masks.device.type != "cpu" and triton_runs_on(masks.device):
        from boundaryloss.distance import cuda_components

        return cuda_components.components(masks)
    return cpu.components(masks.cpu()).to(masks.device)


def _components_of_no_values(masks: Tensor) -> Tensor:
    return torch.empty_like(masks, dtype=torch.int32, memory_format=torch.contiguous_format)


components = define("components", "(Tensor masks) -> Tensor", _components, _components_of_no_values)


def triton_runs_on(device: torch.device) -> bool:
    """Return whether the Triton kernels serve `device`; where only Triton is missing, that is said once."""
    if device.type not in ("cuda", "xpu"):
        return False
    if not _HAS_TRITON:
        _say_that_triton_is_missing()
    return _HAS_TRITON


@cache
def _say_that_triton_is_missing() -> None:
    warnings.warn(
        "distance maps on the GPU take the slow reference: the kernels need torch 2.7 or later and Triton "
        "(pip install triton)",
        stacklevel=3,
    )


def assert_labels(labels_fit: Tensor, num_classes: int) -> None:
    """Refuse labels outside the classes, as the CPU kernel does; on CUDA without waiting for the device."""
    message = f"labels lie outside 0..{num_classes - 1}; pass ignore_index if they mark unlabelled voxels"
    if labels_fit.device.type == "cuda":
        torch.ops.aten._assert_async.msg(labels_fit, message)
    elif not labels_fit:
        raise ValueError(message)
