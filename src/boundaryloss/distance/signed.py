"""The one home of the convention: sign, zero level, spacing, absent and full classes; validation."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from boundaryloss.distance import op
from boundaryloss.distance.checks import (
    check_integer,
    check_spacing,
    check_tensor,
    computable,
    is_integer,
)

Contour = Literal["faces", "centers"]

# With "faces" the boundary is the set of faces between voxels, half a voxel from every centre.
FACE_OFFSET = {"faces": 0.5, "centers": 0.0}


def signed_distance_map(
    labels: Tensor,
    num_classes: int | None = None,
    *,
    spacing: Sequence[float] | float | None = None,
    contour: Contour = "faces",
    include_background: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    r"""Compute the signed distance of every voxel to the boundary of every class, negative inside.

    .. math:: \phi_c(q) = \begin{cases} -D_c(q) & q \in G_c \\ +D_c(q) & \text{otherwise} \end{cases}

    :math:`G_c` is the set of voxels labelled `c` and :math:`D_c(q)` the Euclidean distance from the
    centre of voxel `q` to the boundary of :math:`G_c`, in the unit of `spacing`.

    `contour="faces"` measures to the nearest face between an object and a background voxel, so a
    voxel beside the boundary has +-1/2 and, of two classes, the background's map is minus the
    foreground's. `contour="centers"` measures between voxel centres and subtracts one inside, as the
    official code and MONAI do; objects up to two voxels thick are then zero throughout.

    A class that is absent, or that fills the image, has no boundary: its map is zero. The edge of the
    image is not a boundary.

    Args:
        labels: integer labels `(batch, *space)`, or bool masks `(batch, class, *space)` in which each
            channel is an object of its own (they may overlap). `space` has two or three axes. Labels
            need not be contiguous.
        num_classes: number of classes `C` of integer labels, background included; masks need none.
        spacing: size of a voxel along each spatial axis, in array order, or one number for all, 1e-12 to
            1e12; default 1 each.
        contour: `"faces"` or `"centers"`; the latter needs the same spacing on all axes.
        include_background: whether the map of class 0 of integer labels comes first in the result.
        ignore_index: a label that may lie outside `0..C-1`; its voxels belong to no class.

    Returns:
        float32 `(batch, class, *space)` on the device of `labels`; `C - 1` channels for integer labels
        without the background. It carries no gradient.

    Raises:
        TypeError: `labels` is no tensor or of a floating type: use `labels.long()` or `masks > 0.5`;
            `num_classes` or `ignore_index` is no integer, or `spacing` is not made of numbers.
        ValueError: a label outside `0..C-1` (pass `ignore_index` if it marks unlabelled voxels), a
            shape that is neither 2-D nor 3-D space, an empty spatial axis, a bad `spacing`, or
            anisotropic `spacing` with `contour="centers"` (use `"faces"`). Where Triton kernels serve a
            CUDA device a bad label fails as a device-side assertion, as it does in `cross_entropy`.

    The official code truncates to integers, knows no spacing, and treats a single 2-D image; with
    `contour="centers"` this function gives what it means to compute.

    Example:
        >>> import torch
        >>> from boundaryloss import signed_distance_map
        >>> row = torch.tensor([[[0, 0, 1, 1, 1, 0]]])
        >>> signed_distance_map(row, 2)[0, 0, 0].tolist()
        [1.5, 0.5, -0.5, -1.5, -0.5, 0.5]
        >>> signed_distance_map(row, 2, contour="centers")[0, 0, 0].tolist()
        [2.0, 1.0, 0.0, -1.0, 0.0, 1.0]

    Reference:
        H. Kervadec et al., "Boundary loss for highly unbalanced segmentation", Medical Image Analysis
        67, 2021.
    """
    arguments, scale = op_arguments(labels, num_classes, spacing, contour, include_background)
    if ignore_index is not None:
        ignore_index = check_integer("ignore_index", ignore_index)
    phi = op.signed_distance(*arguments, ignore_index)
    return phi if scale == 1 else phi * scale


def op_arguments(
    labels: Tensor,
    num_classes: int | None,
    spacing: Sequence[float] | float | None,
    contour: Contour,
    include_background: bool,
) -> tuple[tuple[Tensor, int, int, list[float], float], float]:
    """Return what the op takes: maps, classes, first class, spacing, face offset; and the scale."""
    maps, num_classes = as_maps(labels, num_classes)
    spatial = maps.shape[2:]
    first_class = 0 if include_background and labels.dtype != torch.bool else 1
    check_space(spatial)
    steps = check_spacing(spacing, len(spatial))
    check_contour(contour)
    if contour == "centers" and len(set(steps)) > 1:
        raise ValueError(
            f"contour='centers' subtracts one voxel inside and needs equal spacing, got {steps}; "
            "use contour='faces'"
        )
    # "centers" counts in voxels and scales at the end, so that what is zero is exactly zero.
    scale = steps[0] if contour == "centers" else 1.0
    return (maps, num_classes, first_class, [s / scale for s in steps], FACE_OFFSET[contour]), scale


def distance_transform(mask: Tensor, *, spacing: Sequence[float] | float | None = None) -> Tensor:
    r"""Compute the Euclidean distance of every True voxel to the nearest False voxel; zero at False voxels.

    .. math:: D(q) = \min_{r \,:\, \neg m(r)} \lVert q - r \rVert

    with distances between voxel centres in the unit of `spacing`: `scipy.ndimage.distance_transform_edt`
    for batches and on any device.

    Args:
        mask: bool. The space is the last `len(spacing)` axes, all others are batch. Without `spacing`,
            `(H, W)`, `(B, C, H, W)` and `(B, C, D, H, W)` are understood; three axes could be a volume
            or a batch of slices, so say which with `spacing=(1, 1, 1)` or `spacing=(1, 1)`.
        spacing: size of a voxel along each spatial axis (two or three), in array order, or one number for
            all; default 1 each.

    Returns:
        float32 of the shape of `mask`, on its device. Where an image has no False voxel the distance is
        infinite (SciPy measures to an imaginary voxel outside the image instead).

    Raises:
        TypeError: `mask` is not bool: use `mask.bool()`; `spacing` is not made of numbers.
        ValueError: the space is neither 2-D nor 3-D or ambiguous, an axis is empty, or `spacing` is bad.

    Example:
        >>> import torch
        >>> from boundaryloss import distance_transform
        >>> mask = torch.tensor([[False, True, True], [True, True, True]])
        >>> distance_transform(mask)[:, 2].tolist()
        [2.0, 2.2360680103302]
        >>> distance_transform(mask, spacing=(3, 1))[:, 1].tolist()
        [1.0, 3.1622776985168457]
    """
    check_tensor("mask", mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be a bool tensor, got {mask.dtype}; use mask.bool()")
    if spacing is None or isinstance(spacing, (int, float)):
        space = {2: 2, 4: 2, 5: 3}.get(mask.ndim)
        if space is None:
            raise ValueError(
                f"which axes of a mask of shape {tuple(mask.shape)} are space? Pass spacing=(1, 1) for 2-D "
                "or spacing=(1, 1, 1) for 3-D"
            )
    else:
        space = len(check_spacing(spacing))
    if mask.ndim < space:
        raise ValueError(f"the space must have 2 or 3 axes of the mask, got {space} of {mask.ndim}")
    spatial = mask.shape[mask.ndim - space :]
    check_space(spatial)
    steps = check_spacing(spacing, space)
    return op.distance_transform(mask.reshape(-1, *spatial), steps).reshape(mask.shape)


def check_contour(contour: str) -> None:
    """Raise ValueError if there is no such convention."""
    if contour not in [*FACE_OFFSET]:
        raise ValueError(f"contour must be 'faces' or 'centers', got {contour!r}")


def as_maps(labels: Tensor, num_classes: int | None, name: str = "labels") -> tuple[Tensor, int]:
    """Return maps `(batch, map, *space)`: one per image for labels, one per channel for masks; or raise."""
    check_tensor(name, labels)
    if labels.dtype != torch.bool and not is_integer(labels):
        raise TypeError(
            f"{name} must be integer or bool, got {labels.dtype}; use {name}.long() for a label map, "
            "masks > 0.5 for masks"
        )
    if labels.dtype == torch.bool:
        if num_classes is not None:
            raise ValueError("bool masks have one channel per class: leave num_classes out")
        if labels.ndim not in (4, 5):
            raise ValueError(
                f"masks must be (batch, class, *space) with 2-D or 3-D space, got {tuple(labels.shape)}"
            )
        return labels, 2
    if num_classes is not None:
        num_classes = check_integer("num_classes", num_classes)
    if num_classes is None or num_classes < 2:
        raise ValueError(
            f"integer labels need num_classes of at least 2, background included, got {num_classes}"
        )
    if labels.ndim not in (3, 4):
        raise ValueError(f"{name} must be (batch, *space) with 2-D or 3-D space, got {tuple(labels.shape)}")
    return computable(labels).unsqueeze(1), num_classes


def check_space(spatial: Sequence[int]) -> None:
    """Raise ValueError if there is no voxel."""
    if 0 in spatial:
        raise ValueError(f"every spatial axis needs at least one voxel, got {tuple(spatial)}")
