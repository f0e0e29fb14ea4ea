"""One training run, from data to a directory that holds everything about it."""

import json
import logging
import math
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from boundaryloss.files import UserError, atomic_write, locked, prepare_directory
from boundaryloss.report.store import CASES, HISTORY, LESIONS, SUMMARY, LabelScores, LesionScores, write_table
from boundaryloss.scoring import summarise
from boundaryloss.training.callbacks import CaseReport, EndTogether, History, Scores, StepReport, Steps
from boundaryloss.training.checkpoints import (
    UNFIT,
    AtomicCheckpointIO,
    newest_checkpoint,
    read_checkpoint,
)
from boundaryloss.training.config import (
    TrainConfig,
    as_dict,
    check_weights,
    from_dict,
    read_config,
    write_config,
)
from boundaryloss.training.data.loaders import Loaders, share_out
from boundaryloss.training.data.rundata import RunData, load_data
from boundaryloss.training.data.sampling import count_draws
from boundaryloss.training.model.module import SegmentationModule
from boundaryloss.training.processes import is_first_process, launched
from boundaryloss.training.task import Task
from boundaryloss.training.trained import begin_with

__all__ = [
    "RunData",
    "count_steps",
    "load_data",
    "prepare_directory",
    "quiet_lightning",
    "steps_per_epoch",
    "train",
]

MAY_CHANGE = {"epochs", "accelerator", "devices", "nodes", "num_workers", "cache"}  # when a run goes on
GOES_ON_WITH = ("loops", "global_step", "optimizer_states", "lr_schedulers", "pytorch-lightning_version")


def train(
    data: RunData,
    config: TrainConfig,
    out: Path,
    *,
    on_step: StepReport | None = None,
    on_case: CaseReport | None = None,
    resume: bool = False,
    until: int | None = None,
) -> list[LabelScores]:
    """Train, test the last epoch, and write all of it to `out`.

    `out` gets config.toml, splits.json (as a data folder may hold it), metrics.csv (by epoch),
    checkpoints/last.ckpt, previous.ckpt and best.ckpt, tensorboard/, and in the end cases.csv,
    lesions.csv, summary.csv and pictures/ of the test; skipped.txt if bad cases were left out.

    Args:
        data: what to train and to test on.
        config: how.
        out: the run's directory, new or empty.
        on_step: is called after every step and every test case with a line on how the run stands.
        on_case: gets every case that this process tests, see `Scores`.
        resume: go on with the run in `out`, after the last epoch that it finished; on the CPU it ends as if
            it had never stopped, bit for bit. With nothing in `out` it starts.
        until: stop after so many epochs, without a test, and return no rows; the run can go on later.

    Returns:
        The rows of summary.csv.

    Raises:
        UserError: `out` is in use or is another run, a checkpoint cannot be written, or the loss is no
            number. Unless it goes on with a run, nothing is written before the data fit the configuration.
        KeyboardInterrupt: as it came; what there is so far is on disk, every finished epoch included.
    """
    torch.manual_seed(config.seed)
    module = SegmentationModule(config, data.task)
    if config.begin_with and not (resume and newest_checkpoint(out / "checkpoints")[0]):
        begin_with(module, Path(config.begin_with), data)
    loaders = Loaders(data, config)
    scores = Scores(data, out / "pictures", on_case)
    with locked(out) if is_first_process() else nullcontext(), quiet_lightning():
        checkpoint = _prepare(data, config, out, resume, module)
        trainer = _make_trainer(config, out, scores, on_step, validated=loaders.validate is not None)
        trainer.fit_loop.max_epochs = config.epochs if until is None else until
        trainer.fit(module, loaders, ckpt_path=checkpoint)
        if until is not None:
            return []
        trainer.test(module, loaders, verbose=False)
        rows, lesions = scores.collect(data.test.names)
        summary = summarise(rows, data.patients)
        if trainer.is_global_zero:
            write_table(out / CASES, rows)
            write_table(out / LESIONS, lesions, LesionScores)
            write_table(out / SUMMARY, summary)
    return summary


def check_fit(data: RunData, config: TrainConfig, *, begun: bool = False) -> None:
    """Raise a `UserError` if network or loss of `config` do not fit the data, as `train` would.

    Args:
        data: what to train and to test on.
        config: how.
        begun: whether the run to begin with is there, to be checked, too.
    """
    module = SegmentationModule(config, data.task)
    if begun and config.begin_with:
        begin_with(module, Path(config.begin_with), data)


def count_steps(data: RunData, config: TrainConfig) -> int:
    """Return how often `on_step` will be called: after every step of training and every case of the test."""
    return config.epochs * steps_per_epoch(data, config) + math.ceil(
        len(data.test) / math.prod(launched(config))
    )


def steps_per_epoch(data: RunData, config: TrainConfig) -> int:
    """Return how many steps an epoch of training has in each process."""
    draws = count_draws(len(share_out(data, config)[0]), config, data.task.patch)
    return math.ceil(draws / (config.batch_size * math.prod(launched(config))))


