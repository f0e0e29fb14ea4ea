"""How the two terms are weighted: frozen, pure, standard library only.

A schedule is any function: epoch -> (region weight, boundary weight). `GradientRatio` is none: the weight
that it asks for is measured, by `RegionBoundaryLoss`.

An early boundary term can collapse a run to an empty prediction, since its gradient is tens of times
the region loss's until the object is found. The growing schedules therefore begin with exactly 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], tuple[float, float]]


@dataclass(frozen=True)
class Constant:
    r"""The same weight throughout: :math:`L_R + \alpha L_B`.

    Args:
        alpha: the boundary weight; small values such as 0.01 are the usual choice.

    Raises:
        ValueError: a negative or non-finite `alpha`, or a negative epoch.

    Example:
        >>> Constant(0.01)(7)
        (1.0, 0.01)
    """

    alpha: float = 0.01

    def __post_init__(self) -> None:
        _check(alpha=self.alpha)

    def __call__(self, epoch: int) -> tuple[float, float]:
        """Return region and boundary weight of `epoch`, counted from 0."""
        _check(epoch=epoch)
        return 1.0, self.alpha


@dataclass(frozen=True)
class Increase:
    r""":math:`L_R + \alpha L_B` with a growing weight: :math:`\alpha = \min(start + step \cdot epoch, stop)`.

    The official code's "increase" is `Increase(start=0.01, step=0.01)`. It is meant for runs of a hundred
    epochs and more. After five epochs a weight of 0.05 changes little, and a steeper `step` brings the
    boundary term in before the network knows the object: use `GradientRatio` there.

    Args:
        start: the weight in epoch 0.
        step: what each epoch adds.
        stop: the largest weight.

    Raises:
        ValueError: a negative or non-finite number, `stop` below `start`, or a negative epoch.

    Example:
        >>> schedule = Increase()
        >>> schedule(0), schedule(5), schedule(500)
        ((1.0, 0.0), (1.0, 0.05), (1.0, 1.0))
    """

    start: float = 0.0
    step: float = 0.01
    stop: float = 1.0

    def __post_init__(self) -> None:
        _check(start=self.start, step=self.step, stop=self.stop)
        _check_order(self.start, self.stop)

    def __call__(self, epoch: int) -> tuple[float, float]:
        """Return region and boundary weight of `epoch`, counted from 0."""
        _check(epoch=epoch)
        return 1.0, min(self.start + self.step * epoch, self.stop)


@dataclass(frozen=True)
class Rebalance:
    r""":math:`(1 - \alpha) L_R + \alpha L_B`: weight moves from the region to the boundary loss.

    The paper's Eq. 6 is `Rebalance(start=0.01, step=0.01, stop=0.99)`: the region weight falls by 0.01 an
    epoch and ends at 0.01.

    Args:
        start: the boundary weight in epoch 0.
        step: what each epoch adds.
        stop: the largest boundary weight, at most 1.

    Raises:
        ValueError: a negative or non-finite number, `stop` below `start` or above 1, or a negative epoch.

    Example:
        >>> schedule = Rebalance(step=0.25)
        >>> schedule(0), schedule(1), schedule(3)
        ((1.0, 0.0), (0.75, 0.25), (0.25, 0.75))
    """

    start: float = 0.0
    step: float = 0.01
    stop: float = 0.99

    def __post_init__(self) -> None:
        _check(start=self.start, step=self.step, stop=self.stop)
        _check_order(self.start, self.stop)
        if self.stop > 1:
            raise ValueError(f"stop is a share of the weight and at most 1, got {self.stop}")

    def __call__(self, epoch: int) -> tuple[float, float]:
        """Return region and boundary weight of `epoch`, counted from 0."""
        _check(epoch=epoch)
        alpha = min(self.start + self.step * epoch, self.stop)
        return 1.0 - alpha, alpha


@dataclass(frozen=True)
class GradientRatio:
    r""":math:`L_R + \alpha L_B` with the weight that holds the gradients in a given ratio.

    .. math:: \alpha = \min\left(\rho \, \frac{|g_R|}{|g_B|}, \; limit\right), \qquad
              \rho = ratio \cdot \min\left(\frac{(epoch - start)^+}{ramp}, 1\right)

    with :math:`|g_R|`, :math:`|g_B|` running means of the norms of the two terms' gradients at the logits.
    No constant fits: the ratio of the two changes by a factor of hundreds during training. As it has no unit,
    it does not depend on spacing, image size or region loss either.

    It is a weighting for `RegionBoundaryLoss`, which measures the norms in the forward pass, every ten steps
    of training, on a detached copy of the logits. The weights are then numbers like those of any schedule.

    Args:
        ratio: norm of the weighted boundary gradient, divided by that of the region gradient.
        ramp: epochs from `start` until the ratio is reached; 0: at once.
        start: epochs of the region loss alone, which cost nothing more than it (a warm start).
        limit: the largest alpha.

    Raises:
        ValueError: a negative or non-finite number, or a negative epoch.

    The official code has no such weighting.

    Example:
        >>> weighting = GradientRatio(ratio=0.2, ramp=10)
        >>> weighting.at(0), weighting.at(5), weighting.at(500)
        (0.0, 0.1, 0.2)
        >>> weighting = GradientRatio(ratio=0.2, start=600, ramp=100)
        >>> weighting.at(600), weighting.at(650), weighting.at(900)
        (0.0, 0.1, 0.2)
    """

    ratio: float = 0.5
    ramp: float = 10.0
    limit: float = 100.0
    start: float = 0.0

    def __post_init__(self) -> None:
        _check(ratio=self.ratio, ramp=self.ramp, limit=self.limit, start=self.start)

    def at(self, epoch: int) -> float:
        """Return the ratio in `epoch`, counted from 0."""
        _check(epoch=epoch)
        if epoch < self.start:
            return 0.0
        return self.ratio * (min((epoch - self.start) / self.ramp, 1.0) if self.ramp else 1.0)


def _check(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and not negative, got {value}")


def _check_order(start: float, stop: float) -> None:
    if stop < start:
        raise ValueError(f"stop must not be below start, got start={start}, stop={stop}")
