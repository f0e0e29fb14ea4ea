"""Directories as a comparison leaves them, with numbers drawn by chance and nothing trained."""

import csv
import json

import numpy as np

THRESHOLDS = (0.1, 0.5, 0.9)
METHODS = {"GDL": None, "GDL + boundary": "GDL"}  # name -> baseline


def write_made(out, *, title="made", methods=None, seeds=(0, 1, 2), cases=7, labels=(1,), side=24, epochs=2):
    """Write a comparison of one fold, of which later methods are the better."""
    rng = np.random.default_rng(0)
    methods = METHODS if methods is None else methods
    names = [f"case{index}" for index in range(cases)]
    truth = np.zeros((side, side), np.uint8)
    truth[4:9, 4:9] = 1
    facts = {
        "title": title,
        "data": "data",
        "seeds": seeds,
        "folds": [[]],
        "labels": labels,
        "spacing": [1.0, 1.0],
        "train_cases": [3],
        "groups": {name: name for name in names},
        "thresholds": THRESHOLDS,
        "experiment": f"title = {title!r}",
        "methods": [],
    }
    for index, (method, baseline) in enumerate(methods.items()):
        runs = [f"m{index}-fold0-seed{seed}" for seed in seeds]
        described = {"name": method, "baseline": baseline, "loss": "gdl", "epochs": epochs, "runs": runs}
        facts["methods"].append(described)
        for seed, run in zip(seeds, runs, strict=True):
            folder = out / "runs" / run
            folder.mkdir(parents=True)
            _write(folder / "cases.csv", [_case(rng, n, v, index) for n in names for v in labels])
            points = [_point(n, v, t) for n in names for v in labels for t in THRESHOLDS]
            _write(folder / "operating_points.csv", points)
            _write(folder / "metrics.csv", [_epoch(index) for index in range(epochs)])
            np.savez_compressed(folder / "planes.npz", **{name: np.roll(truth, index) for name in names})
            (folder / "run.json").write_text(json.dumps(_run(seed, cases)))
    (out / "comparison.json").write_text(json.dumps(facts))
    grey = rng.integers(0, 255, truth.shape).astype(np.uint8)
    images = {f"{kind}/{n}": a for n in names for kind, a in (("image", grey), ("truth", truth))}
    np.savez_compressed(out / "images.npz", **images)
    return out


def _case(rng, name, label, better):
    dice = 0.5 + 0.1 * better + 0.1 * rng.random()
    counts = {"missed": 0, "lesions": 3, "lesions_found": 2, "false_lesions": int(rng.integers(3))}
    return {"name": name, "label": label, "dice": dice, "hd95_mm": 3.0, "hd95_penalised_mm": 3.0, **counts}


def _point(name, label, threshold):
    found = {0.1: 3, 0.5: 2, 0.9: 1}[threshold]
    counts = {"lesions": 3, "lesions_found": found, "false_lesions": found, "dice": 0.5}
    return {"name": name, "label": label, "threshold": threshold, **counts}


def _epoch(epoch):
    row = {"epoch": epoch, "loss": 1.0, "region": 1.0, "validation_dice": 0.5}
    return {**row, **dict.fromkeys(("region_weight", "boundary_weight"), 1.0), "boundary": 0.1} | {
        "region_gradient": 0.2 + epoch,
        "boundary_gradient": 0.002 + epoch / 9,
    }


def _run(seed, cases):
    facts = {"fold": 0, "seed": seed, "seconds": 1.0, "finished": "2026-01-01 00:00", "hardware": "a machine"}
    return {**facts, "train_cases": 3, "test_cases": cases, "versions": {"torch": "2.0"}}


def _write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
