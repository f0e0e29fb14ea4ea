"""One training run, from data to a directory that holds everything about it."""

import json
import logging
import math
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Subset

from boundaryloss.training.callbacks import History, StepReport, Steps
from boundaryloss.training.checkpoints import AtomicCheckpointIO
from boundaryloss.training.config import TrainConfig, as_dict, write_config
from boundaryloss.training.data import Collection, Slices, collate
from boundaryloss.training.errors import UserError
from boundaryloss.training.metrics import case_metrics, summarise, write_csv
from boundaryloss.training.module import SegmentationModule
from boundaryloss.training.phantom import phantom
from boundaryloss.training.pictures import write_pictures

PHANTOM_SIZES = (200, 100)  # slices to train and to test on
PHANTOM_SEEDS = (0, 1_000_003)  # two series that share no slice


@dataclass(frozen=True)
class RunData:
    """Slices in memory, split, and what they have in common."""

    train: Slices
    test: Slices
    label_values: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...]

    @classmethod
    def from_collection(cls, collection: Collection) -> "RunData":
        """Read the files of a data folder once."""
        values = collection.label_values
        return cls(
            Slices.from_cases(collection.train, values),
            Slices.from_cases(collection.test, values),
            values,
            collection.channels,
            collection.spacing,
        )

    @classmethod
    def from_phantom(cls, sizes: tuple[int, int] = PHANTOM_SIZES, size: int = 96) -> "RunData":
        """Draw the phantom: the same slices every time, whatever the run's seed."""
        train, test = (phantom(n, seed=seed, size=size) for n, seed in zip(sizes, PHANTOM_SEEDS, strict=True))
        return cls(Slices(*_lists(train)), Slices(*_lists(test)), (0, 1), 1, (1.0, 1.0))

    def facts(self) -> dict[str, Any]:
        """What prediction has to know about them."""
        return {
            "channels": self.channels,
            "num_classes": len(self.label_values),
            "label_values": list(self.label_values),
            "spacing": list(self.spacing),
        }


def train(
    data: RunData, config: TrainConfig, out: Path, *, on_step: StepReport | None = None
) -> list[dict[str, Any]]:
    """Train, test the last epoch, and write all of it to `out`.

    `out` gets config.toml, splits.json (as a data folder may hold it), metrics.csv (by epoch),
    checkpoints/last.ckpt and best.ckpt, tensorboard/, and in the end cases.csv, summary.csv and pictures/ of
    the test.

    Args:
        data: what to train and to test on.
        config: how.
        out: the run's directory, new or empty.
        on_step: is called after every step with a line on how the run stands.

    Returns:
        The rows of summary.csv.

    Raises:
        UserError: `out` is in use, a checkpoint cannot be written, or the loss is no longer a number.
        KeyboardInterrupt: as it came; what there is so far is on disk, last.ckpt included.
    """
    prepare_directory(out)
    write_config(out / "config.toml", config, data.facts())
    split = {"train": data.train.names, "test": data.test.names}
    (out / "splits.json").write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
    torch.manual_seed(config.seed)
    module = SegmentationModule(as_dict(config), data.facts())
    learn, validate = _split_validation(data.train, config)
    with quiet_lightning():
        trainer = _make_trainer(config, out, on_step, validated=validate is not None)
        _fit(trainer, module, _loader(learn, config, shuffle=True), validate and _loader(validate, config))
        predictions = predict_classes(trainer, module, data.test, config)
    rows = []
    for index, (name, prediction) in enumerate(zip(data.test.names, predictions, strict=True)):
        assert data.test.labels is not None
        rows += case_metrics(
            prediction,
            data.test.labels[index],
            num_classes=len(data.label_values),
            spacing=data.spacing,
            name=name,
            label_values=data.label_values,
        )
    summary = summarise(rows)
    write_csv(out / "cases.csv", rows)
    write_csv(out / "summary.csv", summary)
    write_pictures(out / "pictures", data.test, predictions)
    return summary


def count_steps(data: RunData, config: TrainConfig) -> int:
    """How often `on_step` will be called."""
    return config.epochs * math.ceil(len(_split_validation(data.train, config)[0]) / config.batch_size)


def predict_classes(
    trainer: Trainer, module: SegmentationModule, slices: Slices, config: TrainConfig
) -> list[np.ndarray]:
    """The class indices (uint8) of every slice, at its own size."""
    batches: Any = trainer.predict(module, _loader(slices, config))
    return [prediction for batch in batches for prediction in batch]


def prepare_directory(out: Path) -> None:
    """Make `out`; one that holds something is refused, since nothing may be overwritten.

    Raises:
        UserError: `out` is not empty, or cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
    except OSError as error:
        raise UserError(f"cannot make the directory {out}: {error.strerror}") from None
    if used:
        raise UserError(f"{out} exists and is not empty; give a new directory with --out, or remove this one")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and its advice on workers out of the output."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _make_trainer(config: TrainConfig, out: Path, on_step: StepReport | None, *, validated: bool) -> Trainer:
    folder = out / "checkpoints"
    last = ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_exception=True)
    best = ModelCheckpoint(
        folder, filename="best", monitor="validation_dice", mode="max", enable_version_counter=False
    )
    return Trainer(
        max_epochs=config.epochs,
        accelerator=config.accelerator,
        devices=config.devices,
        logger=TensorBoardLogger(out, name="tensorboard", version="", default_hp_metric=False),
        plugins=[AtomicCheckpointIO()],
        callbacks=[
            History(out / "metrics.csv"),
            *([Steps(on_step)] if on_step else []),
            *([best] if validated else []),
            last,
        ],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _fit(
    trainer: Trainer, module: SegmentationModule, learn: DataLoader, validate: DataLoader | None
) -> None:
    """`trainer.fit`, where Ctrl-C stays what it is: Lightning makes it an exit with status 1."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, learn, validate)
    except SystemExit:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def _split_validation(slices: Slices, config: TrainConfig) -> tuple[Any, Any]:
    """A seeded share of the training slices chooses best.ckpt; the second part is `None` if it is empty."""
    order = np.random.default_rng(config.seed).permutation(len(slices)).tolist()
    count = round(config.validation * len(order))
    if count == 0:
        return slices, None
    return Subset(slices, sorted(order[count:])), Subset(slices, sorted(order[:count]))


def _loader(slices: Any, config: TrainConfig, *, shuffle: bool = False) -> DataLoader:
    return DataLoader(
        slices,
        batch_size=config.batch_size,
        shuffle=shuffle,
        num_workers=config.num_workers,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(config.seed),
    )


def _lists(series: tuple[np.ndarray, np.ndarray]) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    return list(series[0]), list(series[1])
