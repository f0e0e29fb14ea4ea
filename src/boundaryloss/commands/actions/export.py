"""A trained network as an ONNX file, and what its user has to know of it."""

import inspect
import json
import os
import warnings
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from boundaryloss.extras import require

require("onnx", "the command `export`", "onnx")

import onnx  # pyright: ignore[reportMissingImports]
import torch

from boundaryloss.files import UserError, atomic_write, make_folder
from boundaryloss.training.trained import load_run

METADATA = "boundaryloss"  # its key
SIDE = 32  # of the example where slices are seen whole
SCALING = (
    "each channel of an image: (value - low) / (high - low), clipped to 0 and 1; low and high are its "
    "window, or the percentiles 0.5 and 99.5 of the channel where it has none; 8-bit pictures without "
    "windows: value / 255"
)
TILES = (
    "windows of the patch that overlap by half; logits averaged with Gaussian weights, sigma an eighth of "
    "the patch; an image smaller than the patch is padded with its edges"
)
WHOLE = (
    "the whole image; its edges are repeated, as much on both sides, up to multiples of 16; cut back after"
)


def export(run: Path, out: Path, *, checkpoint: str = "last") -> None:
    """Write the network of a run, from `image` (batch, channel, *space) to `logits` (batch, class, *space).

    Both are float32; batch and space may vary. What `predict` does before and after the network stands as
    JSON under ``boundaryloss`` in the metadata.

    Args:
        run: the directory of a run.
        out: the file to write, which is not there yet.
        checkpoint: `last` or `best`.

    Raises:
        UserError: no usable checkpoint, `out` exists or has another ending than .onnx, or cannot be written.
    """
    if out.suffix.lower() != ".onnx":
        raise UserError(f"{out}: the file is written as ONNX; name it {out.stem}.onnx")
    if os.path.lexists(out):
        raise UserError(f"{out} is there already; choose another name, or move it away")
    module, config = load_run(run, checkpoint)
    task = module.task
    image = torch.zeros(2, task.channels, *(task.patch or (SIDE,) * len(task.spacing)))
    model = _trace(module.network, image)
    facts = {
        "version": version("boundaryloss"),
        "axes": "right, anterior, superior" if task.image_axes == 3 else "as in the file",
        "resample_to_mm": config.target_spacing,
        "spacing_mm": task.spacing,
        "scaling": SCALING,
        "windows": task.windows,
        "patch": task.patch,
        "seen": TILES if task.patch else WHOLE,
        "slicewise": task.slicewise,
        "activation": "sigmoid" if task.regions else "softmax",
        "label_values": task.label_values,
        "regions": task.regions,
        "painted": task.painted,
    }
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(facts)
    make_folder(out.parent)
    with atomic_write(out, "network") as file:
        file.write(model.SerializeToString())


def _trace(network: torch.nn.Module, image: torch.Tensor) -> Any:
    """Return the ONNX model of a network.

    The exporter by tracing gives the same numbers as the one by torch.export, in a second instead of half a
    minute. It is in every torch that is supported, and needs `onnx` alone, not onnxscript.
    """
    known = inspect.signature(torch.onnx.export).parameters
    tracing: dict[str, Any] = {"dynamo": False} if "dynamo" in known else {}  # before 2.5 there is no other
    space = {axis: f"space_{axis - 2}" for axis in range(2, image.ndim)}
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it traces
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            (image,),
            os.fspath(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", **space} for name in ("image", "logits")},
            **tracing,
        )
        return onnx.load(path)
