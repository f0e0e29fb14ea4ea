"""A trained run at work on new images."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightning import Trainer
from torch.utils.data import DataLoader

from boundaryloss.training.checkpoints import newest_checkpoint, read_checkpoint
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data import Case, Slices, collate, find_images, write_labels
from boundaryloss.training.errors import UserError
from boundaryloss.training.files import is_nifti, read_raw
from boundaryloss.training.module import SegmentationModule
from boundaryloss.training.run import prepare_directory, quiet_lightning
from boundaryloss.training.volumes import FileGrid, Volumes

CHUNK = 64  # images in memory at a time


def predict(
    run: Path,
    images: Path,
    out: Path,
    *,
    checkpoint: str = "last",
    on_bad: Callable[[str], None] | None = None,
) -> int:
    """Segment every image of a folder, with the label values of the training masks, on the grid of its file.

    NIfTI images give NIfTI labels with their affine, others PNG.

    Args:
        run: a run's directory.
        images: a folder of images, or a data folder with `images/` or `imagesTs/` inside.
        out: where the label files go, new or empty.
        checkpoint: `last` or `best`.
        on_bad: gets a line about each image that cannot be used, which is left out; without it that is an
            error.

    Returns:
        The number of files written.

    Raises:
        UserError: no usable checkpoint, unreadable images, or another number of channels than in training.
    """
    module, config = load_run(run, checkpoint)
    data = module.data
    cases = find_images(images, numbered=data.get("numbered", False))
    good = [case for case in cases if _is_good(case, run, data, on_bad)]
    if not good:
        raise UserError(f"{images}: no image in it can be used")
    prepare_directory(out)
    with quiet_lightning():
        trainer = Trainer(
            accelerator=config.accelerator,
            devices=1,
            precision=config.precision,  # pyright: ignore[reportArgumentType]
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        for chunk in _chunks(good, 1 if _axes(data) == 3 else CHUNK):
            batches: Any = trainer.predict(module, _loader(chunk, config, data))
            for case, classes in zip(chunk, (one for batch in batches for one in batch), strict=True):
                suffix = ".nii.gz" if is_nifti(case.image) else ".png"
                write_labels(out / f"{case.name}{suffix}", classes, tuple(data["label_values"]), case.image)
    return len(good)


def load_run(run: Path, checkpoint: str = "last") -> tuple[SegmentationModule, TrainConfig]:
    """The network of a run, ready to predict, and its configuration."""
    path = run / "checkpoints" / f"{checkpoint}.ckpt"
    if checkpoint == "last" and not path.is_file():  # killed while it was replaced
        path = newest_checkpoint(path.parent)[0] or path
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


def _is_good(case: Case, run: Path, data: dict[str, Any], on_bad: Callable[[str], None] | None) -> bool:
    """Whether an image is like those in training; each is read before anything is written."""
    try:
        arrays = [read_raw(path)[0] for path in case.images]
        channels, axes = sum(map(len, arrays)), arrays[0].ndim - 1
        if channels != data["channels"]:
            raise UserError(
                f"{case.image} has {channels} channel(s), the run {run} was trained on {data['channels']}"
            )
        if axes != _axes(data):
            raise UserError(f"{case.image} is {axes}-D, the run {run} was trained on {_axes(data)}-D images")
        if len({array.shape[1:] for array in arrays}) > 1:
            raise UserError(f"{case.image}: its channels differ in size; resample them onto one grid")
    except UserError as error:
        if on_bad is None:
            raise
        on_bad(str(error))
        return False
    return True


def _axes(data: dict[str, Any]) -> int:
    """How many axes an image has that the run can predict."""
    return 3 if data.get("slicewise") else len(data["spacing"])


def _chunks(cases: list[Case], size: int) -> Iterator[list[Case]]:
    return (cases[start : start + size] for start in range(0, len(cases), size))


def _loader(cases: list[Case], config: TrainConfig, data: dict[str, Any]) -> DataLoader:
    if _axes(data) == 3:
        volumes = FileGrid(Volumes(cases, data, config.target_spacing))
        return DataLoader(volumes, batch_size=1, collate_fn=lambda samples: collate(samples, 1))
    slices = Slices.from_cases(cases, windows=data.get("windows") or ())
    return DataLoader(slices, batch_size=config.batch_size, collate_fn=collate)
