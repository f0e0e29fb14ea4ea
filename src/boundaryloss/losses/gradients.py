"""How hard a term of a loss pulls at the logits."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor


class _Differentiation:
    """Whether compiled code is in `torch.func.grad`, which takes no op that brings its own gradient."""

    by_transform = False


DIFFERENTIATION = _Differentiation()
Logits = TypeVar("Logits", Tensor, list[Tensor])  # of one level, or of several


def gradient_norm(term: Callable[[Logits], Tensor], logits: Logits) -> Tensor:
    """Return the norm of the gradient of `term` at the logits, of several levels at the first.

    It is taken on a detached copy in at least float32: whatever becomes of the loss later, a scaler, an
    accumulation or a backward that is never called, has no part in it.
    """
    first = logits if isinstance(logits, Tensor) else logits[0]
    first = first.detach().to(torch.promote_types(first.dtype, torch.float32))

    def value(first: Tensor) -> Tensor:
        levels = first if isinstance(logits, Tensor) else [first, *(level.detach() for level in logits[1:])]
        return term(levels).sum()  # pyright: ignore[reportArgumentType]

    if torch.compiler.is_compiling():
        DIFFERENTIATION.by_transform = True
        gradient = torch.func.grad(value)(first)  # `autograd.grad` would break the graph
        DIFFERENTIATION.by_transform = False
    else:
        with torch.enable_grad():
            total = value(first.requires_grad_())
        if not total.requires_grad:  # nothing in the batch to learn from
            return first.new_zeros(())
        (gradient,) = torch.autograd.grad(total, first)
    return torch.linalg.vector_norm(gradient.detach())
