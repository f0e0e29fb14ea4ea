"""CPU tensors: the native kernels (`native/`), or the reference where an install has none."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boundaryloss.distance import reference
from boundaryloss.distance.checks import differ
from boundaryloss.distance.extension import native_code


def signed_distance(
    maps: Tensor,
    num_classes: int,
    first_class: int,
    spacing: Sequence[float],
    face_offset: float,
    ignore_index: int | None,
) -> Tensor:
    """Compute signed maps of classes `first_class..num_classes-1` of label maps `(batch, map, *space)`."""
    if (native := native_code()) is None:
        if (position := _first_bad_label(maps, num_classes, ignore_index)) is not None:
            raise ValueError(_bad_label(position, maps, num_classes))
        return reference.signed_distance(maps, num_classes, first_class, spacing, face_offset, ignore_index)
    batch, channels, *space = maps.shape
    result = maps.new_empty((batch, channels * (num_classes - first_class), *space), dtype=torch.float32)
    depth_maps, depth_spacing = _with_depth(maps, spacing)
    bad = native.signed_distance(
        depth_maps,
        result,
        num_classes,
        first_class,
        ignore_index,
        depth_spacing,
        face_offset,
        torch.get_num_threads(),
    )
    if bad is not None:
        raise ValueError(_bad_label(bad, maps, num_classes))
    return result


def distance_transform(mask: Tensor, spacing: Sequence[float]) -> Tensor:
    """Compute the distance of every True voxel of `(batch, *space)` to the nearest False one."""
    if (native := native_code()) is None:
        return reference.distance_transform(mask, spacing)
    result = torch.empty_like(mask, dtype=torch.float32, memory_format=torch.contiguous_format)
    maps, depth_spacing = _with_depth(mask.unsqueeze(1), spacing)
    native.distance_transform(maps, result, depth_spacing, torch.get_num_threads())
    return result


def components(masks: Tensor) -> Tensor:
    """Compute the components of bool masks `(batch, class, *space)`, numbered by their first voxel."""
    if (native := native_code()) is None:
        return reference.components(masks)
    batch, channels, *space = masks.shape
    result = torch.empty_like(masks, dtype=torch.int32, memory_format=torch.contiguous_format)
    volumes = masks.reshape(batch * channels, *([1] if len(space) == 2 else []), *space)
    native.components(volumes.contiguous(), result, torch.get_num_threads())
    return result


def component_factors(sizes: Tensor, numbers: Tensor, most: float) -> Tensor:
    """Return factors that give the `components` of a class the same total size; `numbers` is used up."""
    if (native := native_code()) is None:
        return reference.component_factors(sizes, numbers, most)
    result = torch.empty_like(numbers, dtype=torch.float32)
    flat = sizes.detach().float().contiguous().flatten(2)
    native.component_factors(flat, numbers, most, torch.get_num_threads(), result)
    return result


def _first_bad_label(maps: Tensor, num_classes: int, ignore_index: int | None) -> int | None:
    bad = (maps < 0) | (maps >= num_classes)
    if ignore_index is not None:
        bad &= differ(maps, ignore_index)
    return int(bad.flatten().int().argmax()) if bad.any() else None


def _with_depth(maps: Tensor, spacing: Sequence[float]) -> tuple[Tensor, list[float]]:
    """Return maps and spacing as of volumes: a 2-D image is one slice of any thickness."""
    if len(spacing) == 3:
        return maps, list(spacing)
    return maps.unsqueeze(2), [1.0, *spacing]


def _bad_label(position: int, maps: Tensor, num_classes: int) -> str:
    batch, channel, *voxel = (int(i) for i in torch.unravel_index(torch.tensor(position), maps.shape))
    value = int(maps[(batch, channel, *voxel)])
    remedy = f"if it marks unlabelled voxels, pass ignore_index={value}"
    if (value, num_classes) == (255, 2):
        remedy = f"of a mask of 0 and 255 pass labels > 0; {remedy}"
    elif value == num_classes:
        remedy = f"{value + 1} classes, background included, need {value + 1} channels; {remedy}"
    return f"label {value} at batch {batch}, voxel {tuple(voxel)} lies outside 0..{num_classes - 1}; {remedy}"
