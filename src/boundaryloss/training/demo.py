"""The demonstration: the phantom, learned with and without the boundary loss, over a few seeds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from boundaryloss.distance import signed_distance_map
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data import Slices
from boundaryloss.training.predict import load_run
from boundaryloss.training.run import RunData, count_steps, prepare_directory, train

LOSSES = ("gdl", "gdl+boundary")
CONFIG = TrainConfig(
    schedule="increase",  # alpha = 0.00, 0.01, 0.02, ...: not a ramp to 1 squeezed into a few epochs
    epochs=9,
    batch_size=4,
    validation=0.0,
    features=(8, 8, 16, 32, 64),
    accelerator="cpu",
)
SHOWN = 4


def run_demo(
    out: Path,
    seeds: int,
    *,
    config: TrainConfig = CONFIG,
    data: RunData | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> None:
    """Train every loss with every seed and write to `out` all that the report reads.

    Seeds are 0, 1, 2, ... : none is picked. A seed decides the first weights and the order of the slices, and
    both losses get the same; the data never change. Every run is tested after its last epoch.

    Args:
        out: new or empty; gets runs/LOSS-seedN, demo.json and slices.npz.
        seeds: how many.
        config: of every run, apart from its loss and seed.
        data: default the phantom.
        progress: is called after every step with steps done, steps in all, and a line of text.
    """
    prepare_directory(out)
    data = RunData.from_phantom() if data is None else data
    total = len(LOSSES) * seeds * count_steps(data, config)
    done = 0
    for seed in range(seeds):
        for loss in LOSSES:

            def on_step(text: str, title: str = f"{loss} seed {seed}") -> None:
                nonlocal done
                done += 1
                progress(done, total, f"{title}, {text}")

            settings = {**vars(config), "loss": loss, "seed": seed}
            train(data, TrainConfig(**settings), run_directory(out, loss, seed), on_step=on_step)
    _write_slices(out, data)
    facts = {"losses": LOSSES, "seeds": list(range(seeds)), "epochs": config.epochs}
    facts |= {"train_slices": len(data.train), "test_slices": len(data.test)}
    (out / "demo.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def run_directory(out: Path, loss: str, seed: int) -> Path:
    """Where the run of a loss and a seed is."""
    return out / "runs" / f"{loss}-seed{seed}"


def _write_slices(out: Path, data: RunData) -> None:
    """What the figure shows: slices at even steps through those with a lesion, predicted by seed 0."""
    assert isinstance(data.test, Slices) and data.test.labels is not None
    labels = data.test.labels
    filled = [index for index in range(len(labels)) if labels[index].any()]
    shown = [filled[i] for i in np.linspace(0, len(filled) - 1, SHOWN + 2).round().astype(int)[1:-1]]
    images = np.stack([data.test.images[index] for index in shown])
    truth = np.stack([labels[index] for index in shown])
    predictions = []
    for loss in LOSSES:
        module, _ = load_run(run_directory(out, loss, seed=0))
        with torch.inference_mode():
            predictions.append(module(torch.from_numpy(images)).argmax(1).numpy().astype(np.uint8))
    phi = signed_distance_map(torch.from_numpy(truth), len(data.label_values), spacing=data.spacing)
    np.savez_compressed(
        out / "slices.npz",
        names=np.array([data.test.names[index] for index in shown]),
        image=images[:, 0],
        truth=truth,
        predictions=np.stack(predictions, axis=1),
        signed_distance=phi[:, 0].numpy(),
    )
