"""`evaluate` on 20 volumes: reading alone, the whole, and two processes.

    python benchmarks/bench_evaluate.py [--cases 20] [--size 160]

Every volume is 160^3 voxels of uint8 in .nii.gz: an organ, and twelve lesions of 2 to 8 voxels across. The
prediction is moved by a voxel, misses some lesions, and has a false one. Reading is `Pair.read`, as
`evaluate` does it: the files, their checksums, and their grids. Processor seconds are those of one process
on one thread; wall seconds compare one process with two, start included.

Predicted before the first run: reading takes 60 ms a case, and the whole 2.5 times as long; SciPy's search
for boxes, on 32-bit copies of the volumes, costs more than the distances. Measured on a busy machine:
reading takes 35 ms, and the whole was 8 times as long. More than half of that were transposed copies (files
are in Fortran's order), boxes of whole volumes, and a second HD95 of the organ as its only lesion. Without
these it is 3.4 times as long, on a machine at rest 5 times (2.7 s for 20 cases, .55 s of it reading, for such
masks compress well): distances are half of it, and the goal of twice is not reached.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch
from record import save

from boundaryloss.scoring import case_metrics, evaluate
from boundaryloss.scoring.pairs import find_pairs

PACKAGES = ("boundaryloss", "torch", "numpy", "scipy", "nibabel")
ORGAN, LESION = 1, 2


def ball(shape, centre, radius):
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


def volume(size, seed):
    """Truth and prediction."""
    rng, shape = np.random.default_rng(seed), (size, size, size)
    labels = np.zeros((2, *shape), np.uint8)
    centre = size * rng.uniform(0.45, 0.55, 3)
    for side, shift in zip(labels, (0, 1), strict=True):
        side[ball(shape, centre + shift, size / 4)] = ORGAN
    for number in range(12):
        place, radius = centre + size / 6 * rng.uniform(-1, 1, 3), rng.uniform(1, 4)
        labels[0][ball(shape, place, radius)] = LESION
        if number % 4:
            labels[1][ball(shape, place + 1, radius)] = LESION
    labels[1][ball(shape, (size / 8,) * 3, 3)] = LESION
    return labels


def write(folder, cases, size):
    for seed in range(cases):
        for name, labels in zip(("truth", "predictions"), volume(size, seed), strict=True):
            (folder / name).mkdir(exist_ok=True)
            image = nibabel.Nifti1Image(labels, np.diag([0.8, 0.8, 1.5, 1]))
            nibabel.save(image, folder / name / f"case_{seed:02d}.nii.gz")


def timed(function):
    """Return processor seconds and wall seconds, the better of two calls each."""
    calls = []
    for _ in range(2):
        begun, wall = time.process_time(), time.perf_counter()
        function()
        calls.append((time.process_time() - begun, time.perf_counter() - wall))
    return [min(of_calls) for of_calls in zip(*calls, strict=True)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--size", type=int, default=160)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    case_metrics(np.eye(9, dtype=int), np.eye(9, dtype=int), spacing=1.0)  # loads what is loaded once
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, chosen.cases, chosen.size)
        pairs, _ = find_pairs(folder / "predictions", folder / "truth")
        reading, _ = timed(lambda: [pair.read() for pair in pairs])
        run = {
            jobs: timed(
                lambda jobs=jobs: evaluate(
                    folder / "predictions", folder / "truth", folder / f"out{jobs}", jobs=jobs
                )
            )
            for jobs in (1, 2)
        }
        for table in (folder / "out1").iterdir():
            assert table.read_bytes() == (folder / "out2" / table.name).read_bytes(), table.name
    (whole, one), (_, two) = run[1], run[2]
    figures = {
        "cases": chosen.cases,
        "size": chosen.size,
        "reading_s": round(reading, 3),
        "whole_s": round(whole, 3),
        "metrics_over_reading": round(whole / reading - 1, 2),
        "wall_one_process_over_two": round(one / two, 2),
    }
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")
    save(f"evaluate {platform.machine()}", PACKAGES, figures)


if __name__ == "__main__":
    main()
