"""A trained run at work on new images."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from boundaryloss.files import (
    Case,
    UserError,
    atomic_write,
    find_images,
    is_nifti,
    prepare_directory,
    read_affine,
    read_raw,
    same_grid,
    scaled_by_type,
    write_labels,
)
from boundaryloss.training.callbacks import Progress
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.checks import check_scale, oriented
from boundaryloss.training.data.decoded import read_case
from boundaryloss.training.data.slices import collate
from boundaryloss.training.data.volumes import FileGrid, Volumes
from boundaryloss.training.model.levels import classes_of
from boundaryloss.training.model.module import SegmentationModule
from boundaryloss.training.run import leave_signals, quiet_lightning
from boundaryloss.training.task import Task
from boundaryloss.training.trained import load_ensemble, split_of

ANOTHER_SCALE = 1.5  # times larger or smaller than in training: voxels that deserve a line


def predict(
    runs: Path | Sequence[Path],
    images: Path,
    out: Path,
    *,
    checkpoint: str = "last",
    mirror: bool = False,
    threshold: float | None = None,
    probabilities: bool = False,
    split: str | None = None,
    device: str | None = None,
    on_bad: Callable[[str], None] | None = None,
    on_note: Callable[[str], None] = lambda line: None,
    progress: Progress = lambda done, total, text: None,
) -> int:
    """Segment every image of a folder, with the label values of the training masks, on the grid of its file.

    NIfTI images give NIfTI labels with their affine, others PNG. Each image is predicted alone, so that the
    others change nothing. `out` gets a splits.json, too: it tells `evaluate` what was trained on.

    Args:
        runs: the directory of a run, or of several whose logits are averaged.
        images: a folder of images, a data folder with `images/` or `imagesTs/` inside, or one image.
        out: where the label files go, new or empty.
        checkpoint: `last` or `best`.
        mirror: average over mirrored images, too: 4 times the work in 2-D, 8 times in 3-D.
        threshold: where the probability of the object exceeds it is the object, for data with one class or
            with regions. None: the likeliest class, and 0.5 for regions.
        probabilities: write probabilities/NAME.npz, too: `probabilities`, float32 `(class, *space)` or
            `(region, *space)`, axes as in the file.
        split: `test` or `train`: predict only the images with the names of these cases of the run.
        device: `cpu`, `cuda`, `cuda:1` or `mps`. None: the kind that the run was trained on, if it is here.
        on_bad: gets a line about each image that cannot be used, which is left out; without it that is an
            error.
        on_note: gets a line about images that the run was trained on, and about voxels of another size.
        progress: is called with images done, images in all, and the name of the last one.

    Returns:
        The number of label files written.

    Raises:
        UserError: no usable checkpoint, no or unreadable images, another number of channels than in
            training, runs that do not fit together, a threshold outside 0 to 1 or for several classes, or a
            device that is not here.
    """
    if device is not None:
        check_device(device)
    if threshold is not None and not 0 < threshold < 1:
        raise UserError(f"threshold {threshold:g}: give a probability between 0 and 1, such as 0.3")
    runs = [runs] if isinstance(runs, Path) else list(runs)
    run = runs[0]
    module, config = load_ensemble(runs, checkpoint, mirror=mirror)
    task, parts = module.task, _merged_splits(runs)
    if threshold is not None and not task.regions and task.num_classes > 2:
        raise UserError(f"a threshold is for one class, {run} has {task.num_classes - 1}; leave it out")
    cases = find_images(images, numbered=task.numbered)
    if split is not None:
        cases = [case for case in cases if case.name in parts[split]]
        if not cases:
            raise UserError(
                f"{images}: no image has the name of a {split} case of {run} (see its splits.json); "
                "give the folder that it was trained on"
            )
    spacings = {case: _check(case, run, task, on_bad) for case in cases}
    good = [case for case in cases if spacings[case] is not None]
    if not good:
        raise UserError(f"{images}: no image in it can be used")
    seen = {case.name for case in good} & {*parts["train"]}
    if seen and split is None:
        on_note(
            f"{run} was trained on {len(seen)} of these {len(good)} images, by their names; "
            "--split test leaves them out"
        )
    if config.target_spacing is None and config.spacing is None:
        _tell_of_other_scales({case: spacings[case] for case in good}, task.spacing, on_note)
    prepare_directory(out)
    if any(parts.values()):
        with atomic_write(out / "splits.json", "split") as file:
            file.write(json.dumps(parts, indent=1).encode())
    _segment(module, config, good, _Writer(good, out, task, threshold, probabilities, progress), device)
    return len(good)


def check_device(name: str) -> None:
    """Raise a `UserError` that lists what there is, if the device `name` is not here."""
    here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    if name not in here and f"{name}:0" not in here:
        raise UserError(f"no device {name} here; there is {', '.join(here)}")


def _merged_splits(runs: Sequence[Path]) -> dict[str, list[str]]:
    """Return what any of the runs was trained on, and what else any was tested on."""
    splits = [split_of(run) for run in runs]
    train = list(dict.fromkeys(name for split in splits for name in split["train"]))
    test = list(dict.fromkeys(name for split in splits for name in split["test"]))
    return {"train": train, "test": [name for name in test if name not in {*train}]}


def _segment(
    module: SegmentationModule,
    config: TrainConfig,
    cases: Sequence[Case],
    writer: Callback,
    device: str | None,
) -> None:
    """Read, predict and write one image at a time, on the CPU if the GPU of the run is not here."""
    kind, _, index = (device or "").partition(":")
    if module.task.image_axes == 3:
        images = FileGrid(Volumes(cases, module.task, config.target_spacing))
    else:
        images = _Images(cases, module.task)
    with quiet_lightning():
        trainer = Trainer(
            accelerator=kind or ("cpu" if config.accelerator == "cpu" else "auto"),
            devices=[int(index)] if index else 1,
            precision=config.precision,  # pyright: ignore[reportArgumentType]
            logger=False,
            callbacks=[writer],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        leave_signals(trainer)
        trainer.predict(module, DataLoader(images, collate_fn=collate), return_predictions=False)


class _Images(Dataset[dict[str, Any]]):
    """Slices to predict, read one by one."""

    def __init__(self, cases: Sequence[Case], task: Task) -> None:
        self.cases, self.task = cases, task

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, _ = read_case(self.cases[index], self.task)
        return {"image": torch.from_numpy(image)}


class _Writer(Callback):
    """Write each prediction as it comes."""

    def __init__(
        self,
        cases: Sequence[Case],
        out: Path,
        task: Task,
        threshold: float | None,
        probabilities: bool,
        progress: Progress,
    ) -> None:
        self.cases, self.out, self.task, self.progress = cases, out, task, progress
        self.shift = 0.0 if threshold is None else math.log(threshold / (1 - threshold))
        self.probabilities = out / "probabilities" if probabilities else None

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the files of one image."""
        case, (logits,) = self.cases[batch_idx], outputs
        if self.probabilities:
            values = logits.sigmoid() if self.task.regions else logits.softmax(0)
            self.probabilities.mkdir(exist_ok=True)
            with atomic_write(self.probabilities / f"{case.name}.npz", "probabilities") as file:
                np.savez_compressed(file, probabilities=values.cpu().numpy())
        first = 0 if self.task.regions else 1
        logits[first:] -= self.shift
        classes = classes_of(logits[None], self.task)[0].to(torch.uint8).cpu().numpy()
        suffix = ".nii.gz" if is_nifti(case.image) else ".png"
        write_labels(self.out / f"{case.name}{suffix}", classes, self.task.label_values, case.image)
        self.progress(batch_idx + 1, len(self.cases), case.name)


