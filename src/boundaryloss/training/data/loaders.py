"""The batches of a run, shared out among its processes."""

from typing import Any

import lightning
from torch.utils.data import DataLoader, Subset

from boundaryloss.signals import start_worker
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.rundata import RunData
from boundaryloss.training.data.sampling import Draws, EpochSampler, ShareSampler
from boundaryloss.training.data.slices import collate
from boundaryloss.training.data.split import split_validation
from boundaryloss.training.data.volumes import FileGrid, Volumes


class Loaders(lightning.LightningDataModule):
    """Loaders of the training, validation and test cases of a run, for the process that asks."""

    def __init__(self, data: RunData, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.learn, self.validate = share_out(data, config)
        self.test = FileGrid(data.test) if isinstance(data.test, Volumes) else data.test
        self.draws = Draws(self.learn, config, data.task)

    def train_dataloader(self) -> DataLoader:
        """Return the draws of this epoch."""
        sampler = EpochSampler(len(self.draws), self.config.seed, *self._place())
        if self.trainer is not None:
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            sampler.set_epoch(progress.processed)  # Lightning does so only after workers have asked for draws
        return self._loader(self.draws, sampler, self.config.batch_size)

    def val_dataloader(self) -> Any:
        """Return whole validation cases, one at a time, each in one process only."""
        return [] if self.validate is None else self._whole(self.validate)

    def test_dataloader(self) -> DataLoader:
        """Return whole test cases, one at a time; volumes come with the way back to their file."""
        return self._whole(self.test)

    def _whole(self, cases: Any) -> DataLoader:
        return self._loader(cases, ShareSampler(len(cases), *self._place()), 1)

    def _loader(self, cases: Any, sampler: Any, size: int) -> DataLoader:
        return DataLoader(
            cases,
            batch_size=size,
            sampler=sampler,
            num_workers=self.config.num_workers,
            persistent_workers=self.config.num_workers > 0,
            worker_init_fn=start_worker,
            collate_fn=collate,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def share_out(data: RunData, config: TrainConfig) -> tuple[Any, Any]:
    """Return the cases to learn from and those that choose best.ckpt, `None` if there are none."""
    learn, validate = split_validation(data.train.names, data.patients, config.validation, config.seed)
    if not validate:
        return data.train, None
    place = {name: i for i, name in enumerate(data.train.names)}
    first, second = ([place[name] for name in part] for part in (learn, validate))
    return Subset(data.train, first), Subset(data.train, second)
