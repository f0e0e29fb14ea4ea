import csv
import dataclasses
import errno
import json
import os
import resource
import signal

import numpy as np
import pytest
import torch
from datasets import squares, task

from boundaryloss.files.errors import UserError
from boundaryloss.training.checkpoints import AtomicCheckpointIO, read_checkpoint
from boundaryloss.training.config import TrainConfig, read_config
from boundaryloss.training.data.sampling import Draws
from boundaryloss.training.run import RunData, count_steps, train

TINY = TrainConfig(epochs=2, batch_size=4, features=(4, 4, 4, 4, 4), validation=0.25, accelerator="cpu")


@pytest.fixture
def data() -> RunData:
    return RunData.from_slices(task((0, 255)), squares(8), squares(3))


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_train_leaves_a_complete_run(tmp_path, data):
    steps = []
    summary = train(data, TINY, tmp_path / "run", on_step=steps.append)
    run = tmp_path / "run"
    for name in ("config.toml", "metrics.csv", "cases.csv", "lesions.csv", "summary.csv"):
        assert (run / name).stat().st_size > 0
    assert list((run / "tensorboard").glob("events*")) and len(list((run / "pictures").glob("*.png"))) == 2
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert len(steps) == count_steps(data, TINY) == 4 + 3 and steps[-1] == "test case 3/3"
    assert read_config(run / "config.toml") == TINY
    assert json.loads((run / "splits.json").read_text())["test"] == data.test.names
    assert len(read_rows(run / "cases.csv")) == 3 and summary[0].label == 255
    true = [row for row in read_rows(run / "lesions.csv") if row["outcome"] != "false"]
    assert len(true) == summary[0].lesions


def test_train_logs_both_terms_and_their_weights(tmp_path, data):
    train(data, dataclasses.replace(TINY, weighting="increase"), tmp_path / "run")
    first, second = read_rows(tmp_path / "run/metrics.csv")
    assert first["loss"] == first["region"] and first["boundary"] == ""  # it has no weight yet
    assert float(second["boundary_weight"]) == pytest.approx(0.01)
    total = float(second["region"]) * float(second["region_weight"])
    total += float(second["boundary"]) * float(second["boundary_weight"])
    assert float(second["loss"]) == pytest.approx(total, rel=1e-4)


def test_train_logs_how_hard_both_terms_pull(tmp_path, data):
    train(data, TINY, tmp_path / "both")
    row = read_rows(tmp_path / "both/metrics.csv")[1]
    assert float(row["region_gradient"]) > 0 and float(row["boundary_gradient"]) > 0
    train(data, dataclasses.replace(TINY, loss="gdl"), tmp_path / "one")
    assert all(row["boundary_gradient"] == "" for row in read_rows(tmp_path / "one/metrics.csv"))


def test_train_halves_the_learning_rate_when_nothing_gets_better(tmp_path, data):
    config = dataclasses.replace(TINY, learning_rate=1e-12, epochs=5, halve_after=1)  # it cannot get better
    train(data, config, tmp_path / "run")
    optimizer = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["optimizer_states"][0]
    assert optimizer["param_groups"][0]["lr"] == pytest.approx(0.25e-12)


def test_train_lets_the_learning_rate_fall(tmp_path, data):
    config = dataclasses.replace(TINY, learning_rate=1e-3, decay=True)
    train(data, dataclasses.replace(config, epochs=1), tmp_path / "run")
    train(data, dataclasses.replace(config, epochs=4), tmp_path / "run", resume=True)
    for name, left in (("previous", 0.25), ("last", 0)):
        optimizer = read_checkpoint(tmp_path / f"run/checkpoints/{name}.ckpt")["optimizer_states"][0]
        assert optimizer["param_groups"][0]["lr"] == pytest.approx(1e-3 * left**0.9)


def test_train_is_the_same_for_the_same_seed(tmp_path, data):
    for name in ("a", "b"):
        train(data, TINY, tmp_path / name)
    assert (tmp_path / "a/cases.csv").read_text() == (tmp_path / "b/cases.csv").read_text()
    losses = [[row["loss"] for row in read_rows(tmp_path / name / "metrics.csv")] for name in ("a", "b")]
    assert losses[0] == losses[1]


def test_train_draws_anew_every_epoch(tmp_path, data, monkeypatch):
    keys, draw = [], Draws.__getitem__
    monkeypatch.setattr(Draws, "__getitem__", lambda self, key: keys.append(key) or draw(self, key))
    train(data, TINY, tmp_path / "run")
    assert [epoch for epoch, _ in keys] == [0] * 6 + [1] * 6
    orders = [[position for _, position in keys[start : start + 6]] for start in (0, 6)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == list(range(6))


def test_train_learns_a_square(tmp_path, data):
    config = dataclasses.replace(
        TINY, epochs=25, features=(8, 8, 8, 8, 8), learning_rate=0.01, validation=0.0
    )
    summary = train(data, config, tmp_path / "run")
    assert summary[0].missed == 0 and summary[0].lesion_sensitivity == 1
    assert float(read_rows(tmp_path / "run/cases.csv")[0]["dice"]) > 0.9
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()


def test_train_refuses_a_directory_in_use(tmp_path, data):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not empty"):
        train(data, TINY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_train_stops_when_the_loss_is_no_number(tmp_path, data):
    data.train.images[0][:] = np.nan
    with pytest.raises(UserError, match="the loss is nan in epoch 0; lower learning_rate"):
        train(data, TINY, tmp_path / "run")


def test_train_interrupted_leaves_what_it_has(tmp_path, data):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    steps = []

    def interrupt_in_the_second_epoch(text):
        steps.append(text)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(data, TINY, tmp_path / "run", on_step=interrupt_in_the_second_epoch)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(read_rows(tmp_path / "run/metrics.csv")) == 1
    assert read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["epoch"] == 0  # the last whole one


def test_train_prints_nothing(tmp_path, data, capfd):
    train(data, TINY, tmp_path / "run")
    assert capfd.readouterr() == ("", "")


def test_checkpoint_keeps_the_epoch_of_the_schedule(tmp_path, data):
    train(data, TINY, tmp_path / "run")
    assert read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["state_dict"]["loss._extra_state"][0] == 1


def test_save_checkpoint_that_fails_half_way_leaves_the_old_one(tmp_path):
    path, writer = tmp_path / "last.ckpt", AtomicCheckpointIO()
    writer.save_checkpoint({"epoch": 1, "state_dict": {"w": torch.ones(10)}}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the "disc" is full after 100 kB
    try:
        with pytest.raises(
            UserError, match=r"cannot write the checkpoint .*last\.ckpt.*the previous one is whole"
        ):
            writer.save_checkpoint({"epoch": 2, "state_dict": {"w": torch.ones(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_checkpoint(path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_train_with_a_full_disc_is_one_line_and_keeps_the_last_checkpoint(tmp_path, data, monkeypatch):
    fsync = os.fsync

    def full_in_the_second_epoch(handle):
        if (tmp_path / "run/checkpoints/last.ckpt").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full_in_the_second_epoch)
    with pytest.raises(UserError, match="No space left on device; free some space"):
        train(data, TINY, tmp_path / "run")
    assert sorted(file.name for file in (tmp_path / "run/checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["epoch"] == 0


def test_read_checkpoint_refuses_code(tmp_path):
    torch.save({"config": TINY}, tmp_path / "evil.ckpt")  # an object: only pickle could bring it back
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        read_checkpoint(tmp_path / "evil.ckpt")
