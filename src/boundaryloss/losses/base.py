"""What the losses share that hold logits against the signed distance map of their target."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from boundaryloss.distance.checks import (
    check_floating,
    check_integer,
    check_same_device,
    check_spacing,
    check_tensor,
)
from boundaryloss.distance.signed import Contour, check_contour
from boundaryloss.losses.functional import Activation, Reduction, as_mask, check_reduction
from boundaryloss.losses.target import Objects, parse_target

EMPTY_BATCHES = 20  # one after another: then something is wrong


class MapLoss(nn.Module):
    """A loss of logits against the map of their target; a subclass says which, in `from_map`.

    See `BoundaryLoss` for the arguments, the shapes and what is raised.
    """

    if TYPE_CHECKING:
        __call__: Callable[..., Tensor]

    def __init__(
        self,
        *,
        activation: Activation,
        include_background: bool,
        spacing: Sequence[float] | float | None,
        contour: Contour,
        ignore_index: int | None,
        reduction: Reduction,
    ) -> None:
        super().__init__()
        if activation not in ("softmax", "sigmoid", None):
            raise ValueError(f"activation must be 'softmax', 'sigmoid' or None, got {activation!r}")
        check_contour(contour)
        check_reduction(reduction)
        self.activation: Activation = activation
        self.include_background = include_background
        steps = None if spacing is None else check_spacing(spacing)
        self.spacing = spacing if isinstance(spacing, (int, float)) else steps
        self.contour: Contour = contour
        self.ignore_index = None if ignore_index is None else check_integer("ignore_index", ignore_index)
        self.reduction: Reduction = reduction
        self._empty_batches = 0  # in a row
        self._looked = False  # whether the first logits were looked at

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | float | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of `logits` `(B, C, *space)` against `target`."""
        self._check(logits)
        check_tensor("target", target)
        check_same_device("logits", logits, target=target, mask=mask)
        objects = parse_target(
            logits,
            target,
            every_channel=self.include_background or self.activation == "sigmoid",
            background=self.include_background,
            ignore_index=self.ignore_index,
        )
        valid = objects.valid
        if mask is not None:
            mask = as_mask(mask, logits)
            valid = mask if valid is None else valid & mask
        steps = check_spacing(self.spacing if spacing is None else spacing, logits.ndim - 2)
        return self._of_objects(logits, objects, steps, valid)

    def from_map(self, logits: Tensor, signed_distance: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the loss against a map of your own, say of a whole volume of which the logits see a part.

        `signed_distance` is `(B, C', *space)` for the last `C'` channels, which are those that count; `mask`
        is as in the call.
        """
        raise NotImplementedError

    def _of_objects(
        self, logits: Tensor, objects: Objects, spacing: list[float], valid: Tensor | None
    ) -> Tensor:
        return self.from_map(logits, self._map(objects, spacing), mask=valid)

    def _map(self, objects: Objects, spacing: list[float]) -> Tensor:
        phi = objects.signed_distance(spacing, self.contour, self.ignore_index)
        if phi.device.type == "cpu" and not torch.compiler.is_compiling():
            self._warn_of_empty_batches(phi)
        return phi

    def _check(self, logits: Tensor) -> None:
        check_floating("logits", logits)
        if logits.ndim not in (4, 5) or logits.shape[1] == 0:
            raise ValueError(
                f"logits must be (batch, class, *space) in 2-D or 3-D, got {tuple(logits.shape)}"
            )
        if self.activation == "softmax" and logits.shape[1] < 2:
            raise ValueError("softmax over a single channel is constant; use activation='sigmoid'")
        if not (torch.compiler.is_compiling() or self._looked):  # in this order: `_looked` would be guarded
            self._looked = True
            if self.activation == "softmax" and logits.device.type == "cpu":
                _warn_of_probabilities(logits.detach())

    def _check_map(self, logits: Tensor, signed_distance: Tensor, mask: Tensor | None) -> None:
        self._check(logits)
        check_floating("signed_distance", signed_distance)
        check_same_device("logits", logits, signed_distance=signed_distance, mask=mask)
        counted = logits[:, -signed_distance.shape[1] :] if signed_distance.ndim == logits.ndim else logits
        if signed_distance.shape != counted.shape:
            raise ValueError(
                f"signed_distance {tuple(signed_distance.shape)} must be (batch, class, *space) for the last "
                f"channels of the logits {tuple(logits.shape)}"
            )

    def _warn_of_empty_batches(self, phi: Tensor) -> None:
        empty = phi.numel() > 0 and not phi.flatten(2)[..., 0].any() and not phi.any()
        self._empty_batches = self._empty_batches + 1 if empty else 0
        if self._empty_batches == EMPTY_BATCHES:
            warnings.warn(
                f"none of the last {EMPTY_BATCHES} batches had an object to count, their loss was 0: look at "
                "the values of the labels (0 is background), and sample more patches with an object",
                stacklevel=6,
            )

    def extra_repr(self) -> str:
        """Return the settings, for `print`."""
        names = ("activation", "include_background", "spacing", "contour", "ignore_index", "reduction")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def _warn_of_probabilities(logits: Tensor) -> None:
    """Warn of values that already are probabilities: a second softmax would flatten them."""
    if logits.numel() and logits.min() >= 0 and logits.max() <= 1:
        total = logits.sum(1)
        if torch.allclose(total, torch.ones_like(total), atol=1e-2):
            warnings.warn(
                "the logits lie in [0, 1] and sum to 1 over the classes: pass them before softmax, or use "
                "activation=None for probabilities",
                stacklevel=6,
            )
