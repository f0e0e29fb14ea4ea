"""A region loss and the boundary loss, weighted by a schedule."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from boundaryloss.distance.checks import check_floating, check_same_device, check_tensor
from boundaryloss.losses.balance import GradientBalance
from boundaryloss.losses.boundary import BoundaryLoss
from boundaryloss.schedules import Balance, Increase, Schedule

HEAVY = 0.1  # times the region loss's weight: early on, gradients differ by a factor of tens besides
Logits = TypeVar("Logits", Tensor, list[Tensor])  # of one level, or of several


class RegionBoundaryLoss(nn.Module):
    r"""Region loss plus boundary loss, with weights that follow the epoch.

    .. math:: L = w_R \, L_R(\theta) + w_B \, L_B(\theta)

    with :math:`(w_R, w_B)` = `schedule(epoch)`; in the paper's notation :math:`w_B = \alpha`.

    Args:
        region: any callable `(logits, target) -> scalar`, for instance
            `monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)`. It gets the target as it is, so give
            the target in the form that it needs.
        boundary: the boundary term; default `BoundaryLoss()`.
        schedule: epoch -> (region weight, boundary weight); default `Increase()`: alpha is 0 in epoch 0
            and grows by 0.01 an epoch. `Balance` sets the weight by the gradients of both terms.

    Call `set_epoch(n)` at the start of every epoch. The epoch is part of `state_dict()`, and what `Balance`
    measured, so a checkpoint resumes with its weights. A checkpoint of the region loss alone, or of another
    schedule, can be loaded too: epoch and measurements that it lacks stay as they are. `weights` is a tensor,
    so a new epoch does not recompile.

    Raises:
        TypeError: `region`, `boundary` or `schedule` is not callable; in a call, logits or target are no
            tensors (or lists of them), or the logits are not of a floating type.
        ValueError: `schedule` does not give two weights; in a call, what the terms refuse.

    The official code writes the two schedules into its training script; here they are `Increase` and
    `Rebalance`.

    Example:
        >>> import torch
        >>> from boundaryloss import BoundaryLoss, Increase, RegionBoundaryLoss
        >>> loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), BoundaryLoss(), Increase(step=0.1))
        >>> loss.set_epoch(2)
        >>> loss.schedule(loss.epoch)
        (1.0, 0.2)
        >>> logits, target = torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 1, 1]]])
        >>> round(float(loss(logits, target)), 4)  # log 2 + 0.2 * 0
        0.6931
    """

    weights: Tensor
    scheduled: Tensor

    def __init__(
        self,
        region: Callable[[Tensor, Tensor], Tensor],
        boundary: nn.Module | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.region = region
        self.boundary = BoundaryLoss() if boundary is None else boundary
        self.schedule = Increase() if schedule is None else schedule
        for name, part, use in (
            ("region", self.region, "a loss to call with (logits, target)"),
            ("boundary", self.boundary, "a loss such as BoundaryLoss()"),
            ("schedule", self.schedule, "a function of the epoch such as Constant(0.01)"),
        ):
            if not callable(part):
                raise TypeError(f"{name} must be {use}, got {type(part).__name__}")
        self.balance = GradientBalance(self.schedule.limit) if isinstance(self.schedule, Balance) else None
        self.register_buffer("scheduled", torch.zeros(2), persistent=False)
        self.register_buffer("weights", torch.zeros(2), persistent=False)
        self.set_epoch(0)
        self._warn_of_a_heavy_start()

    def _warn_of_a_heavy_start(self) -> None:
        plain = type(self.boundary) is BoundaryLoss and self.boundary.normalize is None
        region, boundary = self.schedule(0)
        if plain and self.balance is None and boundary > HEAVY * region:
            warnings.warn(
                f"the boundary loss begins with a weight of {boundary:g} beside {region:g}: its gradient is "
                "then far above the region loss's, which may collapse the run to an empty prediction. Use a "
                "schedule that begins at 0, such as Increase() or Balance()",
                stacklevel=3,
            )

    def set_epoch(self, epoch: int) -> None:
        """Set both weights to what the schedule gives for `epoch`, which counts from 0."""
        weights = torch.tensor(self.schedule(epoch))
        if weights.shape != self.scheduled.shape:
            raise ValueError(f"schedule must give (region weight, boundary weight), got {weights.tolist()}")
        self.epoch = epoch
        self.scheduled.copy_(weights)
        self._weigh()

    def _weigh(self) -> None:
        self.weights.copy_(self.scheduled)
        if self.balance is not None:
            self.weights[1] = self.balance.weight(self.scheduled[1])

    def terms(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The region and the boundary term, unweighted. `spacing` and `mask` reach the latter only."""
        _check(logits, target)
        return self.region(logits, target), self.boundary(logits, target, spacing=spacing, mask=mask)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The weighted sum of both terms."""
        _check(logits, target)
        for_region, for_boundary = self.fork(logits)
        region = self.region(for_region, target)
        return self.combine(region, self.boundary(for_boundary, target, spacing=spacing, mask=mask))

    def fork(self, logits: Logits) -> tuple[Logits, Logits]:
        """The logits for the region and for the boundary term; what became of them goes to `combine`.

        With `Balance` the gradients of both are measured on their way back, and the weight is what follows
        from those before. Of a list of logits, as in deep supervision, the first is measured.
        """
        if self.balance is None or not torch.is_grad_enabled():
            return logits, logits
        self.balance.update()
        self._weigh()
        weight = self.weights[1].clone()  # of this step, whatever comes before its backward
        if isinstance(logits, Tensor):
            return self.balance.fork(logits, weight, measured=True)
        pairs = [self.balance.fork(level, weight, measured=not i) for i, level in enumerate(logits)]
        return [region for region, _ in pairs], [boundary for _, boundary in pairs]

    def combine(self, region: Tensor, boundary: Tensor) -> Tensor:
        """The weighted sum of both terms, which were computed of the logits that `fork` gave."""
        if self.balance is None:
            return self.weights[0] * region + self.weights[1] * boundary
        # the gradient of the boundary term is weighted where it is measured: here it counts in full
        return region + boundary + (self.weights[1] - 1) * boundary.detach()

    def get_extra_state(self) -> Tensor:
        """Return the epoch, for `state_dict`."""
        return torch.tensor(self.epoch, device="cpu")

    def set_extra_state(self, state: Tensor | int) -> None:
        """Resume at the saved epoch."""
        self.set_epoch(int(state))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Load checkpoints of other schedules and of the region loss alone: what they lack stays as it is."""
        own = self.state_dict(prefix=prefix)
        epoch, balance = f"{prefix}_extra_state", f"{prefix}balance."
        for key in [key for key in state_dict if key.startswith(prefix) and key not in own]:
            of_region = f"{prefix}region.{key.removeprefix(prefix)}"
            if key.startswith(balance):
                del state_dict[key]
            elif epoch not in state_dict and of_region in own:
                state_dict[of_region] = state_dict.pop(key)
        for key in own:
            if key.startswith((epoch, balance)):
                state_dict.setdefault(key, own[key])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _check(logits: Any, target: Any) -> None:
    """Both are tensors, or lists of one for each level of deep supervision."""
    for level in logits if isinstance(logits, (list, tuple)) else [logits]:
        check_floating("logits", level)
        check_same_device("logits", level, target=target)
    for level in target if isinstance(target, (list, tuple)) else [target]:
        check_tensor("target", level)
