"""Runs in two processes on the CPU."""

import csv
import dataclasses
import os
import subprocess
import sys

import pytest
from datasets import nnunet

from boundaryloss.training.config import TrainConfig, write_config

CONFIG = TrainConfig(
    loss="ce", epochs=2, patch=(16, 16, 8), patches_per_case=4, network="dynunet", features=(4, 8, 8),
    validation=0.2, augment=("flip",), accelerator="cpu",
)  # fmt: skip


def run(folder, name, batch_size, *start, options=()):
    """Both have steps of four patches: four in one process, or two in each of two."""
    write_config(folder / f"{name}.toml", dataclasses.replace(CONFIG, batch_size=batch_size), {})
    arguments = (
        "train",
        folder / "data",
        "--out",
        folder / name,
        "--config",
        folder / f"{name}.toml",
        *options,
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *start, "-m", "boundaryloss.cli", *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr  # one bar, of the first process
    return [read_rows(folder / name / table) for table in ("metrics.csv", "cases.csv")]


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    nnunet(folder / "data", 9)  # 7 to train on, of which 1 validates: no two processes share it evenly
    return folder, run(folder, "single", 4)


def assert_same(single, other):
    metrics, cases = other
    for mine, theirs in zip(metrics, single[0], strict=True):
        for name in ("loss", "region", "validation_dice"):
            assert float(mine[name]) == pytest.approx(float(theirs[name]), rel=1e-4)
    assert [row["name"] for row in cases] == [row["name"] for row in single[1]]
    for mine, theirs in zip(cases, single[1], strict=True):
        assert float(mine["dice"]) == pytest.approx(float(theirs["dice"]), rel=1e-3)


def test_train_in_two_processes_gives_the_metrics_of_one(single):
    folder, rows = single
    assert_same(rows, run(folder, "double", 2, options=("--devices", 2)))


@pytest.mark.slow
def test_train_by_torchrun_gives_the_metrics_of_one(single):
    folder, rows = single
    assert_same(rows, run(folder, "torchrun", 2, "-m", "torch.distributed.run", "--nproc-per-node", "2"))
