"""How hard each term of a loss pulls at the logits, measured while the gradients pass by."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SHARE = 0.1  # of the newest step in the running means


class GradientBalance(nn.Module):
    """Running means of the norms of both terms' gradients, and the boundary weight that follows from them.

    `fork` gives each term logits of its own. On the way back the gradients meet there again: their norms
    become the gradient of a gauge, a leaf that no optimiser knows, and that of the boundary term is weighted.
    Autograd adds up what several calls measure; nothing waits for the device, and `torch.compile` sees an
    ordinary graph. A gradient scaler or the divisor of an accumulation scales both norms alike.

    What is measured and not yet taken over is the extra state of `state_dict()`. It is summed over the
    processes as it is measured, so that a checkpoint of one process resumes all of them.
    """

    norms: Tensor

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("norms", torch.zeros(2))  # of region and boundary term
        self._gauge = _leaf(self.norms)

    def fork(self, logits: Tensor, weight: Tensor, *, measured: bool) -> tuple[Tensor, Tensor]:
        """`logits` for the region term, and for the boundary term with its gradient times `weight`."""
        gauge = self._gauge if measured else None
        return _Fork.apply(logits, gauge, weight)  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def update(self) -> None:
        """Take over what the last backward pass measured; what overflowed is left out."""
        measured = self._gauge.grad
        if measured is None:  # a pickle leaves gradients behind
            self._gauge = _leaf(self.norms)
            return
        usable = measured.isfinite().all() & (measured[0] > 0)
        self.norms.copy_(torch.where(usable, self.norms.lerp(measured, SHARE), self.norms))
        measured.zero_()

    def weight(self, ratio: Tensor) -> Tensor:
        """The boundary weight for a ratio of the norms; 0 before the first backward pass."""
        return (ratio * self.norms[0] / self.norms[1]).nan_to_num(0, posinf=self.limit).clamp(max=self.limit)

    def get_extra_state(self) -> Tensor:
        """Return what the last backward pass measured, for `state_dict`."""
        measured = self._gauge.grad
        return torch.zeros_like(self.norms) if measured is None else measured.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Resume between a backward pass and the next forward."""
        self._gauge = _leaf(self.norms)
        self._gauge.grad = state.to(self.norms)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "GradientBalance":
        super()._apply(fn, recurse)
        self.set_extra_state(fn(self.get_extra_state()))
        return self


def _leaf(like: Tensor) -> Tensor:
    leaf = torch.zeros_like(like, requires_grad=True)
    leaf.grad = torch.zeros_like(like)
    return leaf


def _norm(gradient: Tensor) -> Tensor:
    dtype = torch.promote_types(gradient.dtype, torch.float32)
    return torch.linalg.vector_norm(gradient, dtype=dtype).float()


class _Fork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, gauge: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weight)
        ctx.measured = gauge is not None
        return logits.view_as(logits), logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (weight,) = ctx.saved_tensors
        region, boundary = gradients
        norms = None
        if ctx.measured:
            norms = torch.stack([_norm(one) for one in gradients])
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(norms)
        return region + weight * boundary, norms, None
