"""Checkpoints that are whole or not there: neither a full disc nor a kill costs the last good one."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from boundaryloss.files import UserError, atomic_write
from boundaryloss.training.config import from_dict, write_config
from boundaryloss.training.task import Task

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
# What a checkpoint with missing or foreign contents raises, wherever these are first used
UNFIT = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside the old one and moved over it; loaded without pickle.

    What last.ckpt was before becomes previous.ckpt.
    """

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, or leave what is there as it is and raise `UserError`."""
        path = Path(path)
        buffer = io.BytesIO()
        torch.save(dict(checkpoint), buffer)
        path.parent.mkdir(parents=True, exist_ok=True)
        older = path.with_name(PREVIOUS) if path.name == LAST else None
        with atomic_write(path, "checkpoint", keep_as=older) as file:
            file.write(buffer.getbuffer())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read tensors and plain values; anything else in the file is refused."""
        return read_checkpoint(Path(path), map_location)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read the contents of a checkpoint file.

    Raises:
        UserError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
            if (part := archive.testzip()) is not None:
                raise ValueError(part)
        return torch.load(path, map_location=map_location, weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    except Exception:  # zip, pickle and torch each have their own error for a damaged file
        raise UserError(f"{path} is damaged or no checkpoint of this program; use another one") from None


def rewrite_config(path: Path) -> None:
    """Write a run's config.toml, which is damaged or gone, from its checkpoint.

    Raises:
        UserError: there is no checkpoint to take it from.
    """
    checkpoint, _ = newest_checkpoint(path.parent / "checkpoints")
    if checkpoint is None:
        raise UserError(f"{path} is damaged or gone, and no checkpoint has its contents; start a new run")
    kept = read_checkpoint(checkpoint).get("hyper_parameters", {})
    task = Task.from_dict(kept.get("task", {}), checkpoint)
    write_config(path, from_dict(kept.get("config", {})), task.as_dict())


def newest_checkpoint(folder: Path) -> tuple[Path | None, Path | None]:
    """Find the last checkpoint of a run if it is whole, else the one before; and the damaged one.

    Raises:
        UserError: there are checkpoints, and none of them is whole.
    """
    damaged = None
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            read_checkpoint(path)
        except UserError:
            damaged = damaged or path
        else:
            return path, damaged
    if damaged:
        raise UserError(f"{damaged} is damaged, and no whole {PREVIOUS} is beside it; start a new run")
    return None, None
