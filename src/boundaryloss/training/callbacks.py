"""What a run tells: metrics.csv by epoch, the scores of its test, and every step to whoever draws a bar."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer

from boundaryloss.files import IGNORE, UserError
from boundaryloss.report.store import Epoch, write_table
from boundaryloss.scoring import CaseScores, LesionScores, objects_of, score_case, without_unlabelled
from boundaryloss.training.data.rundata import RunData
from boundaryloss.training.data.slices import on_file_grid
from boundaryloss.training.pictures import shown_names, write_picture
from boundaryloss.training.processes import merged

StepReport = Callable[[str], None]
CaseReport = Callable[[str, np.ndarray, np.ndarray, np.ndarray], None]
Progress = Callable[[int, int, str], None]  # steps done, steps in all, and a line of text
LOGGED = tuple(field.name for field in fields(Epoch) if field.name not in ("epoch", "seconds"))


class History(Callback):
    """Write one row per epoch, at once, so that an interrupted run has all that it got to.

    The rows are part of the checkpoint: a run that goes on from an earlier epoch forgets what came after it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Epoch] = []
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's means; a loss that is no number ends the run."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {name: logged.get(name) for name in LOGGED}
        seconds = round(time.perf_counter() - self.started, 2)
        self.rows.append(Epoch(trainer.current_epoch, **row, seconds=seconds))
        if trainer.is_global_zero:
            write_table(self.path, self.rows)
        if not math.isfinite(logged["loss"]):
            raise UserError(
                f"the loss is {logged['loss']} in epoch {trainer.current_epoch}; "
                "lower learning_rate and try again"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far, as plain values."""
        return {"rows": [asdict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the last row, on the clock too."""
        self.rows = [Epoch(**row) for row in state_dict["rows"]]
        if self.rows:
            self.started -= self.rows[-1].seconds or 0.0


class Scores(Callback):
    """Compare every test case with its truth where it was predicted; `collect` brings all rows together.

    `on_case` gets the name of each, prediction and truth (*space) and the probabilities (class, *space); all
    say background where nobody labelled.
    """

    def __init__(self, data: RunData, pictures: Path, on_case: CaseReport | None = None) -> None:
        self.data, self.pictures, self.on_case = data, pictures, on_case
        self.objects = objects_of(data.task.label_values, data.task.regions, data.task.painted)
        self.shown = shown_names(data)
        self.rows: dict[str, tuple[list[CaseScores], list[LesionScores]]] = {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the cases of one batch, and draw those that are to be shown."""
        for index, (name, (prediction, probabilities)) in enumerate(zip(batch["name"], outputs, strict=True)):
            if "truth" in batch:
                truth, spacing = batch["truth"][index], batch["spacing"][index]
            else:
                truth = on_file_grid(batch, index, batch["labels"][index])[0].cpu().numpy()
                spacing = self.data.task.spacing
            unlabelled = truth == IGNORE
            prediction, truth = without_unlabelled(prediction, truth)
            self.rows[name] = score_case(prediction, truth, self.objects, spacing=spacing, name=name)
            if self.on_case is not None:
                shares = probabilities.numpy()
                shares[1:, unlabelled], shares[0, unlabelled] = 0, 1
                self.on_case(name, prediction, truth, shares)
            if name in self.shown:
                image = on_file_grid(batch, index, batch["image"][index]).cpu().numpy()
                write_picture(self.pictures / f"{name}.png", image, truth, prediction)

    def collect(self, names: Sequence[str]) -> tuple[list[CaseScores], list[LesionScores]]:
        """Return the rows of all processes, in the order of `names`: of the cases, and of their lesions."""
        rows = merged(self.rows)
        cases = [row for name in names for row in rows[name][0]]
        return cases, [row for name in names for row in rows[name][1]]


class Steps(Callback):
    """Call `report` with a short text after every step of training and after every case of the test."""

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

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Tell how much of the test is done."""
        self.report(f"test case {batch_idx + 1}/{int(trainer.num_test_batches[0])}")


class EndTogether(Callback):
    """End the processes that Lightning has started with the first one, however that ends."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Kill them before they notice, each with an error of its own, that nobody answers."""
        processes = getattr(trainer.strategy.launcher, "procs", [])
        for process in processes:
            process.kill()
        processes.clear()  # or Lightning, which watches them, would kill the first process, too
