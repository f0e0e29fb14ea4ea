"""Every run of an experiment, one ordinary training each, and what the report needs to know beside it.

    out/comparison.json         the experiment, the cases, the runs
    out/images.npz              one plane of every tested case: image and truth
    out/runs/NAME/              as `train` leaves it, and besides
        planes.npz              the prediction on these planes
        operating_points.csv    lesions found and false lesions at every threshold
        run.json                time, machine and versions; written last

A run that has its run.json is done, and is left alone when the experiment is started again.
"""

import functools
import importlib.metadata
import json
import multiprocessing
import os
import platform
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boundaryloss.training.callbacks import Progress, StepReport
from boundaryloss.training.config import TrainConfig, read_config
from boundaryloss.training.data import IGNORE, on_file_grid
from boundaryloss.training.errors import UserError
from boundaryloss.training.experiment import Experiment, Run, Source
from boundaryloss.training.files import atomic_write
from boundaryloss.training.loaders import Loaders
from boundaryloss.training.metrics import write_csv
from boundaryloss.training.operating_points import THRESHOLDS, operating_points
from boundaryloss.training.predict import load_run
from boundaryloss.training.run import RunData, count_steps, prepare_directory, train
from boundaryloss.training.split import patient

Batch = dict[str, Any]
PACKAGES = ("boundaryloss", "torch", "monai", "lightning", "numpy", "scipy")


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    jobs: int = 1,
    progress: Progress = lambda done, total, text: None,
) -> None:
    """Train what is not done yet, and leave in `out` all that the report reads.

    Args:
        experiment: what to compare.
        out: the experiment's directory: new, or begun before with the same settings.
        jobs: how many runs at a time, each in a process of its own.
        progress: is called with steps done, steps in all, and a line of text.

    Raises:
        UserError: `out` holds something else, or a run failed; what is finished is kept.
    """
    _load.cache_clear()  # files may have changed since
    runs = list(experiment.runs())
    data = [_load(experiment.source(fold)) for fold in range(len(experiment.folds))]
    if data[0].regions:
        raise UserError(f"{experiment.data}: regions overlap, which no report shows yet; give plain labels")
    _prepare(out)
    waiting = [run for run in runs if not _is_done(out, run, data[run.fold].test.names)]
    _write_facts(experiment, out, data)
    _write_images(experiment, out, data)
    steps = {run.name: count_steps(data[run.fold], run.config) for run in runs}
    total, done = sum(steps.values()), sum(steps.values()) - sum(steps[run.name] for run in waiting)

    def advance(count: int, run: Run, text: str) -> None:
        nonlocal done
        done += count
        progress(done, total, f"{run.name}, {text}")

    if jobs > 1:
        for run in _in_processes(experiment, out, waiting, jobs):
            advance(steps[run.name], run, "done")
    else:
        for run in waiting:
            _one_run(experiment, out, run, on_step=functools.partial(advance, 1, run))


def _in_processes(experiment: Experiment, out: Path, runs: list[Run], jobs: int) -> Iterator[Run]:
    """Run several at a time, the processor's cores shared among them."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool:
        futures = {pool.submit(_one_run, experiment, out, run): run for run in runs}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            raise UserError(
                "a run was killed, perhaps for lack of memory; go on with fewer --jobs (what is done is kept)"
            ) from None
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.kill()  # or it would begin the next run first
            raise


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A comparison that was killed takes its workers with it, or they would meet those of the next one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@functools.cache
def _load(source: Source) -> RunData:
    """Every process reads each fold once."""
    return source.load()


def _one_run(experiment: Experiment, out: Path, run: Run, on_step: StepReport | None = None) -> None:
    """Train, test, and write run.json last."""
    directory, data = out / "runs" / run.name, _load(experiment.source(run.fold))
    started = time.time()
    try:
        train(data, run.config, directory, on_step=on_step, resume=True)
    except UserError as error:
        raise UserError(f"run {run.name}: {error}") from None
    module, _ = load_run(directory)
    module.to("cuda" if torch.cuda.is_available() and run.config.accelerator != "cpu" else "cpu")
    planes, rows = {}, []
    for name, truth, probabilities in _probabilities(module, data, run.config):
        planes[name] = _plane(probabilities.argmax(0).astype(np.uint8), truth)
        rows += operating_points(probabilities, truth, name=name, label_values=data.label_values)
    _write_arrays(directory / "planes.npz", planes)
    write_csv(directory / "operating_points.csv", rows)
    facts = {
        "method": run.method.name,
        "fold": run.fold,
        "seed": run.seed,
        "seconds": round(time.time() - started, 1),
        "finished": time.strftime("%Y-%m-%d %H:%M"),
        "train_cases": len(data.train),
        "test_cases": len(data.test),
        "hardware": _hardware(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    _write_json(directory / "run.json", facts)


def _truth(batch: Batch, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth of a tested case as it lies on its file, unlabelled voxels as background, and where these are."""
    on_grid = "truth" in batch
    truth = (
        batch["truth"][index] if on_grid else on_file_grid(batch, index, batch["labels"][index])[0].numpy()
    )
    return np.where(truth == IGNORE, 0, truth).astype(np.uint8), truth == IGNORE


