"""The custom ops: what `torch.compile`, autocast and the dispatcher see; the choice of kernel."""

import torch
from torch import Tensor

from boundaryloss.distance import cpu, reference


@torch.library.custom_op(
    "boundaryloss::signed_distance",
    mutates_args=(),
    schema="(Tensor maps, int num_classes, int first_class, float[] spacing, float face_offset, "
    "int? ignore_index) -> Tensor",
)
def signed_distance(
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: list[float],
    face_offset: float,
    ignore_index: int | None,
) -> Tensor:
    """Signed maps `(batch, map * class, *space)` of label maps `(batch, map, *space)`."""
    if maps.device.type == "cpu":
        return cpu.signed_distance(maps, num_classes, first_class, spacing, face_offset, ignore_index)
    _assert_labels(maps, num_classes, ignore_index)
    return reference.signed_distance(maps, num_classes, first_class, spacing, face_offset, ignore_index)


@signed_distance.register_fake
def _(maps, num_classes, first_class, spacing, face_offset, ignore_index):
    batch, channels, *space = maps.shape
    return maps.new_empty((batch, channels * (num_classes - first_class), *space), dtype=torch.float32)


@torch.library.custom_op(
    "boundaryloss::distance_transform", mutates_args=(), schema="(Tensor mask, float[] spacing) -> Tensor"
)
def distance_transform(mask: Tensor, spacing: list[float]) -> Tensor:
    """Distance of every True voxel of `(batch, *space)` to the nearest False one."""
    if mask.device.type == "cpu":
        return cpu.distance_transform(mask, spacing)
    return reference.distance_transform(mask, spacing)


@distance_transform.register_fake
def _(mask, spacing):
    return torch.empty_like(mask, dtype=torch.float32, memory_format=torch.contiguous_format)


def _assert_labels(maps: Tensor, num_classes: int, ignore_index: int | None) -> None:
    """As the CPU kernel does, refuse labels outside the classes, on CUDA without waiting for the device."""
    valid = (maps >= 0) & (maps < num_classes)
    if ignore_index is not None:
        valid |= maps == ignore_index
    message = f"labels lie outside 0..{num_classes - 1}; pass ignore_index if they mark unlabelled voxels"
    if maps.device.type == "cuda":
        torch.ops.aten._assert_async.msg(valid.all(), message)
    elif not valid.all():
        raise ValueError(message)
