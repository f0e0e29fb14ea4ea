"""The network, its optimiser and its two loss terms, for Lightning."""

from collections.abc import Mapping
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor

from boundaryloss.losses import RegionBoundaryLoss
from boundaryloss.training.config import from_dict
from boundaryloss.training.gradients import term_gradients
from boundaryloss.training.losses import make_loss


class SegmentationModule(lightning.LightningModule):
    """A 2-D U-Net whose first level keeps the full resolution, with LeakyReLU and instance norm.

    Args:
        config: `config.as_dict` of a `TrainConfig`.
        data: what was found in the data: `channels`, `num_classes`, `label_values`, `spacing`.

    Both are plain values, are kept in the checkpoint, and are all that prediction needs.
    """

    def __init__(self, config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters({"config": dict(config), "data": dict(data)})
        self.config = from_dict(config)
        features = self.config.features
        self.network = BasicUNet(
            spatial_dims=2,
            in_channels=data["channels"],
            out_channels=data["num_classes"],
            features=(*features, features[0]),
        )
        self.loss = make_loss(self.config.loss, self.config, tuple(data["spacing"]))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, class, height, width)` of `(batch, channel, height, width)`."""
        return self.network(images)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, as in the paper, and its halving of the learning rate if asked for."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.config.learning_rate)
        if not self.config.halve_after:
            return optimizer
        halving = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.5, patience=self.config.halve_after
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halving, "monitor": "validation_dice"}}

    def on_train_epoch_start(self) -> None:
        """Give both terms the weights of this epoch."""
        if isinstance(self.loss, RegionBoundaryLoss):
            self.loss.set_epoch(self.current_epoch)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of one batch; every term and weight is logged."""
        logits, labels = self(batch["image"]), batch["labels"]
        if isinstance(self.loss, RegionBoundaryLoss):
            region, boundary = self.loss.terms(logits, labels)
            region_weight, boundary_weight = self.loss.weights
            loss = region_weight * region + boundary_weight * boundary
            terms = {
                "region": region,
                "boundary": boundary,
                "region_weight": region_weight,
                "boundary_weight": boundary_weight,
            }
            if batch_idx == 0:  # for a curve, once an epoch is enough
                terms |= term_gradients(logits, region, boundary)
        else:
            loss = self.loss(logits, labels)
            terms = {"region": loss}
        size = len(labels)
        self.log_dict({"loss": loss, **terms}, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the counts of the last validation."""
        self._overlap = torch.zeros(self.network.final_conv.out_channels, 2, device=self.device)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count overlap and size per class; slices without the object would make a mean of Dice jump."""
        classes = len(self._overlap)
        prediction = torch.nn.functional.one_hot(self(batch["image"]).argmax(1), classes)
        truth = torch.nn.functional.one_hot(batch["labels"][:, 0], classes)
        counts = torch.stack([(prediction * truth), (prediction + truth)]).sum(dim=(1, 2, 3))
        self._overlap += counts.T

    def on_validation_epoch_end(self) -> None:
        """Log the Dice of all validation pixels together, averaged over the foreground classes."""
        overlap = self.trainer.strategy.reduce(self._overlap, reduce_op="sum")
        dice = 2 * overlap[1:, 0] / overlap[1:, 1].clamp(min=1)
        self.log("validation_dice", dice.mean())

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[np.ndarray]:
        """The most likely class of every pixel, at each slice's own size."""
        classes = self(batch["image"]).argmax(1).to(torch.uint8).cpu().numpy()
        return [plane[:height, :width] for plane, (height, width) in zip(classes, batch["size"], strict=True)]