def _prepare(
    data: RunData, config: TrainConfig, out: Path, resume: bool, module: SegmentationModule
) -> Path | None:
    """Make the run's directory, or find the checkpoint to go on from; only the first process writes."""
    checkpoint, damaged = newest_checkpoint(out / "checkpoints") if resume else (None, None)
    if checkpoint:
        _check_same_run(data, config, out, checkpoint, module)
    elif resume and (out / "config.toml").is_file():  # stopped in its first epoch
        _check_settings(out, as_dict(read_config(out / "config.toml")), config)
    elif is_first_process():
        prepare_directory(out)
    if is_first_process():
        write_config(out / "config.toml", config, data.task.as_dict())
        _write_lists(data, out)
        for leftover in (out / "checkpoints").glob(".*.ckpt.*"):  # of a killed write
            leftover.unlink()
        if damaged:
            logging.getLogger("boundaryloss").warning("%s is damaged; going on from %s", damaged, checkpoint)
    return checkpoint


def _write_lists(data: RunData, out: Path) -> None:
    split = {"train": data.train.names, "test": data.test.names}
    with atomic_write(out / "splits.json", "split") as file:
        file.write((json.dumps(split, indent=1) + "\n").encode())
    if data.skipped:
        with atomic_write(out / "skipped.txt", "list of bad cases") as file:
            file.write(("\n".join(data.skipped) + "\n").encode())


def _check_same_run(
    data: RunData, config: TrainConfig, out: Path, checkpoint: Path, module: SegmentationModule
) -> None:
    """Hold data and settings against what the checkpoint was trained with: files beside it can change."""
    content = read_checkpoint(checkpoint)
    try:
        done, both = content["epoch"] + 1, content["hyper_parameters"]
        settings, known = dict(both["config"]), dict(both.get("task", {}))
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{checkpoint} is no checkpoint of this program; start a new run") from None
    _check_settings(out, settings, config)
    if done > config.epochs:
        raise UserError(f"{out} has {done} epochs already; give as many or more, or a new directory")
    check_weights(out, from_dict(settings), config, done)
    before, now = vars(Task.from_dict(known, checkpoint)), vars(data.task)
    for name in before:
        if name != "fingerprint" and before[name] != now[name]:
            raise UserError(
                f"{out} was begun with data whose {name} was {before[name]}, not {now[name]}; "
                "give the same data, or a new directory"
            )
    if before["fingerprint"] != now["fingerprint"]:
        raise UserError(
            f"{out} was begun with other images, masks or cases (its splits.json lists them); "
            "give the same data, or a new directory"
        )
    try:
        for name in GOES_ON_WITH:
            content[name]
        module.load_state_dict(content["state_dict"])
    except UNFIT as error:
        raise UserError(
            f"{checkpoint} does not hold all that a run goes on with ({type(error).__name__}); "
            "start a new run"
        ) from None


def _check_settings(out: Path, before: dict[str, Any], config: TrainConfig) -> None:
    now = as_dict(config)
    for name in sorted({*before, *now} - MAY_CHANGE):
        old, new = before.get(name, "nothing"), now.get(name, "nothing")
        if old != new:
            raise UserError(
                f"{out} was begun with {name} = {old}, not {new}; "
                "resume it with its own config.toml, or give a new directory"
            )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and its advice on workers out of the output.

    Ctrl-C stays what it is, too: Lightning makes it an exit with status 1.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels, handler = [logger.level for logger in loggers], signal.getsignal(signal.SIGINT)
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    except SystemExit:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def leave_signals(trainer: Trainer) -> None:
    """Keep Lightning from handling signals.

    On SIGTERM it would tell the other processes in the middle of what they exchange, and end with status 0 as
    if the test or the prediction were done. Without it a signal does what the caller decided: the command
    raises `Stopped`, and `EndTogether` takes the other processes along.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None


def _make_trainer(
    config: TrainConfig, out: Path, scores: Scores, on_step: StepReport | None, *, validated: bool
) -> Trainer:
    folder = out / "checkpoints"
    last = ModelCheckpoint(
        folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    best = ModelCheckpoint(
        folder, filename="best", monitor="validation_dice", mode="max", enable_version_counter=False
    )
    devices, nodes = launched(config)
    trainer = Trainer(
        max_epochs=config.epochs,
        accelerator=config.accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        use_distributed_sampler=False,
        precision=config.precision,  # pyright: ignore[reportArgumentType]
        accumulate_grad_batches=config.accumulate,
        logger=TensorBoardLogger(out, name="tensorboard", version="", default_hp_metric=False),
        plugins=[AtomicCheckpointIO()],
        callbacks=[
            History(out / HISTORY),
            scores,
            EndTogether(),
            *([Steps(on_step)] if on_step else []),
            *([best] if validated else []),
            last,
        ],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    leave_signals(trainer)
    return trainer
