"""What methods have in common: the epochs before their boundary terms have any weight.

    out/beginnings/NAME/     an ordinary run that stops after these epochs; its methods go on from there

On the CPU a run that goes on from a beginning ends as if it had been trained from the start, bit for bit.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boundaryloss.comparison.experiment import Experiment, Run
from boundaryloss.files import atomic_write, read_json
from boundaryloss.schedules import GradientRatio
from boundaryloss.training.checkpoints import BEST, LAST, PREVIOUS, AtomicCheckpointIO, read_checkpoint
from boundaryloss.training.config import TERMS, TrainConfig, as_dict, imported_parts

OF_THE_TERM = ("form", "balance_lesions", "saturation", "weighting", "weighting_options")
DEFAULT = TrainConfig()
BEGINNING = "beginning.json"  # in a run that goes on from one


@dataclass(frozen=True)
class Beginning:
    """The first epochs of some runs of one fold and seed, on the region loss alone."""

    runs: tuple[Run, ...]
    epochs: int

    @property
    def name(self) -> str:
        """Return the name of its directory: its first run, and how far it goes."""
        return f"{self.runs[0].name}-{self.epochs}"

    @property
    def fold(self) -> int:
        """Return the fold of all its runs."""
        return self.runs[0].fold

    @property
    def config(self) -> TrainConfig:
        """Return the settings that its runs agree in."""
        return _region_alone(self.runs[0].config)


def find_beginnings(experiment: Experiment) -> Iterator[Beginning]:
    """Yield what is worth sharing: for each region loss, fold and seed the length that saves most epochs."""
    groups: dict[str, list[tuple[Run, int]]] = {}
    for run in experiment.runs():
        key = json.dumps([run.fold, as_dict(_region_alone(run.config))])
        length = min(epochs_alone(run.config), run.config.epochs - 1)  # something is left for the run itself
        groups.setdefault(key, []).append((run, length))
    for group in groups.values():
        lengths = [length for _, length in group]
        epochs = max(lengths, key=lambda n: n * (sum(length >= n for length in lengths) - 1))
        runs = tuple(run for run, length in group if length >= epochs > 0)
        if len(runs) > 1:
            yield Beginning(runs, epochs)


def epochs_alone(config: TrainConfig) -> int:
    """Return for how many epochs, from the first, the region loss trains alone."""
    if "+" not in config.loss:
        return 0 if config.loss in TERMS else config.epochs
    weighting = config.make_weighting()

    def alone(epoch: int) -> bool:
        return not weighting.at(epoch) if isinstance(weighting, GradientRatio) else weighting(epoch) == (1, 0)

    return next((epoch for epoch in range(config.epochs) if not alone(epoch)), config.epochs)


def is_begun(run: Path) -> bool:
    """Return whether a run has a checkpoint to go on from."""
    return any((run / "checkpoints" / name).exists() for name in (LAST, PREVIOUS))


def shared_epochs(run: Path) -> int:
    """Return how many epochs of a run are those of a beginning."""
    path = run / BEGINNING
    return read_json(path)["epochs"] if path.exists() else 0


def go_on_from(beginning: Path, run: Path, config: TrainConfig, epochs: int) -> None:
    """Give a run the `epochs` of `beginning`; last.ckpt comes last, for with it the run is begun."""
    shutil.copytree(beginning / "tensorboard", run / "tensorboard", dirs_exist_ok=True)
    with atomic_write(run / BEGINNING, "record") as file:
        file.write((json.dumps({"name": beginning.name, "epochs": epochs}) + "\n").encode())
    for name in (BEST, LAST):
        if not (beginning / "checkpoints" / name).exists():  # without a validation share nothing is best
            continue
        content = read_checkpoint(beginning / "checkpoints" / name)
        content["hyper_parameters"]["config"] = as_dict(config)
        content["callbacks"] = _moved(
            content["callbacks"], os.path.realpath(beginning), os.path.realpath(run)
        )
        AtomicCheckpointIO().save_checkpoint(content, run / "checkpoints" / name)


def _region_alone(config: TrainConfig) -> TrainConfig:
    defaults = {name: getattr(DEFAULT, name) for name in OF_THE_TERM}
    region = config.loss.partition("+")[0]
    options = config.loss_options if imported_parts(region) else {}
    return replace(config, loss=region, loss_options=options, **defaults)


def _moved(state: Any, old: str, new: str) -> Any:
    """Return what callbacks keep, with the paths of another directory."""
    if isinstance(state, dict):
        return {_moved(key, old, new): _moved(value, old, new) for key, value in state.items()}
    return state.replace(old, new, 1) if isinstance(state, str) and state.startswith(old) else state
