"""A run that has been trained: its network, and what it was trained on."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from boundaryloss.files import UserError, check_run, read_split
from boundaryloss.training.checkpoints import UNFIT, newest_checkpoint, read_checkpoint
from boundaryloss.training.config import TrainConfig, from_dict
from boundaryloss.training.data.rundata import RunData
from boundaryloss.training.model.module import SegmentationModule
from boundaryloss.training.model.networks import Averaged
from boundaryloss.training.task import Task

SAME_NETWORK = ("network", "features", "deep_supervision")
SAME_SIGHT = ("channels", "label_values", "regions", "painted", "patch", "windows", "by_type", "slicewise")


def begin_with(module: SegmentationModule, run: Path, data: RunData) -> None:
    """Give `module` the weights that `run` ended with; optimiser and epochs begin anew.

    Cases to test on that `run` was trained on are counted in a warning: their scores would be too good.

    Raises:
        UserError: the network or the classes of `run` are others.
    """
    other, config = load_run(run)
    for name in SAME_NETWORK:
        theirs, ours = getattr(config, name), getattr(module.config, name)
        if theirs != ours:
            raise UserError(
                f"{run} was trained with {name} = {json.dumps(theirs)}, not {json.dumps(ours)}; set the same"
            )
    for what in ("channels", "label_values", "regions"):
        theirs, ours = getattr(other.task, what), getattr(module.task, what)
        if theirs != ours:
            raise UserError(
                f"{run} was trained on data whose {what} were {theirs}, but here they are {ours}; "
                "its weights mean something else; give a run on data of the same kind"
            )
    try:
        module.network.load_state_dict(other.network.state_dict())
    except RuntimeError:
        raise UserError(
            f"the network of {run} has another shape, since patch or spacing differ; give the patch "
            f"{list(other.task.patch or ())} of that run"
        ) from None
    seen = {*split_of(run)["train"]} & {*data.test.names}
    if seen:
        logging.getLogger("boundaryloss").warning(
            "%s was trained on %d of the %d cases to test on here: their scores are no test",
            run, len(seen), len(data.test.names),
        )  # fmt: skip


def load_run(run: Path, checkpoint: str = "last") -> tuple[SegmentationModule, TrainConfig]:
    """Return the network of a run, ready to predict, and its configuration."""
    check_run(run, checkpoint)
    path = run / "checkpoints" / f"{checkpoint}.ckpt"
    if checkpoint == "last" and not path.is_file():  # killed while it was replaced
        path = newest_checkpoint(path.parent)[0] or path
    content = read_checkpoint(path)
    try:
        kept = content["hyper_parameters"]
        config, task = from_dict(kept["config"], str(path)), Task.from_dict(kept.get("task", {}), path)
        module = SegmentationModule(replace(config, loss="ce", loss_options={}, map_from="patch"), task)
        weights = content["state_dict"].items()  # without the loss, which might have to be imported
        module.load_state_dict({name: value for name, value in weights if name.startswith("network.")})
    except UserError:
        raise
    except UNFIT as error:
        raise UserError(
            f"{path} is no checkpoint of this program ({type(error).__name__}); use another one"
        ) from None
    return module.eval(), config


def load_ensemble(
    runs: Sequence[Path], checkpoint: str, *, mirror: bool
) -> tuple[SegmentationModule, TrainConfig]:
    """Return the first run with a network that averages the logits of all; see `Averaged`.

    Raises:
        UserError: two runs see images in different ways, or name classes in different ways.
    """
    loaded = [load_run(run, checkpoint) for run in runs]
    (first, config), *others = loaded
    for run, (other, theirs) in zip(runs[1:], others, strict=True):
        sights = [
            {"target_spacing": one.target_spacing, **{name: getattr(task, name) for name in SAME_SIGHT}}
            for one, task in ((config, first.task), (theirs, other.task))
        ]
        for name, mine in sights[0].items():
            if mine != (its := sights[1][name]):
                raise UserError(
                    f"{runs[0]} and {run} cannot predict together: their {name} are {mine} and {its}; "
                    "train them with the same settings"
                )
    if len(loaded) > 1 or mirror:
        first.network = Averaged([module.network for module, _ in loaded], mirror=mirror).eval()
    return first, config


def split_of(run: Path) -> dict[str, list[str]]:
    """Return the names of the run's cases to train and to test on; none where it keeps none."""
    path = run / "splits.json"
    return read_split(path) if path.exists() else {"train": [], "test": []}
