"""Runs in two processes on the CPU.

The learning rate is so small that the weights stay where they were made: a rounding stays a rounding, and
each case, computed by itself from the same weights on one thread, is the same to the last digit.
"""

import csv
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from datasets import write_slices

from boundaryloss.files.errors import UserError
from boundaryloss.training.callbacks import EndTogether
from boundaryloss.training.checkpoints import read_checkpoint
from boundaryloss.training.config import TrainConfig, write_config
from boundaryloss.training.processes import check_devices, is_first_process
from boundaryloss.training.run import load_data, train

CONFIG = TrainConfig(
    loss="ce", epochs=1, batch_size=4, features=(4, 4, 4, 4, 4), patches_per_case=4, validation=0.2,
    augment=("flip",), learning_rate=1e-30, accelerator="cpu",
)  # fmt: skip


def run(folder, name, *start, options=()):
    """Steps of four draws, two in each process."""
    arguments = ("train", folder / "data", "--out", folder / name, "--config", folder / "c.toml", *options)
    done = subprocess.run(
        [sys.executable, *start, "-m", "boundaryloss.cli", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bars = [line for line in done.stderr.splitlines() if "test case" in line]
    assert len(bars) == 1, done.stderr  # of the first process
    return folder / name


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, and a run in one process called `single`."""
    folder, threads = tmp_path_factory.mktemp("processes"), torch.get_num_threads()
    write_slices(folder / "data", 9)  # 7 to train on, of which 1 validates: no two processes share it evenly
    write_config(folder / "c.toml", CONFIG, {})
    (folder / "c.toml").write_text(
        (folder / "c.toml").read_text().replace("batch_size = 4", "batch_size = 2")
    )
    torch.set_num_threads(1)
    train(load_data(str(folder / "data"), CONFIG), CONFIG, folder / "single")
    torch.set_num_threads(threads)
    return folder


def assert_same(single, other):
    for name in ("cases.csv", "lesions.csv"):
        assert (other / name).read_text() == (single / name).read_text()
    mine, theirs = (read_rows(path / "metrics.csv")[0] for path in (other, single))
    assert mine["validation_dice"] == theirs["validation_dice"]
    # sums of a thousand pixels, in another order: some roundings of float32
    assert float(mine["loss"]) == pytest.approx(float(theirs["loss"]), rel=1e-5)
    means, others = (
        read_checkpoint(path / "checkpoints/last.ckpt")["optimizer_states"][0]["state"]
        for path in (other, single)
    )
    for index, state in means.items():  # the running mean of the gradients
        scale = float(others[index]["exp_avg"].abs().max())
        torch.testing.assert_close(
            state["exp_avg"], others[index]["exp_avg"], rtol=0, atol=1e-4 * scale + 1e-7
        )


def test_train_in_two_processes_gives_the_metrics_of_one(folder):
    assert_same(folder / "single", run(folder, "two", options=("--devices", 2)))


@pytest.mark.slow
def test_train_by_torchrun_gives_the_metrics_of_one(folder):
    start = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    assert_same(folder / "single", run(folder, "torchrun", *start))


def test_end_together_kills_the_others_before_their_watcher_sees_it():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=[child])))
    EndTogether().on_exception(trainer, None, KeyboardInterrupt())
    assert child.wait() == -signal.SIGKILL and trainer.strategy.launcher.procs == []
    child.stdin.close()
    trainer.strategy.launcher = None  # one process
    EndTogether().on_exception(trainer, None, KeyboardInterrupt())


@pytest.mark.parametrize(
    ("places", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "3"}, True),  # torchrun inside of Slurm
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "2"}, False),
    ],
)
def test_is_first_process_however_they_were_started(monkeypatch, places, first):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first


def test_check_devices_refuses_what_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match='accelerator = "gpu": torch finds no such device'):
        check_devices(TrainConfig(accelerator="gpu"))
    check_devices(TrainConfig(accelerator="cpu", devices=64))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(TrainConfig(accelerator="gpu", devices=2))
    with pytest.raises(UserError, match="devices = 3: this machine has 2; give as many or fewer"):
        check_devices(TrainConfig(devices=3))
