"""What the boundary term costs a 3-D training, and whether the data keep up.

    python benchmarks/bench_training.py [--accelerator gpu] [--rounds N]

One generated dataset, one network, the same patches; only the loss differs. Seconds are those of the
fastest step, on the CPU as the process used them, and the losses take turns: what else the machine does can
only add to them.
"""

import argparse
import dataclasses
import json
import logging
import resource
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.loaders import Loaders
from boundaryloss.training.run import load_data, train

SHAPE, AFFINE = (192, 160, 48), np.diag([1.0, 1.0, 2.0, 1.0])
VARIANTS = {
    "dicece": {"loss": "dicece"},
    "dicece+boundary": {"loss": "dicece+boundary"},
    "dicece+boundary, map of the volume": {"loss": "dicece+boundary", "map_from": "volume"},
    "dicece+boundary, balanced": {"loss": "dicece+boundary", "weighting": "ratio"},
    "dicece+boundary, balanced, log": {"loss": "dicece+boundary", "weighting": "ratio", "form": "log"},
}


def make_dataset(folder: Path, count: int = 4) -> None:
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        noise = gaussian_filter(np.random.default_rng(index).normal(size=SHAPE), 3)
        labels = (noise > np.quantile(noise, 0.99)).astype(np.uint8)
        image = (1000 * noise + 100 * labels).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / f"imagesTr/v{index}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, AFFINE), folder / f"labelsTr/v{index}.nii.gz")
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "blob": 1}}
    (folder / "dataset.json").write_text(json.dumps(description))


def seconds_per_step(source: Path, config: TrainConfig, out: Path) -> list[float]:
    """Between the ends of consecutive steps: network, loss, optimiser and waiting for data."""
    ends: list[float] = []
    clock = time.process_time if config.accelerator == "cpu" else time.perf_counter
    data = load_data(str(source), config)
    train(data, config, out, on_step=lambda text: ends.append(clock()))
    return np.diff(ends)[1:].tolist()


def seconds_of_loading(source: Path, config: TrainConfig) -> float:
    """Per batch, in the process that trains, with nothing else to do."""
    loader = Loaders(load_data(str(source), config), config).train_dataloader()
    list(loader)  # the voxels that patches may be centred on are found once
    start = time.perf_counter()
    batches = len(list(loader))
    return (time.perf_counter() - start) / batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    logging.getLogger("lightning").setLevel(logging.ERROR)
    base = TrainConfig(
        epochs=1, batch_size=2, patch=(64, 64, 32), patches_per_case=5, network="dynunet",
        features=(16, 32, 64, 128), validation=0.0, augment=("flip",), accelerator=arguments.accelerator,
        weighting="constant",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dataset(folder / "data")
        steps: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        loading = {}
        for turn in range(arguments.rounds):
            for variant, settings in VARIANTS.items():
                config = dataclasses.replace(base, **settings)
                steps[variant] += seconds_per_step(folder / "data", config, folder / f"{variant}{turn}")
                loading[variant] = seconds_of_loading(folder / "data", config)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {arguments.accelerator}")
    first = min(steps["dicece"])
    print(f"{'':36}{'s/step':>9}{'ratio':>9}{'loading s':>11}")
    for variant, times in steps.items():
        fastest = min(times)
        print(f"{variant:36}{fastest:9.3f}{fastest / first:9.3f}{loading[variant]:11.4f}")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
