"""The processes of a run: which is the first, what they have to tell each other, and what there is for them.

torch is imported where it is used: the command asks for the first process before it imports anything heavy.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from boundaryloss.files import UserError

if TYPE_CHECKING:
    from boundaryloss.training.config import TrainConfig

PLACES = (
    *("RANK", "LOCAL_RANK", "NODE_RANK"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
)


def is_first_process() -> bool:
    """Return whether this process is the one that writes; torchrun, Slurm and Lightning number them."""
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def leave_group() -> None:
    """Forget the place that Slurm or another launcher gave this process among others: it trains by itself."""
    for name in PLACES:
        os.environ.pop(name, None)


def launched(config: "TrainConfig") -> tuple[int, int]:
    """Return devices on each machine, and machines: as torchrun has started them, or else as configured."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return local, world // local
    return config.devices, config.nodes


def check_devices(config: "TrainConfig") -> None:
    """Refuse a configuration that asks for devices that are not there; on the CPU any number will do.

    Raises:
        UserError: what is asked for, and what there is.
    """
    wanted = launched(config)[0]
    if config.accelerator == "cpu" or (config.accelerator == "auto" and wanted == 1):
        return
    import torch

    gpus, mps = torch.cuda.device_count(), int(torch.backends.mps.is_available())
    there = {"gpu": gpus or mps, "auto": gpus or mps, "cuda": gpus, "mps": mps}.get(config.accelerator)
    if there == 0 and config.accelerator != "auto":
        raise UserError(
            f'accelerator = "{config.accelerator}": torch finds no such device on this machine; '
            'choose "cpu", or "auto" for what there is'
        )
    if there and wanted > there:
        raise UserError(f"devices = {wanted}: this machine has {there}; give as many or fewer")


def merged(by_name: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all processes found, by the name of the case, so that each case counts once."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return dict(by_name)
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, dict(by_name))
    return {name: value for part in parts for name, value in part.items()}
