"""What an epoch takes of the training cases: patches that find the foreground, augmented.

Everything random is a function of (seed, epoch, position): the same on one process, on several, with any
number of workers, and in a run that was killed and goes on.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandCropByLabelClassesd
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.transforms.spatial.dictionary import RandFlipd, RandRotate90d, RandZoomd
from monai.transforms.utility.dictionary import SqueezeDimd
from monai.transforms.utils import map_classes_to_indices
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from boundaryloss.distance import signed_distance_map
from boundaryloss.files import IGNORE, UserError
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.padding import cut_back, pad_edges
from boundaryloss.training.processes import launched
from boundaryloss.training.task import Task

STEPS = 50  # of an epoch on patches, at least
CENTRES = 5_000  # voxels of a class, evenly picked, that a patch may be centred on


class Draws(Dataset[dict[str, Any]]):
    """The draws of every epoch, each a case cut and augmented; indexed by (epoch, position).

    Args:
        samples: `Slices`, `Volumes`, or a part of either.
        config: how to cut and augment.
        task: what is known of the samples. Where some are smaller than the patch they are padded by their own
            edges, and ``"inside"`` says which voxels are not padding.
    """

    def __init__(self, samples: Any, config: TrainConfig, task: Task) -> None:
        self.samples, self.config, self.task, self.patch = samples, config, task, task.patch
        self.size = count_draws(len(samples), config, task.patch)
        self.centres: dict[int, list[Tensor]] = {}
        more = {"signed_distance": config.map_from == "volume", "inside": task.padded}
        self.keys = ["image", "labels", *(name for name, wanted in more.items() if wanted)]
        crop = [] if task.patch is None else _crop(self.keys, task.patch, config.foreground, task)
        self.transform = Compose([*crop, *_augment(self.keys, config, task)])

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, position = key
        index = (epoch * self.size + position) % len(self.samples)
        sample: dict[str, Any] = dict(self.samples[index])
        extra = {name: sample.pop(name) for name in ("name", "spacing") if name in sample}
        if self.config.map_from == "volume":
            sample["signed_distance"] = self._map(sample["labels"], extra.get("spacing", self.task.spacing))
        if self.task.padded and self.patch:
            sample = self._pad(sample)
        if self.patch:
            sample["centres"] = self._centres(index, sample["labels"])
        state = np.random.SeedSequence([self.config.seed, epoch, position]).generate_state(1)
        self.transform.set_random_state(seed=int(state[0]))
        drawn: Any = self.transform(sample)
        drawn = drawn[0] if isinstance(drawn, list) else drawn
        tensors = {key: convert_to_tensor(drawn[key], track_meta=False) for key in self.keys}
        if "spacing" in extra:
            extra["spacing"] = extra["spacing"][: len(self.task.spacing)]
        kinds = {"labels": torch.long, "inside": torch.bool}
        return {**{key: value.to(kinds.get(key, value.dtype)) for key, value in tensors.items()}, **extra}

    def _map(self, labels: Tensor, spacing: Sequence[float]) -> Tensor:
        """Compute the exact map of the whole sample; a few nanoseconds a voxel, so it is not kept."""
        if self.task.regions:
            masks = torch.stack([torch.isin(labels[0], torch.tensor(one)) for one in self.task.regions])
            return signed_distance_map(masks[None], spacing=spacing)[0]
        return signed_distance_map(labels, self.task.num_classes, spacing=spacing, ignore_index=IGNORE)[0]

    def _pad(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sample with its edges repeated up to the patch, and where it is itself."""
        assert self.patch is not None
        shape = sample["labels"].shape[1:]
        size = [max(n, m) for n, m in zip(shape, (*self.patch, *shape[len(self.patch) :]), strict=True)]
        inside = torch.zeros(1, *size, dtype=torch.uint8)
        cut_back(inside, shape).fill_(1)
        return {**{key: pad_edges(value, size) for key, value in sample.items()}, "inside": inside}

    def _centres(self, index: int, labels: Tensor) -> list[Tensor]:
        if index not in self.centres:
            found: Any = map_classes_to_indices(labels, self.task.num_classes, max_samples_per_class=CENTRES)
            self.centres[index] = found
        return self.centres[index]


def count_draws(cases: int, config: TrainConfig, patch: Sequence[int] | None) -> int:
    """Count how many draws an epoch takes of so many cases, on all processes together."""
    batch = config.batch_size * math.prod(launched(config))
    if config.steps_per_epoch:
        return config.steps_per_epoch * batch
    if config.patches_per_case:
        return cases * config.patches_per_case
    return cases if patch is None else max(cases, STEPS * batch)


class EpochSampler(Sampler[tuple[int, int]]):
    """The (epoch, position) keys of one process, in an order that depends on seed and epoch alone.

    Where the processes cannot share evenly the first draws are taken once more, so that all take as many
    steps.
    """

    def __init__(self, size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.size, self.seed, self.rank, self.world = size, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, as Lightning does at its start."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        for position in np.resize(order, len(self) * self.world)[self.rank :: self.world].tolist():
            yield self.epoch, position


class ShareSampler(Sampler[int]):
    """The cases of one process; where they cannot be shared evenly the first come twice, and count once."""

    def __init__(self, size: int, rank: int = 0, world: int = 1) -> None:
        self.indices = np.resize(np.arange(size), -(-size // world) * world)[rank::world].tolist()

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def _crop(keys: list[str], patch: Sequence[int], foreground: float, task: Task) -> list[Any]:
    objects = [foreground / (task.num_classes - 1)] * (task.num_classes - 1)
    crop = RandCropByLabelClassesd(
        keys,
        label_key="labels",
        spatial_size=(*patch, 1) if task.slicewise else tuple(patch),
        ratios=[max(1 - foreground, 1e-6), *objects],  # a case may have no object
        num_classes=task.num_classes,
        indices_key="centres",
        warn=False,
    )
    return [crop, SqueezeDimd(keys, dim=-1)] if task.slicewise else [crop]


def _augment(keys: list[str], config: TrainConfig, task: Task) -> list[Any]:
    patch, spacing = task.patch, task.spacing
    axes = range(len(spacing))
    if "rotate90" in config.augment and (spacing[0] != spacing[1] or (patch and patch[0] != patch[1])):
        raise UserError(
            f'augment: "rotate90" swaps the first two axes, but the spacing is {tuple(spacing)} and '
            f"the patch {patch and list(patch)}; make both equal on them, or remove it"
        )
    modes = ["bilinear" if len(spacing) == 2 else "trilinear", *("nearest" for _ in keys[1:])]
    made = {
        "flip": [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in axes],
        "rotate90": [RandRotate90d(keys, prob=0.75, max_k=3, spatial_axes=(0, 1))],
        "scale": [RandZoomd(keys, prob=0.3, min_zoom=0.8, max_zoom=1.25, mode=modes, padding_mode="edge")],
        "intensity": [
            RandScaleIntensityd("image", factors=0.2, prob=0.5),
            RandShiftIntensityd("image", offsets=0.1, prob=0.5),
            RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
        ],
        "noise": [RandGaussianNoised("image", prob=0.3, std=0.05)],
    }
    return [transform for name in made if name in config.augment for transform in made[name]]
