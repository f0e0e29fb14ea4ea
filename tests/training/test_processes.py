"""Runs in two processes on the CPU."""

import csv
import dataclasses
import os
import subprocess
import sys

import pytest
from datasets import nnunet

from boundaryloss.training.config import TrainConfig, write_config
from boundaryloss.training.run import load_data, train

CONFIG = TrainConfig(
    loss="ce", epochs=2, patch=(16, 16, 8), patches_per_case=4, network="dynunet", features=(4, 8, 8),
    validation=0.2, augment=("flip",), accelerator="cpu",
)  # fmt: skip


def run(folder, *start, options=()):
    """Steps of four patches, two in each process."""
    name = f"run{len(options)}"
    write_config(folder / "c.toml", dataclasses.replace(CONFIG, batch_size=2), {})
    arguments = ("train", folder / "data", "--out", folder / name, "--config", folder / "c.toml", *options)
    done = subprocess.run(
        [sys.executable, *start, "-m", "boundaryloss.cli", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr  # one bar, of the first process
    return tables(folder / name)


def tables(out):
    return [read_rows(out / name) for name in ("metrics.csv", "cases.csv")]


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    nnunet(folder / "data", 9)  # 7 to train on, of which 1 validates: no two processes share it evenly
    config = dataclasses.replace(CONFIG, batch_size=4)
    train(load_data(str(folder / "data"), config), config, folder / "single")
    return folder, tables(folder / "single")


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
    assert_same(rows, run(folder, options=("--devices", 2)))


@pytest.mark.slow
def test_train_by_torchrun_gives_the_metrics_of_one(single):
    folder, rows = single
    assert_same(rows, run(folder, "-m", "torch.distributed.run", "--nproc-per-node", "2"))
