"""Directories as a comparison leaves them, with numbers drawn by chance and nothing trained."""

import numpy as np

from boundaryloss.report.findings import find_all
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
    write_table,
)

THRESHOLDS = (0.1, 0.5, 0.9)
METHODS = {"GDL": None, "GDL + boundary": "GDL"}  # name -> baseline


def found_in(out):
    """What the report of a comparison is made of: its results and findings."""
    results = read_results(out)
    return results, find_all(results)


def write_made(out, *, title="made", methods=None, seeds=(0, 1, 2), cases=7, labels=(1,), side=24, epochs=2):
    """Write a comparison of one fold, of which later methods are the better."""
    rng = np.random.default_rng(0)
    methods = METHODS if methods is None else methods
    names = [f"case{index}" for index in range(cases)]
    truth = np.zeros((side, side), np.uint8)
    truth[4:9, 4:9] = 1
    described = []
    for index, (method, baseline) in enumerate(methods.items()):
        runs = [f"m{index}-fold0-seed{seed}" for seed in seeds]
        described.append(MethodRecord(method, baseline, "gdl", epochs, runs))
        for seed, run in zip(seeds, runs, strict=True):
            folder = out / "runs" / run
            folder.mkdir(parents=True)
            write_table(folder / CASES, [_case(rng, n, v, index) for n in names for v in labels])
            table = [_lesion(n, v, i, index) for n in names for v in labels for i in range(1, 5)]
            write_table(folder / LESIONS, table)
            points = [_point(n, v, t) for n in names for v in labels for t in THRESHOLDS]
            write_table(folder / POINTS, points)
            write_table(folder / HISTORY, [_epoch(index) for index in range(epochs)])
            np.savez_compressed(folder / "planes.npz", **{name: np.roll(truth, index) for name in names})
            write_record(folder / RUN, _run(method, seed, cases))
    record = ComparisonRecord(
        title=title,
        data="data",
        seeds=list(seeds),
        folds=[[]],
        labels=list(labels),
        spacing=[1.0, 1.0],
        train_cases=[3],
        groups={name: name for name in names},
        thresholds=list(THRESHOLDS),
        experiment=f"title = {title!r}",
        methods=described,
    )
    write_record(out / COMPARISON, record)
    grey = rng.integers(0, 255, truth.shape).astype(np.uint8)
    images = {f"{kind}/{n}": a for n in names for kind, a in (("image", grey), ("truth", truth))}
    np.savez_compressed(out / "images.npz", **images)
    return out


def _case(rng, name, label, better):
    dice = 0.5 + 0.1 * better + 0.1 * rng.random()
    zero = {"missed": 0, "false_alarm": 0, "both_empty": 0, "truth_mm3": None, "prediction_mm3": None}
    counts = {"lesions": 3, "lesions_found": 2, "false_lesions": int(rng.integers(3)), "predicted_lesions": 4}
    sizes = {"truth_mm2": 25.0, "prediction_mm2": 25.0, "nsd": 0.5, "boundary_iou": 0.5, "tolerance_mm": 1.0}
    lengths = {"hd95_mm": 3.0, "hd95_penalised_mm": 3.0, "hd95_pooled_mm": 3.0, "assd_mm": 1.0}
    return CaseScores(name, label, dice, **lengths, **zero, **counts, **sizes, contour="faces")


def _lesion(name, label, number, better):
    """Lesions of 1, 10 and 100 mm², the smallest one missed, and a false one."""
    outcome = {1: "missed", 2: "found", 3: "found", 4: "false"}[number]
    found, size = outcome == "found", 0 if outcome == "false" else 10 ** (number - 1)
    sizes = {"truth_voxels": size, "truth_mm2": float(size), "truth_mm3": None, "prediction_mm3": None}
    predicted = {"prediction_voxels": 5, "prediction_mm2": 5.0, "components": int(found), "other_lesions": 0}
    dice = (0.5 + 0.1 * better) * found
    scores = {"dice": dice, "hd95_mm": 1.0 if found else np.nan, "contour": "faces"}
    return LesionScores(name, label, number, outcome, "0 0", **sizes, **predicted, **scores)


def _point(name, label, threshold):
    found = {0.1: 3, 0.5: 2, 0.9: 1}[threshold]
    return OperatingPoint(name, label, threshold, 3, lesions_found=found, false_lesions=found, dice=0.5)


def _epoch(epoch):
    terms = {"loss": 1.0, "region": 1.0, "boundary": 0.1, "validation_dice": 0.5}
    weights = {"region_weight": 1.0, "boundary_weight": 1.0}
    gradients = {"region_gradient": 0.2 + epoch, "boundary_gradient": 0.002 + epoch / 9}
    return Epoch(epoch, **terms, **weights, **gradients)


def _run(method, seed, cases):
    return RunRecord(method, 0, seed, 0, 1.0, "2026-01-01 00:00", 3, cases, "a machine", {"torch": "2.0"})
