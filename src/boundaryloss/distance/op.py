"""The ops: what `torch.compile`, autocast and the dispatcher see."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch._ops import OpOverload

from boundaryloss.distance import cpu
from boundaryloss.distance.devices import COMPONENTS, MAPS

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
    settings = num_classes, first_class, spacing, face_offset, ignore_index

    def launch() -> tuple[Tensor, Tensor]:
        from boundaryloss.distance import cuda

        return cuda.signed_distance(maps, *settings)

    if (made := MAPS.run(maps.device, launch)) is None:
        return cpu.signed_distance(MAPS.to_cpu(maps), *settings).to(maps.device)
    phi, labels_fit = made
    assert_labels(labels_fit, num_classes)
    return phi


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

    def launch() -> Tensor:
        from boundaryloss.distance import cuda

        return cuda.distance_transform(mask, spacing)

    if (made := MAPS.run(mask.device, launch)) is None:
        return cpu.distance_transform(MAPS.to_cpu(mask), spacing).to(mask.device)
    return made


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

    def launch() -> Tensor:
        from boundaryloss.distance import cuda_components

        return cuda_components.components(masks)

    if (made := COMPONENTS.run(masks.device, launch)) is None:
        return cpu.components(COMPONENTS.to_cpu(masks)).to(masks.device)
    return made


def _components_of_no_values(masks: Tensor) -> Tensor:
    return torch.empty_like(masks, dtype=torch.int32, memory_format=torch.contiguous_format)


components = define("components", "(Tensor masks) -> Tensor", _components, _components_of_no_values)


def assert_labels(labels_fit: Tensor, num_classes: int) -> None:
    """Refuse labels outside the classes, as the CPU kernel does; on CUDA without waiting for the device."""
    message = f"labels lie outside 0..{num_classes - 1}; pass ignore_index if they mark unlabelled voxels"
    if labels_fit.device.type == "cuda":
        torch.ops.aten._assert_async.msg(labels_fit, message)
    elif not labels_fit:
        raise ValueError(message)
