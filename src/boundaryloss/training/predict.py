"""A trained run at work on new images."""

from pathlib import Path

from lightning import Trainer

from boundaryloss.training.checkpoints import read_checkpoint
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data import Slices, find_images, write_labels
from boundaryloss.training.errors import UserError
from boundaryloss.training.module import SegmentationModule
from boundaryloss.training.run import predict_classes, prepare_directory, quiet_lightning

CHUNK = 64  # images in memory at a time


def predict(run: Path, images: Path, out: Path, *, checkpoint: str = "last") -> int:
    """Segment every image of a folder; write one PNG each, with the label values of the training masks.

    Args:
        run: a run's directory.
        images: a folder of images, or a data folder with `images/` inside.
        out: where the label files go, new or empty.
        checkpoint: `last` or `best`.

    Returns:
        The number of files written.

    Raises:
        UserError: no usable checkpoint, unreadable images, or another number of channels than in training.
    """
    module, config = load_run(run, checkpoint)
    cases = find_images(images)
    prepare_directory(out)
    data = module.hparams["data"]
    with quiet_lightning():
        trainer = Trainer(
            accelerator=config.accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        for start in range(0, len(cases), CHUNK):
            slices = Slices.from_cases(cases[start : start + CHUNK])
            for case, image in zip(cases[start:], slices.images, strict=False):
                if len(image) != data["channels"]:
                    raise UserError(
                        f"{case.image} has {len(image)} channel(s), "
                        f"the run {run} was trained on {data['channels']}"
                    )
            for name, classes in zip(
                slices.names, predict_classes(trainer, module, slices, config), strict=True
            ):
                write_labels(out / f"{name}.png", classes, tuple(data["label_values"]))
    return len(cases)


def load_run(run: Path, checkpoint: str = "last") -> tuple[SegmentationModule, TrainConfig]:
    """The network of a run, ready to predict, and its configuration."""
    path = run / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        raise UserError(f"{run} holds no checkpoints/{checkpoint}.ckpt; give the directory of a training run")
    content = read_checkpoint(path)
    try:
        settings = content["hyper_parameters"]
        module = SegmentationModule(settings["config"], settings["data"])
        module.load_state_dict(content["state_dict"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(
            f"{path} is no checkpoint of this program ({type(error).__name__}); use another one"
        ) from None
    return module.eval(), module.config
