"""What the processes of a run have to tell each other."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric.utilities import rank_zero

from boundaryloss.training.config import TrainConfig


def is_first_process() -> bool:
    """Whether this process is the one that writes and talks."""
    return getattr(rank_zero.rank_zero_only, "rank", 0) == 0


def launched(config: TrainConfig) -> tuple[int, int]:
    """Devices on each machine, and machines: as torchrun has started them, or else as configured."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return local, world // local
    return config.devices, config.nodes


def merged(by_name: Mapping[str, Any]) -> dict[str, Any]:
    """What all processes found, by the name of the case, so that each case counts once whoever saw it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return dict(by_name)
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, dict(by_name))
    return {name: value for part in parts for name, value in part.items()}