def _probabilities(
    module: Any, data: RunData, config: TrainConfig
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, truth and class probabilities of every case; unlabelled voxels are background in both."""
    for batch in Loaders(data, config).test_dataloader():
        with torch.inference_mode():
            logits = module.file_logits({**batch, "image": batch["image"].to(module.device)})
        for index, (name, one) in enumerate(zip(batch["name"], logits, strict=True)):
            truth, unlabelled = _truth(batch, index)
            probabilities = one.softmax(0).cpu().numpy()
            probabilities[1:, unlabelled], probabilities[0, unlabelled] = 0, 1
            yield name, truth, probabilities


def _plane(array: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What a page can show of a case: a slice as it is; of a volume the plane with most of the truth."""
    return array if truth.ndim == 2 else array[..., int((truth > 0).sum(axis=(0, 1)).argmax())]


def _is_done(out: Path, run: Run, test_names: list[str]) -> bool:
    """Whether the run is finished, with these settings and this test set."""
    directory = out / "runs" / run.name
    if not (directory / "run.json").exists():
        return False
    split = json.loads((directory / "splits.json").read_text(encoding="utf-8"))
    if read_config(directory / "config.toml") != run.config or split["test"] != test_names:
        raise UserError(
            f"{directory} was made with other settings or data; give a new directory with --out, "
            "or remove this run to make it again"
        )
    return True


def _prepare(out: Path) -> None:
    """Make `out`; one that holds anything but a comparison is refused."""
    if out.exists() and not (out / "comparison.json").exists():
        prepare_directory(out)  # empty, or an error
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the directory {out / 'runs'}: {error.strerror}") from None


def _write_images(experiment: Experiment, out: Path, data: list[RunData]) -> None:
    """Once for all runs."""
    if (out / "images.npz").exists():
        return
    arrays = {}
    for fold in data:
        for batch in Loaders(fold, experiment.methods[0].config).test_dataloader():
            for index, name in enumerate(batch["name"]):
                image = on_file_grid(batch, index, batch["image"][index])[0].numpy()
                grey, truth = (image.clip(0, 1) * 255).round().astype(np.uint8), _truth(batch, index)[0]
                arrays[f"image/{name}"], arrays[f"truth/{name}"] = _plane(grey, truth), _plane(truth, truth)
    _write_arrays(out / "images.npz", arrays)


def _write_facts(experiment: Experiment, out: Path, data: list[RunData]) -> None:
    names = [name for fold in data for name in fold.test.names]
    if len({patient(name) for name in names}) in (1, len(names)):
        groups = {name: name for name in names}  # one word before all names is no patient
    else:
        groups = {name: patient(name) for name in names}
    facts = {
        "title": experiment.title,
        "data": experiment.data,
        "seeds": experiment.seeds,
        "folds": experiment.folds,
        "labels": data[0].label_values[1:],
        "spacing": data[0].spacing,
        "train_cases": [len(fold.train) for fold in data],
        "groups": groups,
        "thresholds": THRESHOLDS,
        "experiment": experiment.text,
        "methods": [
            {
                "name": method.name,
                "baseline": method.baseline,
                "loss": method.config.loss,
                "epochs": method.config.epochs,
                "runs": [run.name for run in experiment.runs() if run.method == method],
            }
            for method in experiment.methods
        ],
    }
    _write_json(out / "comparison.json", facts)


def _hardware() -> str:
    """The processor, or the GPU, that trains."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        model = next((value.strip() for key, _, value in lines if key.startswith("model name")), model)
    return f"{model}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_write(path, "arrays") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path, "facts") as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
