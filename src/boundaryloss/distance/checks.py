"""Check what the public functions and modules are given. Each refusal is a sentence that says what to do."""

from collections.abc import Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor

# Torch computes hardly anything in the last three: they become int64.
_BEYOND_TORCH = (torch.uint16, torch.uint32, torch.uint64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, *_BEYOND_TORCH)
_SPACINGS = 1e-12, 1e12  # so that squared distances stay well inside float32


def check_tensor(name: str, value: Any) -> None:
    """Raise TypeError if `value` is no dense tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {kind_of(value)}; use torch.as_tensor({name})")
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got {value.layout}; use {name}.to_dense()")


def check_floating(name: str, value: Any) -> None:
    """Raise TypeError if `value` is no tensor of a floating type."""
    check_tensor(name, value)
    if not value.is_floating_point():
        raise TypeError(f"{name} must be of a floating type, got {value.dtype}; use {name}.float()")


def check_same_device(name: str, value: Tensor, **others: Any) -> None:
    """Raise ValueError if one of the tensors among `others` is not where `value` is."""
    for other, tensor in others.items():
        if isinstance(tensor, Tensor) and tensor.device != value.device:
            raise ValueError(
                f"{other} is on {tensor.device}, {name} on {value.device}; use {other}.to({name}.device)"
            )


def check_integer(name: str, value: Any) -> int:
    """Return `value` as an int of 64 bits, or raise."""
    if isinstance(value, bool) or not (isinstance(value, int) or hasattr(value, "__index__")):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = value if isinstance(value, int) else index(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{name} must be an integer of 64 bits, got {number}")
    return number


def is_integer(values: Tensor) -> bool:
    """Return whether the type of `values` is that of labels; bool is that of masks."""
    return values.dtype in _INTEGERS


def computable(values: Tensor) -> Tensor:
    """Return `values` in a type that torch computes in."""
    return values.long() if values.dtype in _BEYOND_TORCH else values


def differ(labels: Tensor, label: int) -> Tensor:
    """Return `labels != label`; torch takes 256 for 0 among bytes."""
    limits = None if labels.dtype == torch.bool else torch.iinfo(labels.dtype)
    if limits is not None and not limits.min <= label <= limits.max:
        return torch.ones_like(labels, dtype=torch.bool)
    return labels != label


def check_spacing(spacing: Any, axes: int | None = None) -> list[float]:
    """Return one positive number for each of the `axes`, which are two or three if not said.

    One number stands for all axes.
    """
    if spacing is None:
        return [1.0] * (axes or 0)
    steps = spacing.tolist() if hasattr(spacing, "tolist") else spacing
    steps = [steps] * (axes or 3) if isinstance(steps, (int, float)) else steps
    if not isinstance(steps, Sequence) or not all(map(_is_number, steps)):
        raise TypeError(f"spacing must be numbers, one for each axis, such as (1.0, 0.5), got {spacing!r}")
    if len(steps) not in ((2, 3) if axes is None else (axes,)):
        raise ValueError(
            f"spacing must have one number for each of the {axes or '2 or 3'} spatial axes, got {spacing}"
        )
    steps = [float(step) for step in steps]
    least, most = _SPACINGS
    if not all(least <= step <= most for step in steps):
        raise ValueError(f"spacing must be positive and finite, from {least:g} to {most:g}, got {steps}")
    return steps


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or hasattr(value, "__float__")  # NumPy's and others


def kind_of(value: object) -> str:
    """Return the type of `value`, of a tensor that of its numbers."""
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
