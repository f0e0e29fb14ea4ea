"""The demonstration: the phantom, learned with and without the boundary loss, over a few seeds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from boundaryloss.comparison.experiment import Experiment, Method
from boundaryloss.comparison.run import run_experiment
from boundaryloss.distance import signed_distance_map
from boundaryloss.files import prepare_directory
from boundaryloss.training.callbacks import Progress
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.slices import Slices

CONFIG = TrainConfig(
    weighting="increase",  # alpha = 0.00, 0.01, 0.02, ...: not a ramp to 1 squeezed into a few epochs
    epochs=9,
    batch_size=4,
    validation=0.0,
    features=(8, 8, 16, 32, 64),
    accelerator="cpu",
)
SHOWN = 4


def demo_experiment(seeds: int, config: TrainConfig = CONFIG) -> Experiment:
    """GDL with and without the boundary loss; seeds 0, 1, 2, ...: none is picked.

    A seed decides the first weights and the order of the slices, and both losses get the same; the data never
    change. Every run is tested after its last epoch.
    """
    gdl, both = (replace(config, loss=loss) for loss in ("gdl", "gdl+boundary"))
    methods = (Method("GDL", gdl, None), Method("GDL + boundary", both, "GDL"))
    title = "The phantom, with and without the boundary loss"
    return Experiment(title, "phantom", tuple(range(seeds)), ((),), methods)


def run_demo(
    out: Path,
    experiment: Experiment,
    *,
    progress: Progress = lambda done, total, text: None,
) -> None:
    """Run the experiment in `out`, new or empty, and write slices.npz for the figure beside it."""
    prepare_directory(out)
    run_experiment(experiment, out, progress=progress)
    _write_slices(out, experiment)


def _write_slices(out: Path, experiment: Experiment) -> None:
    """What the figure shows: slices at even steps through those with a lesion, and seed 0's results."""
    data = experiment.source(0).load()
    assert isinstance(data.test, Slices) and data.test.labels is not None
    labels = data.test.labels
    filled = [index for index in range(len(labels)) if labels[index].any()]
    shown = [filled[i] for i in np.linspace(0, len(filled) - 1, SHOWN + 2).round().astype(int)[1:-1]]
    names = [data.test.names[index] for index in shown]
    truth = np.stack([labels[index] for index in shown])
    first = list(experiment.runs())[: len(experiment.methods)]
    predictions = [np.load(out / "runs" / run.name / "planes.npz", allow_pickle=False) for run in first]
    task = data.task
    phi = signed_distance_map(torch.from_numpy(truth), task.num_classes, spacing=task.spacing)
    np.savez_compressed(
        out / "slices.npz",
        names=np.array(names),
        image=np.stack([data.test.images[index] for index in shown])[:, 0],
        truth=truth,
        predictions=np.stack([[planes[name] for planes in predictions] for name in names]),
        signed_distance=phi[:, 0].numpy(),
    )
