"""The network, its optimiser and its two loss terms, for Lightning."""

from collections.abc import Mapping
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from boundaryloss.losses import BoundaryLoss, RegionBoundaryLoss
from boundaryloss.training.config import from_dict
from boundaryloss.training.data import IGNORE
from boundaryloss.training.errors import UserError
from boundaryloss.training.losses import make_loss
from boundaryloss.training.networks import make_inferer, make_network
from boundaryloss.training.terms import classes_of, loss_terms


class SegmentationModule(lightning.LightningModule):
    """A U-Net, 2-D or 3-D, that learns from whole slices or from patches.

    Args:
        config: `config.as_dict` of a `TrainConfig`.
        data: what was found in the data, `RunData.facts`: channels, classes, spacing, patch, ...

    Both are plain values, are kept in the checkpoint, and are all that prediction needs.
    """

    def __init__(self, config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters({"config": dict(config), "data": dict(data)})
        self.config, self.data = from_dict(config), dict(data)
        self.network = make_network(self.config, data)
        self.loss = make_loss(
            self.config.loss,
            self.config,
            tuple(data["spacing"]),
            activation="sigmoid" if data.get("regions") else "softmax",
            ignore_index=IGNORE if data.get("ignore") else None,
        )
        patch = data.get("patch")
        self.inferer = make_inferer(patch, self.config.batch_size) if patch else None
        if self.config.map_from == "volume" and not isinstance(
            getattr(self.loss, "boundary", None), BoundaryLoss | None
        ):
            raise UserError(
                f'map_from = "volume" is for +boundary; the loss {self.config.loss} makes its own map'
            )

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, class, *space)` of `(batch, channel, *space)` of any size."""
        return self.network(images) if self.inferer is None else self.inferer(images, self.network)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Logits of patches, at full resolution first; DynUNet's heads follow with deep supervision."""
        logits = self.network(images)
        if self.config.deep_supervision == "none":
            return [logits]
        return [logits[:, 0], *self.network.heads]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as in the paper."""
        return torch.optim.Adam(self.parameters(), lr=self.config.learning_rate)

    def on_train_epoch_start(self) -> None:
        """Give both terms the weights of this epoch, and chance the state that it always has here."""
        seed = np.random.SeedSequence([self.config.seed, self.current_epoch, self.global_rank])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        if isinstance(self.loss, RegionBoundaryLoss):
            self.loss.set_epoch(self.current_epoch)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of one batch; every term and weight is logged."""
        outputs = self.levels(batch["image"])
        reach = len(outputs) if self.config.deep_supervision == "all" else 1
        region, boundary = loss_terms(self.loss, outputs, batch, self.data, boundary_levels=reach)
        loss, terms = region, {"region": region}
        if boundary is not None:
            region_weight, boundary_weight = self.loss.weights
            loss = region_weight * region + boundary_weight * boundary
            terms = {
                "region": region,
                "boundary": boundary,
                "region_weight": region_weight,
                "boundary_weight": boundary_weight,
            }
        size = len(batch["labels"])
        self.log_dict({"loss": loss, **terms}, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the counts of the last validation."""
        self._overlap = torch.zeros(self.data["num_classes"], 2, dtype=torch.long, device=self.device)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count overlap and size per class; slices without the object would make a mean of Dice jump."""
        truth = batch["labels"][:, 0]
        prediction = classes_of(self(batch["image"]), self.data).masked_fill(truth == IGNORE, IGNORE)
        for index in range(1, len(self._overlap)):
            mine, true = prediction == index, truth == index
            self._overlap[index, 0] += (mine & true).sum()
            self._overlap[index, 1] += mine.sum() + true.sum()

    def on_validation_epoch_end(self) -> None:
        """Log the Dice of all validation voxels together, averaged over the foreground classes."""
        overlap = self.trainer.strategy.reduce(self._overlap, reduce_op="sum")
        dice = 2 * overlap[1:, 0] / overlap[1:, 1].clamp(min=1)
        self.log("validation_dice", dice.mean())

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> list[np.ndarray]:
        """Predictions, for the callback that scores them."""
        return self.predict_step(batch, batch_idx)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[np.ndarray]:
        """The class of every voxel, on the grid of each sample's file."""
        logits = self(batch["image"])
        if "restore" in batch:
            logits = torch.stack(
                [back(one.cpu()) for back, one in zip(batch["restore"], logits, strict=True)]
            )
        classes = classes_of(logits, self.data).to(torch.uint8).cpu().numpy()
        if "restore" in batch:
            return list(classes)
        return [plane[:height, :width] for plane, (height, width) in zip(classes, batch["size"], strict=True)]