def _check(
    case: Case, run: Path, task: Task, on_bad: Callable[[str], None] | None
) -> tuple[float, ...] | None:
    """Return the spacing of an image like those in training, before anything is written."""
    try:
        found = [read_raw(path) for path in case.images]
        arrays, spacing = [array for array, _ in found], found[0][1]
        channels, axes = sum(map(len, arrays)), arrays[0].ndim - 1
        if channels != task.channels:
            raise UserError(
                f"{case.image} has {channels} channel(s), the run {run} was trained on {task.channels}; "
                "give images like those of its training"
            )
        if axes != task.image_axes:
            raise UserError(
                f"{case.image} is {axes}-D, the run {run} was trained on {task.image_axes}-D images"
            )
        if len({array.shape[1:] for array in arrays}) > 1:
            raise UserError(f"{case.image}: its channels differ in size; resample them onto one grid")
        for path in case.images[1:]:
            same_grid(path, case.image)
        if task.by_type:
            check_scale(case, tuple(map(scaled_by_type, arrays)), task.by_type)
        return oriented(spacing, read_affine(case.image)) if axes == 3 else spacing
    except UserError as error:
        if on_bad is None:
            raise
        on_bad(str(error))
        return None


def _tell_of_other_scales(
    spacings: dict[Case, Any], trained: Sequence[float], on_note: Callable[[str], None]
) -> None:
    """Note in one line the images whose voxels are much larger or smaller than those in training."""
    far = [
        case
        for case, spacing in spacings.items()
        if is_nifti(case.image)
        and any(max(s / t, t / s) > ANOTHER_SCALE for s, t in zip(spacing, trained, strict=False))
    ]
    if far:
        mine, theirs = (" x ".join(f"{s:g}" for s in steps) for steps in (spacings[far[0]], trained))
        on_note(
            f"{len(far)} of {len(spacings)} images have voxels of another size than in training "
            f"({far[0].image.name}: {mine} mm, there {theirs}); resample them for a prediction to trust"
        )
