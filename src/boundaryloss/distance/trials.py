"""Tiny cases on which the Triton kernels have to agree with the definition before they serve a device.

Each is several blocks of the search high and wide, and the cases need few kernels: all have to be compiled.
Every tensor names its type and device, and nothing is random: no setting of the user's has a part in it.
"""

import torch
from torch import Tensor

from boundaryloss.distance import reference


def maps(device: torch.device) -> None:
    """Try the distance maps.

    Raises:
        ArithmeticError: a voxel is wrong. Kernels that do not run raise what they like.
    """
    from boundaryloss.distance import cuda

    volume, images = _labels((1, 1, 9, 2, 33), torch.uint8), _labels((2, 1, 9, 32), torch.int64)
    for labels, spacing, face_offset, ignored in (
        (volume, [1.0, 2.0, 0.5], 0.5, None),
        (images, [1.0, 1.0], 0.0, 1),
    ):
        ours, labels_fit = cuda.signed_distance(labels.to(device), 3, 1, spacing, face_offset, ignored)
        agree(ours, reference.signed_distance(labels, 3, 1, spacing, face_offset, ignored))
        agree(labels_fit, torch.ones((), device="cpu"))
    _, labels_fit = cuda.signed_distance(images.to(device), 2, 1, [1.0, 1.0], 0.0, 1)
    agree(labels_fit, torch.zeros((), device="cpu"))
    mask = volume[0] != 2
    agree(
        cuda.distance_transform(mask.to(device), [1.0, 2.0, 0.5]),
        reference.distance_transform(mask, [1.0, 2.0, 0.5]),
    )


def components(device: torch.device) -> None:
    """Try the connected components.

    Raises:
        ArithmeticError: as `maps`.
    """
    from boundaryloss.distance import cuda_components

    for shape in ((2, 1, 4, 17), (1, 2, 3, 3, 17)):
        masks = _labels(shape, torch.uint8) > 0
        agree(cuda_components.components(masks.to(device)), reference.components(masks))


def agree(ours: Tensor, expected: Tensor) -> None:
    """Raise ArithmeticError where `ours` is not `expected`, which is on the CPU, but for rounding."""
    wrong = ~torch.isclose(ours.cpu().double(), expected.double(), rtol=1e-4, atol=1e-5)
    if wrong.any():
        raise ArithmeticError(f"{int(wrong.sum())} of {wrong.numel()} values are wrong")


def _labels(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return noise of label 1, with a single voxel of 2."""
    count = torch.Size(shape).numel()
    labels = (torch.arange(count, dtype=torch.int64, device="cpu") ** 3 % 1009 < 150).to(dtype)
    labels[-2] = 2
    return labels.reshape(shape)
