"""Why does the average precision of pixels fall on microaneurysms? At which recall, and at which pixels.

    python average_precision.py IDRID_TILES RUNS [--jobs 2]

Trains microaneurysms.toml (what is done is not done again) and writes results/average_precision.csv: a row
for every run. Precision and recall count the pixels of all test images together.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from scipy import ndimage

from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.comparison.run import run_experiment
from boundaryloss.files.read import read_label_map
from boundaryloss.training.predict import predict

HERE = Path(__file__).parent
RIM = 2  # pixels on either side of the outline that "without_rim" leaves out
PARTS = ((0, 0.5), (0.5, 0.8), (0.8, 1))  # of the recall


def precision_recall(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at every score that occurs, from the highest down; ties count together."""
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    return hits[last] / (last + 1), hits[last] / hits[-1]


def area(precision: np.ndarray, recall: np.ndarray, low: float = 0, high: float = 1) -> float:
    """Average precision, or its part between two recalls: precision times what recall gains, summed."""
    steps = np.diff(np.clip(recall, low, high), prepend=low)
    return float((precision * steps).sum())


def measure(run: Path, data: Path) -> dict[str, float]:
    """What the run's probabilities of the test images tell."""
    scores, truths, rims = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        predict(run, data, Path(folder) / "out", split="test", probabilities=True)
        for path in sorted((Path(folder) / "out/probabilities").glob("*.npz")):
            scores.append(np.load(path)["probabilities"][1].ravel())
            (mask,) = (data / "masks").glob(f"{path.stem}.*")
            truth = read_label_map(mask)[0] == 1
            inside, outside = (ndimage.distance_transform_edt(side) for side in (truth, ~truth))
            truths.append(truth.ravel())
            rims.append(((inside + outside) <= RIM).ravel())
    score, truth, rim = (np.concatenate(parts) for parts in (scores, truths, rims))
    curve = precision_recall(score, truth)
    far = precision_recall(score[~(rim & ~truth)], truth[~(rim & ~truth)])
    return {
        "average_precision": area(*curve),
        **{f"recall_{low:g}_{high:g}": area(*curve, low, high) for low, high in PARTS},
        "without_rim": area(*far),
        "highest_tied": float((score == score.max()).mean()),
        "recall_at_half": float(truth[score > 0.5].sum() / truth.sum()),
        "precision_at_half": float(truth[score > 0.5].mean()),
        "recall_at_hundredth": float(truth[score > 0.01].sum() / truth.sum()),
        "precision_at_hundredth": float(truth[score > 0.01].mean()),
    }


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    experiment = read_experiment(HERE / "microaneurysms.toml", str(given.data))
    out = given.runs / "microaneurysms"
    run_experiment(experiment, out, jobs=given.jobs)
    rows = [
        {"method": run.method.name, "seed": run.seed, **measure(out / "runs" / run.name, given.data)}
        for run in experiment.runs()
    ]
    with (HERE / "results/average_precision.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


if __name__ == "__main__":
    main()
