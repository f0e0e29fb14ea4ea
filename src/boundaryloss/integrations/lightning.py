"""The schedule of a `RegionBoundaryLoss` as a Lightning callback."""

from boundaryloss.extras import require

require("train", __name__, "lightning")

from functools import partial
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from boundaryloss import RegionBoundaryLoss


class BoundarySchedule(Callback):
    """Drive every `RegionBoundaryLoss` of a module by the trainer's epoch or step, and log what it does.

    Weights and unweighted terms are logged under the loss's name in the module: with `self.loss = ...`
    `loss/region`, `loss/boundary`, `loss/region_weight` and `loss/boundary_weight`. A loss that is called
    several times in a step, under deep supervision, logs its first call's terms. A region loss that is a
    plain function has no hook to log it by: give `torch.nn.CrossEntropyLoss()`, not `cross_entropy`.

    A resumed fit goes on with the weights it was stopped at: the epoch is the trainer's, and the steps are
    part of the callback's state in the checkpoint.

    Args:
        interval: `"epoch"` or `"step"`: what the schedule counts. A step is a batch after which an optimiser
            stepped, however many of them did: a schedule `Increase(step=1e-4)` adds 0.01 in 100 steps.

    Raises:
        ValueError: an unknown `interval`, or at the start of a fit, a module without a `RegionBoundaryLoss`.

    Example:
        >>> BoundarySchedule("step").interval
        'step'
    """

    def __init__(self, interval: Literal["epoch", "step"] = "epoch") -> None:
        if interval not in ("epoch", "step"):
            raise ValueError(f"interval must be 'epoch' or 'step', got {interval!r}")
        self.interval = interval
        self._steps = 0
        self._steps_of_all_optimisers = 0  # the trainer's global_step
        self._losses: dict[str, RegionBoundaryLoss] = {}
        self._hooks: list[RemovableHandle] = []
        self._terms: dict[str, tuple[Tensor, int]] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the losses and listen to their terms."""
        named = pl_module.named_modules()
        self._losses = {name: loss for name, loss in named if isinstance(loss, RegionBoundaryLoss)}
        if not self._losses:
            raise ValueError(
                f"{type(pl_module).__name__} has no RegionBoundaryLoss; make it an attribute of the module: "
                "self.loss = RegionBoundaryLoss(...)"
            )
        for name, loss in self._losses.items():
            for term in ("region", "boundary"):
                if isinstance(module := getattr(loss, term), nn.Module):
                    hook = module.register_forward_hook(partial(self._keep, f"{name}/{term}"))
                    self._hooks.append(hook)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on counting, unless the trainer is elsewhere: then all optimisers have stepped equally often."""
        if self._steps_of_all_optimisers != trainer.global_step:
            self._steps_of_all_optimisers = trainer.global_step
            self._steps = trainer.global_step // max(len(trainer.optimizers), 1)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the weights of the epoch."""
        if self.interval == "epoch":
            self._set(trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the weights of the step."""
        self._terms.clear()
        if self.interval == "step":
            self._set(self._steps)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log terms and weights, by step or as the epoch's mean; count the step."""
        self._steps += trainer.global_step > self._steps_of_all_optimisers
        self._steps_of_all_optimisers = trainer.global_step
        step = self.interval == "step"
        log = partial(pl_module.log, on_step=step, on_epoch=not step, sync_dist=not step)
        for name, (term, batch_size) in self._terms.items():
            log(name, term, batch_size=batch_size)
        for name, loss in self._losses.items():
            for term, weight in zip(("region", "boundary"), loss.weights.clone(), strict=True):
                log(f"{name}/{term}_weight", weight, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        """Return the steps, for the checkpoint."""
        return {"steps": self._steps, "steps_of_all_optimisers": self._steps_of_all_optimisers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume at the saved step."""
        self._steps = state_dict["steps"]
        self._steps_of_all_optimisers = state_dict["steps_of_all_optimisers"]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop listening; also called when a fit fails."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._terms.clear()

    def _set(self, count: int) -> None:
        for loss in self._losses.values():
            loss.set_epoch(count)

    def _keep(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if module.training:
            self._terms.setdefault(name, (output.detach(), len(inputs[0])))
