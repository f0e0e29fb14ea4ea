"""3-D cases: read, oriented, resampled and kept by MONAI; predictions on the way back.

A volume is trained right-anterior-superior, whatever the order of its file; a prediction returns to the grid
of its file, and to nothing else is it ever compared.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.dataset import CacheDataset, PersistentDataset
from monai.data.dataset import Dataset as MonaiDataset
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.spatial.dictionary import Orientationd, Spacingd
from monai.transforms.transform import Transform
from monai.utils.enums import TraceKeys
from torch import Tensor
from torch.utils.data import Dataset

from boundaryloss.files import Case, UserError, class_indices, read_affine, read_label_map
from boundaryloss.training.checkpoints import read_checkpoint
from boundaryloss.training.data.decoded import read_case
from boundaryloss.training.task import Task

KEYS = ("image", "labels")
AXES = (("L", "R"), ("P", "A"), ("I", "S"))


class Volumes(Dataset[dict[str, Any]]):
    """Volumes as they are trained on: ``{"image": float32 (C, *space), "labels": uint8 (1, *space), ...}``.

    Beside them ``"spacing"`` in mm and ``"name"``; without labels if the cases have none.

    Args:
        cases: what to read.
        task: what is known of them.
        target_spacing: voxel size to resample to, or None.
        cache: `memory`, `none`, or a folder in which prepared volumes outlive the run.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        task: Task,
        target_spacing: Sequence[float] | None,
        cache: str = "none",
    ) -> None:
        self.cases = list(cases)
        self.names = [case.name for case in cases]
        steps = spatial(target_spacing)
        self.read, self.spatial = _Read(task), Compose(steps, log_stats=False)
        prepare = Compose([self.read, *steps, _Plain()], log_stats=False)
        settings = [task.label_values, task.ignore_value, task.windows, target_spacing, "uint8"]
        items = [_item(case, settings) for case in cases]
        if cache == "memory":
            with _user_errors():
                self.samples: Any = CacheDataset(
                    items, prepare, progress=False, num_workers=1, copy_cache=False
                )
        elif cache == "none":
            self.samples = MonaiDataset(items, prepare)
        else:
            self.samples = _Kept(items, prepare, cache_dir=Path(cache), weights_only=True)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        with _user_errors():
            sample = self.samples[index]
        return {**sample, "name": self.names[index], "spacing": tuple(sample["spacing"].tolist())}


class FileGrid(Dataset[dict[str, Any]]):
    """Volumes to predict: ``"image"``, and ``"restore"``, which brings its logits to the grid of its file.

    With labels also ``"truth"``, the class indices in the file, and ``"spacing"``, that of the file.
    """

    def __init__(self, volumes: Volumes) -> None:
        self.volumes, self.names = volumes, volumes.names

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case, read = self.volumes.cases[index], self.volumes.read
        sample = read({**_item(case, []), "labels": None})
        moved: Any = self.volumes.spatial(sample)
        image: MetaTensor = moved["image"]
        for operation in image.applied_operations:  # a worker's copy of a transform has another id
            operation[TraceKeys.ID] = TraceKeys.NONE
        item = {
            "name": case.name,
            "image": image.as_tensor().contiguous(),
            "restore": partial(_restore, self.volumes.spatial, image),
        }
        if case.labels is None:
            return item
        labels, spacing = read_label_map(case.labels, case.threshold)
        return {**item, "truth": read.classes(labels), "spacing": spacing}


def _restore(transform: Compose, image: MetaTensor, logits: Tensor) -> Tensor:
    """Return logits `(class, *space)` of a prepared image on the grid that it had in its file."""
    moved = MetaTensor(logits, meta=image.meta, applied_operations=image.applied_operations)
    restored: MetaTensor = transform.inverse({"image": moved})["image"]
    return restored.as_tensor()


def spatial(target_spacing: Sequence[float] | None) -> list[Any]:
    """Return what changes the grid of a volume."""
    orient = Orientationd(KEYS, axcodes="RAS", labels=AXES, allow_missing_keys=True)
    if target_spacing is None:
        return [orient]
    resample = Spacingd(
        KEYS,
        pixdim=tuple(target_spacing),
        mode=("bilinear", "nearest"),
        padding_mode="border",
        allow_missing_keys=True,
    )
    return [orient, resample]


class _Kept(PersistentDataset):
    """Prepared volumes on disc; a file that is damaged is prepared again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.checked: set[Path] = set()

    def _cachecheck(self, item_transformed: Any) -> Any:
        name = self.hash_func(item_transformed).decode() + self.transform_hash
        path = Path(self.cache_dir or "") / f"{name}.pt"
        if path not in self.checked and path.is_file():
            try:
                read_checkpoint(path)  # torch.load does not look at the checksums
            except UserError:
                path.unlink()
            self.checked.add(path)
        return super()._cachecheck(item_transformed)


class _Read(Transform):
    """Paths -> MetaTensors; errors name the file."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        images, labels = map(Path, item["images"]), item["labels"]
        case = Case(item["name"], tuple(images), Path(labels) if labels else None, item["threshold"])
        image, classes = read_case(case, self.task)
        affine = torch.from_numpy(read_affine(case.image))
        sample = {"image": MetaTensor(torch.from_numpy(image), affine=affine)}
        if classes is not None:
            sample["labels"] = MetaTensor(torch.from_numpy(classes)[None], affine=affine)
        return sample

    def classes(self, labels: np.ndarray) -> np.ndarray:
        """Turn file values into class indices."""
        return class_indices(labels, self.task.label_values, self.task.ignore_value)


class _Plain(Transform):
    """Tensors without their history, which is of no use in training and cannot be kept on disc."""

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        plain = {key: value.as_tensor().contiguous() for key, value in sample.items()}
        if "labels" in plain:
            plain["labels"] = plain["labels"].to(torch.uint8)  # resampled ones come as float32
        steps = sample["image"].pixdim.tolist()
        spacing = [float(f"{step:.6g}") for step in steps]  # without what float32 headers leave
        return {**plain, "spacing": torch.tensor(spacing, dtype=torch.float64)}


@contextmanager
def _user_errors() -> Iterator[None]:
    """Bring out the line for the user again: MONAI wraps what a transform raises."""
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        raise cause or error from None


def _item(case: Case, settings: Sequence[Any]) -> dict[str, Any]:
    """Return what identifies a prepared volume: its files, when they were written, and the settings."""
    files = [*case.images, *([case.labels] if case.labels else [])]
    return {
        "name": case.name,
        "images": [os.fspath(path.resolve()) for path in case.images],
        "labels": os.fspath(case.labels.resolve()) if case.labels else None,
        "threshold": case.threshold,
        "key": repr([[path.stat().st_mtime_ns for path in files], settings]),
    }
