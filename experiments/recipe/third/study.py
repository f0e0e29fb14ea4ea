"""Runs one comparison of the study, and keeps one small table of every run: tables.py makes the rest of them.

    python study.py NAME DATA RUNS [--jobs 2] [--seeds 10 11]

NAME is sirst, ms_lesions or hippocampus, DATA its folder (build_data.py), RUNS a folder for the runs. What is
done is not done again: stop it whenever you like and call it again. results/NAME/RUN.csv has a row for every
patient (or sequence), label and threshold: sums over its cases.
"""

import argparse
import csv
import re
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.comparison.run import run_experiment
from boundaryloss.files import class_indices, read_toml
from boundaryloss.files.read import read_label_map
from boundaryloss.scoring import THRESHOLDS, case_metrics, operating_points
from boundaryloss.training.predict import predict

HERE = Path(__file__).parent
UNIT = {  # drawn anew in the bootstrap
    "sirst": r"([^_]*_?[^_]*)",
    "ms_lesions": r"(p\d+)",
    "hippocampus": r"(.*)",
}
AT = {"sirst": THRESHOLDS, "ms_lesions": THRESHOLDS, "hippocampus": (0.5,)}
COLUMNS = ("cases", "lesions", "found", "false", "hd95_penalised", "with_truth", "dice")


def score(name: str, data: Path, run: Path, result: Path) -> None:
    """Predict what the run was tested on, and write the sums."""
    torch.set_num_threads(1)
    sums = defaultdict(lambda: np.zeros(len(COLUMNS)))
    values = read_toml(run / "config.toml")["data"]["label_values"]
    with tempfile.TemporaryDirectory() as folder:
        predict(run, data, Path(folder) / "out", split="test", probabilities=True)
        for path in sorted((Path(folder) / "out/probabilities").glob("*.npz")):
            probabilities = np.load(path)["probabilities"]
            (mask,) = (data / "masks").glob(f"{path.stem}.*")
            labels, spacing = read_label_map(mask)
            truth = class_indices(labels, values)
            unit = re.match(UNIT[name], path.stem)[1]
            for point in operating_points(probabilities, truth):
                if point.threshold in AT[name]:
                    found = probabilities[point.label] > point.threshold
                    (row,) = case_metrics(found, truth == point.label, {1: (1,)}, spacing=spacing)
                    there = point.lesions > 0
                    sums[unit, point.label, point.threshold] += (
                        1, point.lesions, point.lesions_found, point.false_lesions,
                        row.hd95_penalised_mm, there,
                        point.dice if there else 0.0,
                    )  # fmt: skip
    result.parent.mkdir(parents=True, exist_ok=True)
    partial = result.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["unit", "label", "threshold", *COLUMNS])
        for key, values in sums.items():
            writer.writerow([*key, *(f"{value:.5g}" for value in values)])
    partial.rename(result)


def main() -> None:
    """Seed by seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=UNIT)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", help="only these of the file's")
    given = parser.parse_args()
    whole = read_experiment(HERE / f"{given.name}.toml", str(given.data))
    for seed in given.seeds or whole.seeds:
        experiment = replace(whole, seeds=(seed,))
        results = {run.name: HERE / "results" / given.name / f"{run.name}.csv" for run in experiment.runs()}
        if all(path.exists() for path in results.values()):
            continue
        out = given.runs / given.name / f"seed{seed}"
        print(out, flush=True)
        run_experiment(experiment, out, jobs=given.jobs)
        with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
            waiting = [
                pool.submit(score, given.name, given.data, out / "runs" / name, path)
                for name, path in results.items()
                if not path.exists()
            ]
            for future in waiting:
                future.result()


if __name__ == "__main__":
    main()
