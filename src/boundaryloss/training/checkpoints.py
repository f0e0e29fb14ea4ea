"""Checkpoints that are whole or not there: a full disc never costs the last good one."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from boundaryloss.training.errors import UserError
from boundaryloss.training.files import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside the old one and moved over it; loaded without pickle."""

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, or leave what is there as it is and raise `UserError`."""
        path = Path(path)
        buffer = io.BytesIO()
        torch.save(dict(checkpoint), buffer)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "checkpoint") as file:
            file.write(buffer.getbuffer())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read tensors and plain values; anything else in the file is refused."""
        return read_checkpoint(Path(path), map_location)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint file.

    Raises:
        UserError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    except Exception:  # zip, pickle and torch each have their own error for a damaged file
        raise UserError(f"{path} is damaged or no checkpoint of this program; use another one") from None
