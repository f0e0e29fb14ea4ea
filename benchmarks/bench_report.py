"""The report of a large study: how long reading, testing and drawing take, how large the page is.

    python benchmarks/bench_report.py [--methods 10] [--seeds 30] [--cases 500] [--epochs 100]

The study is made up: no network is trained. Every case has three lesions, found the more often the larger
they are; every run has its rows of cases, lesions (false ones too), 25 thresholds and epochs, as `compare`
writes them. The default is 300 runs of 500 cases: 3.75 million operating points and 0.9 million lesions.
The processor seconds are those of one process on one thread, with the pages read from a warm cache; memory is
the largest resident size of the whole process, which the study is made outside of.

Predicted before the first run: reading takes 15 s, two thirds of it in the operating points; the tests 10 s;
the page 15 s and 1.5 MB. Measured on a busy machine: reading takes 21 s, the tests 7 s, the page 13 s and
1.96 MB; the figures of a pair are larger than thought (180 kB, a third of it pictures).
"""

import argparse
import csv
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from record import save
from scipy import ndimage

from boundaryloss.report.findings import find_all
from boundaryloss.report.page import write_report
from boundaryloss.report.results import read_results
from boundaryloss.report.store import (
    CASES,
    COMPARISON,
    HISTORY,
    LESIONS,
    POINTS,
    RUN,
    CaseScores,
    ComparisonRecord,
    Epoch,
    LesionScores,
    MethodRecord,
    OperatingPoint,
    RunRecord,
    write_record,
)

PACKAGES = ("boundaryloss", "numpy", "scipy", "matplotlib", "jinja2")
THRESHOLDS = tuple((1 / (1 + np.exp(-np.linspace(-6, 6, 25)))).round(4).tolist())
EACH, SIDE = 3, 96  # lesions of a case, pixels of its picture


def write_columns(path, kind, columns):
    """Write the columns that are given, as long as the longest; single values stand in every row."""
    longest = max(np.size(column) for column in columns.values())
    table = {name: np.broadcast_to(column, longest).tolist() for name, column in columns.items()}
    names = [name for name in kind.__dataclass_fields__ if name in table]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*(table[name] for name in names), strict=True))


def write_run(folder, method, seed, names, sizes, epochs):
    """Write the tables of a run; later methods find more of the small lesions."""
    rng, cases = np.random.default_rng([method, seed]), len(names)
    folder.mkdir(parents=True)
    found = rng.random((cases, EACH)) < (sizes + method) / (sizes + method + 10)
    false, dice = rng.poisson(2 / (1 + method), cases), found * rng.beta(8, 3, (cases, EACH))
    case = {
        "name": names,
        "label": 1,
        "dice": dice.mean(axis=1),
        "missed": (~found.any(axis=1)).astype(int),
        "false_alarm": 0,
        "both_empty": 0,
        "lesions": EACH,
        "lesions_found": found.sum(axis=1),
        "false_lesions": false,
        "predicted_lesions": found.sum(axis=1) + false,
        "truth_mm2": sizes.sum(axis=1),
        "prediction_mm2": sizes.sum(axis=1),
        "contour": "faces",
    }
    lengths = {
        "hd95_mm",
        "hd95_penalised_mm",
        "hd95_pooled_mm",
        "assd_mm",
        "nsd",
        "boundary_iou",
        "tolerance_mm",
    }
    write_columns(folder / CASES, CaseScores, case | {name: rng.random(cases) * 9 for name in lengths})
    is_true = np.arange(EACH + 3) < EACH
    rows = np.repeat(np.arange(cases), EACH + 3)
    size = np.where(is_true, np.pad(sizes, ((0, 0), (0, 3))), 0).ravel()
    outcome = np.where(is_true, np.where(np.pad(found, ((0, 0), (0, 3))), "found", "missed"), "false").ravel()
    lesion = {
        "name": np.array(names)[rows],
        "label": 1,
        "lesion": np.tile(np.arange(EACH + 3) + 1, cases),
        "outcome": outcome,
        "voxel": "12 34",
        "truth_voxels": size.astype(int),
        "prediction_voxels": 5,
        "truth_mm2": size,
        "prediction_mm2": 5.0,
        "components": (outcome == "found").astype(int),
        "other_lesions": 0,
        "dice": np.pad(dice, ((0, 0), (0, 3))).ravel(),
        "hd95_mm": rng.random(len(rows)) * 9,
        "contour": "faces",
    }
    write_columns(folder / LESIONS, LesionScores, lesion)
    level = np.arange(len(THRESHOLDS))
    kept = np.clip(1.5 - level / 24, 0, 1)
    point = {
        "name": np.repeat(names, len(level)),
        "label": 1,
        "threshold": np.tile(THRESHOLDS, cases),
        "lesions": EACH,
        "lesions_found": np.rint(np.outer(found.sum(axis=1), kept)).astype(int).ravel(),
        "false_lesions": np.rint(np.outer(false, 3 * (1 - level / 25))).astype(int).ravel(),
        "dice": np.outer(dice.mean(axis=1), kept).ravel(),
    }
    write_columns(folder / POINTS, OperatingPoint, point)
    falling = 1 / (1 + np.arange(epochs)) + 0.05 * rng.random(epochs)
    steps = dict.fromkeys(Epoch.__dataclass_fields__, falling)
    write_columns(folder / HISTORY, Epoch, steps | {"epoch": np.arange(epochs)})
    if seed == 0:
        planes = rng.random((cases, SIDE, SIDE)) < 0.001
        np.savez_compressed(folder / "planes.npz", **dict(zip(names, planes.astype(np.uint8), strict=True)))
    versions = {"torch": "2.8.0", "boundaryloss": "0.1.0"}
    run = RunRecord(
        f"method {method}", 0, seed, 0, 1.0, "2026-01-01 00:00", cases, cases, "a machine", versions
    )
    write_record(folder / RUN, run)


