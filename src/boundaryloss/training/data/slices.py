"""Slices in memory, and batches of samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from boundaryloss.files import Case
from boundaryloss.training.data.decoded import Decoded, read_case
from boundaryloss.training.task import Task


class Slices(Dataset[dict[str, Any]]):
    """Slices in memory: ``{"image": float32 (C, H, W), "labels": int64 (1, H, W), "name": str}``.

    `labels` may be missing (prediction). Sizes may differ.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray] | None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.images, self.labels = images, labels
        self.names = [f"{i:04d}" for i in range(len(images))] if names is None else list(names)

    @classmethod
    def from_cases(
        cls, cases: Sequence[Case], task: Task, decoded: dict[str, Decoded] | None = None
    ) -> "Slices":
        """Take the cases out of `decoded`, or read their files."""
        ready = {} if decoded is None else decoded
        images, labels = zip(
            *(read_case(case, task, ready.pop(case.name, None)) for case in cases), strict=True
        )
        known = [classes for classes in labels if classes is not None]
        if known and len(known) != len(cases):
            raise ValueError("either all cases have labels or none")
        return cls(images, known or None, [case.name for case in cases])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"image": torch.from_numpy(self.images[index]), "name": self.names[index]}
        if self.labels is not None:
            item["labels"] = torch.from_numpy(self.labels[index]).long()[None]
        return item


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch samples of one size; what is no tensor comes as a list."""
    batch = {key: [sample[key] for sample in samples] for key in samples[0]}
    return {
        key: torch.stack(values) if torch.is_tensor(values[0]) else values for key, values in batch.items()
    }


def on_file_grid(batch: Mapping[str, Any], index: int, values: torch.Tensor) -> torch.Tensor:
    """Return `values` (C, *space) of one sample of a batch, as they lie on its file."""
    if "restore" in batch:  # volumes, which may have been turned and resampled
        return batch["restore"][index](values.cpu())
    return values
