"""A region loss and the boundary loss, with their weights."""

import math
import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from boundaryloss.distance.checks import check_floating, check_same_device, check_tensor
from boundaryloss.losses.boundary import BoundaryLoss
from boundaryloss.losses.gradients import Logits, gradient_norm
from boundaryloss.losses.log import LogBoundaryLoss
from boundaryloss.schedules import Constant, GradientRatio, Increase, Rebalance, Schedule

HEAVY = 0.1  # times the region loss's weight: early on, gradients differ by a factor of tens besides
EVERY = 10  # steps between two measurements of the gradients, each of which costs a pass over the logits
SHARE = 0.1  # of the newest measurement in the running means
PATIENCE = 100  # steps in epoch 0 without a boundary term before somebody is asked about it


class RegionBoundaryLoss(nn.Module):
    r"""Region loss plus boundary loss, with weights that follow the epoch.

    .. math:: L = w_R \, L_R(\theta) + w_B \, L_B(\theta)

    In the paper's notation :math:`w_B = \alpha`. The weights are in `weights`, a tensor, so that a new epoch
    does not recompile.

    Args:
        region: any callable `(logits, target) -> scalar`, for instance `torch.nn.CrossEntropyLoss()` or
            `monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)`. It gets the target as it is, so give
            the target in the form that it needs.
        boundary: the boundary term; default `LogBoundaryLoss(balance_lesions=True)`.
        weighting: a schedule, epoch -> :math:`(w_R, w_B)`; a `GradientRatio`, which measures :math:`w_B`;
            or a number, the constant :math:`w_B`. Default `GradientRatio()`: the gradient of the boundary
            term grows to half of the region loss's over ten epochs. With the paper's `BoundaryLoss`, which
            bears less, `Increase()`: :math:`w_B` is 0 in epoch 0 and grows by 0.01 an epoch.

    In epochs with the weights (1, 0) the boundary term is not computed; `alone` says so.

    Call `set_epoch(n)` at the start of every epoch. The epoch is part of `state_dict()`, and so is what
    `GradientRatio` measured: a checkpoint resumes with its weights. A checkpoint of another weighting, or of
    the region loss alone, loads too: what it lacks stays as it is.

    Raises:
        TypeError: `region` or `boundary` is no loss, or `weighting` no weighting.
        ValueError: `CrossEntropyLoss` as `region` with labels `(batch, 1, *space)`.

    The official code has the integral alone, and writes the two schedules into its training script; here
    they are `BoundaryLoss`, `Increase` and `Rebalance`. Why the default is another: see "When it helps" in
    the documentation.

    Example:
        >>> import torch
        >>> from boundaryloss import BoundaryLoss, Increase, RegionBoundaryLoss
        >>> loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), BoundaryLoss(), Increase(step=0.1))
        >>> loss.set_epoch(2)
        >>> [round(weight, 3) for weight in loss.weights.tolist()]
        [1.0, 0.2]
        >>> logits, target = torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 1, 1]]])
        >>> round(float(loss(logits, target)), 4)  # log 2 + 0.2 * 0
        0.6931
    """

    weights: Tensor
    norms: Tensor  # running means of the gradients' norms, of region and boundary term
    ratio: Tensor  # that `GradientRatio` gives for this epoch
    if TYPE_CHECKING:
        __call__: Callable[..., Tensor]

    def __init__(
        self,
        region: Callable[[Tensor, Tensor], Tensor],
        boundary: nn.Module | None = None,
        weighting: Schedule | GradientRatio | float | None = None,
    ) -> None:
        super().__init__()
        self.region = _checked("region", region)
        default = LogBoundaryLoss(balance_lesions=True)
        self.boundary = default if boundary is None else _checked("boundary", boundary)
        if weighting is None:
            weighting = Increase() if isinstance(self.boundary, BoundaryLoss) else GradientRatio()
        self.weighting = _as_weighting(weighting)
        self._calls = 0  # of training
        self._tried = False  # whether the boundary term has seen what it will get
        self.register_buffer("weights", torch.zeros(2), persistent=False)
        self.register_buffer("norms", torch.zeros(2), persistent=False)
        self.register_buffer("ratio", torch.zeros(()), persistent=False)
        self.set_epoch(0)
        self._epoch_was_set = False
        self._warn_of_a_heavy_start()

    def set_epoch(self, epoch: int) -> None:
        """Set both weights to those of `epoch`, which counts from 0."""
        self.epoch, self._epoch_was_set = epoch, True
        if isinstance(self.weighting, GradientRatio):
            ratio = self.weighting.at(epoch)
            self.ratio.fill_(ratio)
            self._hold_the_ratio(self.weighting.limit)
            self.alone = not ratio
            return
        weights = torch.tensor(self.weighting(epoch))
        if weights.shape != self.weights.shape:
            raise ValueError(f"weighting must give (region weight, boundary weight), got {weights.tolist()}")
        self.weights.copy_(weights)
        self.alone = weights.tolist() == [1, 0]

    def terms(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the region and the boundary term, unweighted; `spacing` and `mask` reach the latter only.

        `weights` are then those of this step. The boundary term is computed even where `alone`.
        """
        _check(self.region, logits, target)
        return self.terms_of(
            logits,
            lambda z: self.region(z, target),
            lambda z: self.boundary(z, target, spacing=spacing, mask=mask),
        )

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted sum of both terms; where `alone`, just the region term."""
        if self.alone:
            _check(self.region, logits, target)
            if not (torch.compiler.is_compiling() or self._tried):  # a mistake must not wait for its epoch
                self._tried = True
                with torch.no_grad():
                    self.boundary(logits, target, spacing=spacing, mask=mask)
            if self.training and torch.is_grad_enabled():
                self._is_due()
            return self.region(logits, target)
        region, boundary = self.terms(logits, target, spacing=spacing, mask=mask)
        return self.weights[0] * region + self.weights[1] * boundary

    def terms_of(
        self,
        logits: Logits,
        region: Callable[[Logits], Tensor],
        boundary: Callable[[Logits], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return `region(logits)` and `boundary(logits)`, for loops that compute the terms in their own way.

        Every few steps of training `GradientRatio` measures the gradients of both here. Of a list of logits,
        as in deep supervision, the first is measured.
        """
        terms = region(logits), boundary(logits)
        if self.training and torch.is_grad_enabled() and self._is_due():
            self._measure(logits, region, boundary)
        return terms

    def _is_due(self) -> bool:
        measures = isinstance(self.weighting, GradientRatio)
        if torch.compiler.is_compiling():  # a count would compile anew at every step
            return measures
        if self.alone and self._epoch_was_set:  # then nothing is measured, so that a run may begin without it
            return False
        self._calls += 1
        if self._calls == PATIENCE and not self._epoch_was_set:
            self._warn_of_an_epoch_that_stands_still()
        return measures and self._calls % EVERY == 1

    @torch.no_grad()
    def _measure(
        self, logits: Logits, region: Callable[[Logits], Tensor], boundary: Callable[[Logits], Tensor]
    ) -> None:
        norms = torch.stack([gradient_norm(term, logits) for term in (region, boundary)])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(norms)  # the same weight in all processes
        usable = norms.isfinite().all() & (norms[0] > 0)
        mean = self.norms.lerp(norms.to(self.norms), SHARE)
        self.norms.copy_(torch.where(usable, mean, self.norms))
        self._hold_the_ratio(cast(GradientRatio, self.weighting).limit)

    def _hold_the_ratio(self, limit: float) -> None:
        region, boundary = self.norms
        alpha = (self.ratio * region / boundary).nan_to_num(0, posinf=math.inf).clamp(max=limit)
        self.weights.copy_(torch.stack([torch.ones_like(alpha), alpha]))

    def get_extra_state(self) -> Tensor:
        """Return the epoch, the training calls and the measured norms, for `state_dict`."""
        return torch.tensor([self.epoch, self._calls, *self.norms.tolist()], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on as saved."""
        epoch, calls, *norms = state.tolist()
        self.norms.copy_(torch.tensor(norms))
        self._calls = int(calls)
        self.set_epoch(int(epoch))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Load a checkpoint of the region loss alone too: what it lacks stays as it is."""
        own, state = self.state_dict(prefix=prefix), f"{prefix}_extra_state"
        if state not in state_dict:
            for key in [key for key in state_dict if key.startswith(prefix) and key not in own]:
                of_region = f"{prefix}region.{key.removeprefix(prefix)}"
                if of_region in own:
                    state_dict[of_region] = state_dict.pop(key)
            state_dict[state] = own[state]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Return weighting, epoch and weights, for `print`."""
        region, boundary = self.weights.tolist()
        plain = "" if isinstance(self.region, nn.Module) else f"region={self.region!r}, "
        return (
            f"{plain}weighting={self.weighting}, epoch={self.epoch}, weights=({region:.4g}, {boundary:.4g})"
        )

    def _warn_of_a_heavy_start(self) -> None:
        if type(self.boundary) is not BoundaryLoss or isinstance(self.weighting, GradientRatio):
            return
        region, boundary = self.weights.tolist()
        if boundary > HEAVY * region:
            warnings.warn(
                f"the boundary loss begins with a weight of {boundary:g} beside {region:g}: its gradient is "
                "then far above the region loss's, which may collapse the run to an empty prediction. Use a "
                "weighting that begins at 0, such as Increase() or GradientRatio()",
                stacklevel=3,
            )

    def _warn_of_an_epoch_that_stands_still(self) -> None:
        if not self.weights[1]:
            warnings.warn(
                f"{PATIENCE} steps in epoch 0, in which {self.weighting} gives the boundary term no weight: "
                "call set_epoch(epoch) at the start of every epoch, or give a number as weighting",
                stacklevel=5,
            )


def _checked(name: str, loss: Any) -> Any:
    if isinstance(loss, type):
        raise TypeError(f"{name} is the class {loss.__name__}; give an instance: {loss.__name__}()")
    if isinstance(loss, (Constant, Increase, Rebalance, GradientRatio, Real)):
        raise TypeError(f"{name} must be a loss, got {loss!r}; a weighting is given as weighting={loss!r}")
    if not callable(loss):
        raise TypeError(f"{name} must be a loss to call with (logits, target), got {type(loss).__name__}")
    return loss


def _as_weighting(weighting: Any) -> Schedule | GradientRatio:
    if isinstance(weighting, Real):
        return Constant(float(weighting))
    if isinstance(weighting, type):
        raise TypeError(
            f"weighting is the class {weighting.__name__}; give an instance: {weighting.__name__}()"
        )
    if not (isinstance(weighting, GradientRatio) or callable(weighting)):
        raise TypeError(
            "weighting must be a number, a GradientRatio, or a schedule: epoch -> (region weight, boundary "
            f"weight), got {type(weighting).__name__}"
        )
    return cast("Schedule | GradientRatio", weighting)


def _check(region: Any, logits: Any, target: Any) -> None:
    """Check that both are tensors, or lists of one for each level of deep supervision."""
    for level in logits if isinstance(logits, (list, tuple)) else [logits]:
        check_floating("logits", level)
        check_same_device("logits", level, target=target)
    for level in target if isinstance(target, (list, tuple)) else [target]:
        check_tensor("target", level)
    if type(region) is not nn.CrossEntropyLoss or not (
        isinstance(logits, Tensor) and isinstance(target, Tensor)
    ):
        return
    if logits.shape[1] > 1 and target.shape == (logits.shape[0], 1, *logits.shape[2:]):
        raise ValueError(
            f"torch.nn.CrossEntropyLoss takes labels (batch, *space), got {tuple(target.shape)}; "
            "pass target.squeeze(1), which the boundary loss takes as well"
        )
