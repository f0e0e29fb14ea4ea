"""The network, its optimiser and its two loss terms, for Lightning."""

import functools
from collections.abc import Mapping
from typing import Any, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from boundaryloss.files import IGNORE, UserError
from boundaryloss.losses import RegionBoundaryLoss
from boundaryloss.scoring import objects_of
from boundaryloss.training.config import TrainConfig, as_dict
from boundaryloss.training.data.slices import on_file_grid
from boundaryloss.training.model.gradients import gradient_norm
from boundaryloss.training.model.levels import classes_of, loss_terms
from boundaryloss.training.model.losses import (
    ImportedLoss,
    MonaiBoundaryLoss,
    OfficialBoundaryLoss,
    make_loss,
)
from boundaryloss.training.model.networks import make_inferer, make_network, run_whole
from boundaryloss.training.processes import merged
from boundaryloss.training.task import Task


class SegmentationModule(lightning.LightningModule):
    """A U-Net, 2-D or 3-D, that learns from whole slices or from patches.

    Args:
        config: how to train.
        task: what is known of the data.

    Both are kept in the checkpoint, as plain values, and are all that prediction needs.
    """

    def __init__(self, config: TrainConfig, task: Task) -> None:
        super().__init__()
        self.save_hyperparameters({"config": as_dict(config), "task": task.as_dict()})
        self.config, self.task = config, task
        self.network: torch.nn.Module = make_network(config, task)
        self.loss = make_loss(config.loss, config, task)
        objects = objects_of(task.label_values, task.regions, task.painted)
        self.objects = [torch.tensor(classes) for classes in objects.values()]
        self.inferer = make_inferer(task, config.batch_size)
        term = self.loss.boundary if isinstance(self.loss, RegionBoundaryLoss) else self.loss
        others = MonaiBoundaryLoss | OfficialBoundaryLoss | ImportedLoss
        if self.config.map_from == "volume" and isinstance(term, others):
            raise UserError(
                f'map_from = "volume": the loss {self.config.loss} takes no map; choose map_from = "patch"'
            )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `(batch, class, *space)` of `(batch, channel, *space)` of any size."""
        if self.inferer is None:
            return run_whole(self.network, images)
        logits: Any = self.inferer(images, self.network)
        return logits

    def levels(self, images: Tensor) -> list[Tensor]:
        """Return the logits of a training batch, at full resolution first; coarser ones follow."""
        logits = run_whole(self.network, images) if self.inferer is None else self.network(images)
        if self.config.deep_supervision == "none":
            return [logits]
        heads: Any = self.network.heads
        return [logits[:, 0], *heads]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam, as in the paper, and its halving of the learning rate or nnU-Net's decay."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.config.learning_rate)
        if self.config.decay:
            epochs = self.config.epochs
            decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: (1 - epoch / epochs) ** 0.9)
            return [optimizer], [decay]
        if not self.config.halve_after:
            return optimizer
        halving = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=self.config.halve_after)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halving, "monitor": "validation_dice"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Leave the halving to `on_train_epoch_end`: Lightning does it only after the epoch's checkpoint."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_train_epoch_end(self) -> None:
        """Halve the learning rate if it is time to."""
        halving = self.lr_schedulers()
        if isinstance(halving, ReduceLROnPlateau):
            halving.step(self.trainer.callback_metrics["validation_dice"])

    def on_train_epoch_start(self) -> None:
        """Give both terms the weights of this epoch, and chance the state that it always has here."""
        seed = np.random.SeedSequence([self.config.seed, self.current_epoch, self.global_rank])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        if isinstance(self.loss, RegionBoundaryLoss):
            self.loss.set_epoch(self.current_epoch)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of one batch; every term and weight is logged."""
        outputs = self.levels(batch["image"])
        reach = len(outputs) if self.config.deep_supervision == "all" else 1
        region, boundary = loss_terms(self.loss, outputs, batch, self.task, reach=reach)
        if boundary is None:
            loss, terms = region, {"region": region}
        else:
            region_weight, boundary_weight = cast(RegionBoundaryLoss, self.loss).weights.clone()
            loss = region_weight * region + boundary_weight * boundary
            terms = {
                "region": region,
                "boundary": boundary,
                "region_weight": region_weight,
                "boundary_weight": boundary_weight,
            }
            if batch_idx == 0:  # for a curve, once an epoch is enough
                terms["region_gradient"] = gradient_norm(region, outputs[0])
                terms["boundary_gradient"] = gradient_norm(boundary, outputs[0])
        size = len(batch["labels"])
        self.log_dict({"loss": loss, **terms}, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the counts of the last validation."""
        self._counts: dict[str, np.ndarray] = {}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count overlap and size per class or region; a mean over the Dice of slices would jump."""
        truth = batch["labels"][:, 0]
        prediction = classes_of(self(batch["image"]), self.task).masked_fill(truth == IGNORE, IGNORE)
        counts = []
        for classes in self.objects:
            mine, true = (torch.isin(one, classes.to(one)).flatten(1) for one in (prediction, truth))
            counts.append(torch.stack([(mine & true).sum(1), mine.sum(1) + true.sum(1)]))
        self._counts.update(
            zip(batch["name"], torch.stack(counts).cpu().numpy().transpose(2, 0, 1), strict=True)
        )

    def on_validation_epoch_end(self) -> None:
        """Log the Dice of all validation voxels together, averaged over the foreground classes."""
        overlap, size = np.sum(list(merged(self._counts).values()), axis=0).T
        self.log("validation_dice", float((2 * overlap / size.clip(min=1)).mean()))

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        """Return the class of every voxel, uint8 `(*space)`, and its probabilities, for each sample.

        Probabilities are float32 `(class, *space)`, or `(region, *space)` where the data have regions, on the
        CPU. Both lie on the grid of the sample's file.
        """
        squash = torch.sigmoid if self.task.regions else functools.partial(torch.softmax, dim=0)
        return [(self._classes(one), squash(one).cpu()) for one in self.file_logits(batch)]

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[Tensor]:
        """Return the logits of each sample."""
        return self.file_logits(batch)

    def file_logits(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """Return logits `(class, *space)` of each sample of a test batch, on the grid of its file."""
        return [on_file_grid(batch, index, one) for index, one in enumerate(self(batch["image"]).float())]

    def _classes(self, logits: Tensor) -> np.ndarray:
        return classes_of(logits[None], self.task)[0].to(torch.uint8).cpu().numpy()
