"""What a comparison writes beside its runs, for the report to read."""

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boundaryloss.comparison.experiment import Experiment
from boundaryloss.comparison.planes import grey, plane, write_arrays
from boundaryloss.files import IGNORE
from boundaryloss.report.store import COMPARISON, ComparisonRecord, MethodRecord, write_record
from boundaryloss.scoring import THRESHOLDS
from boundaryloss.training.data.loaders import Loaders
from boundaryloss.training.data.rundata import RunData
from boundaryloss.training.data.slices import on_file_grid

Batch = dict[str, Any]


def write_facts(experiment: Experiment, out: Path, data: list[RunData]) -> None:
    """Write comparison.json: the experiment, the cases and which of them belong together, the runs."""
    record = ComparisonRecord(
        title=experiment.title,
        data=experiment.data,
        seeds=list(experiment.seeds),
        folds=[fold if isinstance(fold, int) else list(fold) for fold in experiment.folds],
        labels=list(data[0].task.label_values[1:]),
        spacing=list(data[0].task.spacing),
        train_cases=[len(fold.train) for fold in data],
        groups={name: fold.patients[name] for fold in data for name in fold.test.names},
        thresholds=list(THRESHOLDS),
        experiment=experiment.text,
        methods=[
            MethodRecord(
                name=method.name,
                baseline=method.baseline,
                loss=method.config.loss,
                epochs=method.config.epochs,
                runs=[run.name for run in experiment.runs() if run.method == method],
            )
            for method in experiment.methods
        ],
    )
    write_record(out / COMPARISON, record)


def truth_of(batch: Batch, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth of a case on its file's grid, unlabelled voxels as background, and their mask."""
    if "truth" in batch:  # volumes
        truth = batch["truth"][index]
    else:
        truth = on_file_grid(batch, index, batch["labels"][index])[0].numpy()
    return np.where(truth == IGNORE, 0, truth).astype(np.uint8), truth == IGNORE


def write_images(experiment: Experiment, out: Path, data: list[RunData]) -> None:
    """Write images.npz: one plane of every tested case, image and truth."""
    path, arrays = out / "images.npz", {}
    if {f"image/{name}" for fold in data for name in fold.test.names} <= _names(path):
        return
    for fold in data:
        for batch in Loaders(fold, experiment.methods[0].config).test_dataloader():
            for index, name in enumerate(batch["name"]):
                image = on_file_grid(batch, index, batch["image"][index])[0].numpy()
                truth = truth_of(batch, index)[0]
                arrays[f"image/{name}"] = plane(grey(image), truth)
                arrays[f"truth/{name}"] = plane(truth, truth)
    write_arrays(path, arrays)


def _names(path: Path) -> set[str]:
    """Return the names in an .npz file; nothing if it is missing or damaged, for then it is made again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name for name, _ in arrays.items()}  # reads them all
    except Exception:  # zip, zlib and NumPy each have their own error for damaged bytes
        return set()


def device(accelerator: str) -> str:
    """Return where networks of a run go, as torch calls it."""
    return "cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu"


def hardware(accelerator: str) -> str:
    """Name the processor, or the GPU, that trains."""
    if device(accelerator) == "cuda":
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        model = next((value.strip() for key, _, value in lines if key.startswith("model name")), model)
    return f"{model}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