def write_study(out, methods, seeds, cases, epochs):
    rng, names = np.random.default_rng(0), [f"case_{index:04d}" for index in range(cases)]
    sizes = np.ceil(rng.lognormal(3, 1.2, (cases, EACH)))
    described = []
    for method in range(methods):
        runs = [f"method-{method}-fold0-seed{seed}" for seed in range(seeds)]
        baseline = "method 0" if method else None
        described.append(MethodRecord(f"method {method}", baseline, "gdl", epochs, runs))
        for seed, run in enumerate(runs):
            write_run(out / "runs" / run, method, seed, names, sizes, epochs)
    facts = ComparisonRecord(
        title="a large study",
        data="data",
        seeds=list(range(seeds)),
        folds=[[]],
        labels=[1],
        spacing=[1.0, 1.0],
        train_cases=[cases],
        groups={name: name for name in names},
        thresholds=list(THRESHOLDS),
        experiment="",
        methods=described,
    )
    write_record(out / COMPARISON, facts)
    smooth = ndimage.gaussian_filter(rng.random((cases, SIDE, SIDE)), (0, 3, 3))
    grey = (128 + 1000 * (smooth - 0.5) + rng.normal(0, 2, smooth.shape)).clip(0, 255).astype(np.uint8)
    images = {f"image/{name}": array for name, array in zip(names, grey, strict=True)}
    images |= {
        f"truth/{name}": (array > 250).astype(np.uint8) for name, array in zip(names, grey, strict=True)
    }
    np.savez_compressed(out / "images.npz", **images)


def timed(figures, name, function, *args):
    begun = time.process_time()
    result = function(*args)
    figures[f"{name}_s"] = round(time.process_time() - begun, 2)
    return result


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("methods", 10), ("seeds", 30), ("cases", 500), ("epochs", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    figures = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        maker = multiprocessing.get_context("spawn").Process(
            target=write_study, args=(out, *figures.values())
        )
        maker.start()
        maker.join()
        results = timed(figures, "read", read_results, out)
        findings = timed(figures, "test", find_all, results)
        page = timed(figures, "page", write_report, results, findings)
        figures["page_mb"] = round(page.stat().st_size / 1e6, 2)
    figures["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")
    save("report", PACKAGES, {"machine": platform.machine(), **figures})


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
