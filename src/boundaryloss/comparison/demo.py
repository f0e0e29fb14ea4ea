"""The demonstration: the phantom, learned with and without the boundary term, over a few seeds."""

from collections.abc import Sequence
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

CONFIG = TrainConfig(  # chosen on phantoms of other seeds than those that it is shown on
    weighting_options={"start": 10, "ramp": 1},  # eleven epochs alone
    epochs=14,
    batch_size=4,
    learning_rate=3e-3,
    decay=True,
    validation=0.0,
    features=(8, 8, 16, 16, 16),
    accelerator="cpu",
)
SHOWN = 4


def demo_experiment(seeds: Sequence[int], config: TrainConfig = CONFIG) -> Experiment:
    """Compare GDL alone, with the paper's form of the boundary loss, and with the default.

    A seed decides the first weights and the order of the slices, the same for all three; the data never
    change. The three have all but the last epochs in common. Every run is tested after its last epoch.
    """
    both = replace(config, loss="gdl+boundary")
    methods = (
        Method("GDL", replace(config, loss="gdl"), None),
        Method("GDL + boundary, paper's form", replace(both, form="linear"), "GDL"),
        Method("GDL + boundary", both, "GDL"),
    )
    title = "The phantom, with and without the boundary loss"
    return Experiment(title, "phantom", tuple(seeds), ((),), methods)


def run_demo(
    out: Path,
    experiment: Experiment,
    *,
    jobs: int = 1,
    progress: Progress = lambda done, total, text: None,
) -> None:
    """Run the experiment in `out`, new or empty, and write slices.npz for the figure beside it."""
    prepare_directory(out)
    run_experiment(experiment, out, jobs=jobs, progress=progress)
    _write_slices(out, experiment)


def _write_slices(out: Path, experiment: Experiment) -> None:
    """Write what the figure shows: slices on which the first and the last method differ most."""
    data = experiment.source(0).load()
    assert isinstance(data.test, Slices) and data.test.labels is not None
    labels = data.test.labels
    first = list(experiment.runs())[: len(experiment.methods)]
    predictions = [np.load(out / "runs" / run.name / "planes.npz", allow_pickle=False) for run in first]
    differ = [int((predictions[0][name] != predictions[-1][name]).sum()) for name in data.test.names]
    shown = np.argsort(differ, kind="stable")[::-1][:SHOWN].tolist()
    names = [data.test.names[index] for index in shown]
    truth = np.stack([labels[index] for index in shown])
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
