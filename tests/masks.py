"""The gallery of shapes that every backend must get right, and SciPy's word on them."""

import numpy as np
import pytest
import torch
from torch import Tensor


def gallery() -> dict[str, Tensor]:
    """Name -> bool object in 2-D or 3-D space."""
    generator = torch.Generator().manual_seed(0)
    return {
        "empty": torch.zeros(7, 11, dtype=torch.bool),
        "full": torch.ones(7, 11, dtype=torch.bool),
        "one_voxel": _box((9, 13), (4, 5), (6, 7)),
        "two_voxels_thick": _box((10, 12), (4, 6), (2, 10)),
        "touching_the_edge": _box((8, 9), (0, 3), (5, 9)),
        "hollow": _box((15, 15), (3, 12), (3, 12)) & ~_box((15, 15), (5, 10), (5, 10)),
        "one_hole": ~_box((33, 37), (20, 21), (3, 4)),
        "thin_diagonal": torch.eye(31, dtype=torch.bool),
        "deep": _box((97, 83), (5, 90), (4, 80)),
        "single_row": _box((1, 40), (0, 1), (3, 30)),
        "single_column": _box((40, 1), (30, 31), (0, 1)),
        "single_pixel": torch.ones(1, 1, dtype=torch.bool),
        "salt": torch.rand(47, 53, generator=generator) < 0.02,
        "half": torch.rand(29, 31, generator=generator) < 0.5,
        "stripes": (torch.arange(333) % 2 == 0).expand(9, 333),
        "texture_and_nothing": _texture(generator, (21, 400), 70),
        "texture_to_the_reach_of_bytes": _texture(generator, (5, 70 + 128), 70),
        "texture_beyond_the_reach_of_bytes": _texture(generator, (5, 70 + 129), 70),
        "near_then_far": _texture(generator, (50, 61), 20) | _box((50, 61), (40, 50), (0, 61)),
        "empty_3d": torch.zeros(3, 4, 5, dtype=torch.bool),
        "full_3d": torch.ones(3, 4, 5, dtype=torch.bool),
        "one_voxel_3d": _box((7, 5, 11), (2, 3), (1, 2), (6, 7)),
        "ball_3d": _ball((17, 19, 23), (8, 9, 11), 6.5),
        "deep_3d": ~_box((31, 29, 37), (0, 1), (3, 4), (5, 6)),
        "flat_3d": _box((1, 9, 12), (0, 1), (2, 5), (3, 9)),
        "salt_3d": torch.rand(11, 13, 17, generator=generator) < 0.05,
    }


def label_maps() -> dict[str, tuple[Tensor, int]]:
    """Name -> integer labels `(*space)` and their number of classes."""
    generator = torch.Generator().manual_seed(1)
    blocks = torch.zeros(40, 50, dtype=torch.long)
    blocks[3:20, 4:30], blocks[10:35, 25:45], blocks[18:22, 10:40], blocks[39, 49] = 1, 2, 3, 5
    return {
        "random": (torch.randint(0, 8, (19, 23), generator=generator), 8),
        "blocks": (blocks, 7),
        "random_3d": (torch.randint(0, 4, (7, 11, 13), generator=generator), 4),
        "many_classes": (torch.randint(0, 300, (20, 30), generator=generator), 300),
    }


def scipy_map(mask: np.ndarray, spacing: tuple[float, ...], boundary: str) -> np.ndarray:
    """The signed map by SciPy alone, in double precision."""
    distance_transform_edt = pytest.importorskip("scipy.ndimage").distance_transform_edt
    if not mask.any() or mask.all():
        return np.zeros(mask.shape)
    if boundary == "centers":
        outside = distance_transform_edt(~mask, sampling=spacing)
        inside = distance_transform_edt(mask, sampling=spacing)
        return np.where(mask, spacing[0] - inside, outside)
    distance = distance_transform_edt(~_faces(mask), sampling=[step / 2 for step in spacing])
    at_centres = distance[tuple(slice(None, None, 2) for _ in mask.shape)]
    return np.where(mask, -at_centres, at_centres)


def assert_same(ours, theirs, exact):
    """Not one voxel wrong: to the last bit for unit spacing, to 1e-6 otherwise."""
    torch.testing.assert_close(ours, theirs.float(), rtol=0 if exact else 1e-6, atol=0)


def _faces(mask: np.ndarray) -> np.ndarray:
    """The faces between object and background on a grid twice as fine, whose even points are centres."""
    from scipy.ndimage import binary_dilation

    fine = np.zeros([2 * n - 1 for n in mask.shape], dtype=bool)
    for axis in range(mask.ndim):
        centres = np.zeros_like(fine)
        centres[tuple(slice(int(a == axis), None, 2) for a in range(mask.ndim))] = np.diff(mask, axis=axis)
        fine |= binary_dilation(centres, np.ones([1 if a == axis else 3 for a in range(mask.ndim)]))
    return fine


def _texture(generator: torch.Generator, shape: tuple[int, int], width: int) -> Tensor:
    """Random to the left, with an object voxel in its last column; nothing to the right."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, :width] = torch.rand(shape[0], width, generator=generator) < 0.5
    mask[:, width - 1] = True
    return mask


def _box(shape: tuple[int, ...], *ranges: tuple[int, int]) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def _ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < radius**2
