"""What a run tells while it goes: metrics.csv by epoch, and a step at a time to whoever draws a bar."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from boundaryloss.training.errors import UserError
from boundaryloss.training.metrics import write_csv

StepReport = Callable[[str], None]
Progress = Callable[[int, int, str], None]  # steps done, steps in all, and a line of text
COLUMNS = (
    "loss",
    "region",
    "boundary",
    "region_weight",
    "boundary_weight",
    "region_gradient",
    "boundary_gradient",
    "validation_dice",
)


class History(Callback):
    """Write one row per epoch, at once, so that an interrupted run has all that it got to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's means; a loss that is no number ends the run."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {name: logged.get(name, "") for name in COLUMNS}
        seconds = round(time.perf_counter() - self.started, 2)
        self.rows.append({"epoch": trainer.current_epoch, **row, "seconds": seconds})
        if trainer.is_global_zero:
            write_csv(self.path, self.rows)
        if not math.isfinite(logged["loss"]):
            raise UserError(
                f"the loss is {logged['loss']} in epoch {trainer.current_epoch}; "
                "lower learning_rate and try again"
            )


class Steps(Callback):
    """Call `report` with a short text after every step."""

    def __init__(self, report: StepReport) -> None:
        self.report = report

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell where the run is and how the last finished epoch went."""
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        if (loss := trainer.callback_metrics.get("loss")) is not None:
            text += f", loss {float(loss):.2f}"
        self.report(text)
