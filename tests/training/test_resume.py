"""Runs that are killed, and go on as if they had not been."""

import csv
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from datasets import nnunet

from boundaryloss.training.checkpoints import newest_checkpoint, read_checkpoint
from boundaryloss.training.config import TrainConfig, write_config
from boundaryloss.training.errors import UserError
from boundaryloss.training.predict import load_run
from boundaryloss.training.run import load_data, train

CONFIG = TrainConfig(
    epochs=6, batch_size=2, patch=(16, 16, 8), patches_per_case=4, network="dynunet", features=(4, 8, 8),
    augment=("flip", "noise"), validation=0.25, accelerator="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dataset and a run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("resume")
    nnunet(folder / "data")
    start(folder, "run")
    return folder


def start(folder, name, config=CONFIG, **options):
    return train(load_data(str(folder / "data"), config), config, folder / name, **options)


def assert_same(folder, name):
    first, second = (read_checkpoint(folder / run / "checkpoints/last.ckpt") for run in ("run", name))
    for key, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][key]) if torch.is_tensor(value) else True, key
    states = [content["optimizer_states"][0]["state"] for content in (first, second)]
    assert all(torch.equal(states[0][i][key], states[1][i][key]) for i in states[0] for key in states[0][i])
    histories = []
    for run in ("run", name):
        with (folder / run / "metrics.csv").open() as file:
            histories.append([{**row, "seconds": ""} for row in csv.DictReader(file)])
    assert histories[0] == histories[1] and len(histories[0]) == CONFIG.epochs
    assert (folder / "run/cases.csv").read_text() == (folder / name / "cases.csv").read_text()


def killed(folder, name, wait):
    """Start a run in a process of its own, or go on with it, and kill it as soon as `wait` returns."""
    write_config(folder / "c.toml", CONFIG, {})
    arguments = ["train", folder / "data", "--out", folder / name, "--config", folder / "c.toml", "--resume"]
    process = subprocess.Popen(
        [sys.executable, "-m", "boundaryloss.cli", *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip
    wait(process)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def test_train_killed_in_an_epoch_ends_with_the_same_weights(whole):
    metrics, delay = whole / "killed/metrics.csv", random.Random(os.getpid()).uniform(0, 0.3)

    def two_epochs_are_done(process):
        deadline = time.monotonic() + 90
        while not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)

    assert killed(whole, "killed", two_epochs_are_done) == -signal.SIGKILL
    start(whole, "killed", resume=True)
    assert_same(whole, "killed")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_train_killed_again_and_again_ends_with_the_same_weights(whole, seed):
    moments = random.Random(seed)
    for _ in range(8):
        killed(whole, f"killed{seed}", lambda process: time.sleep(moments.uniform(2, 9)))
    start(whole, f"killed{seed}", resume=True)
    assert_same(whole, f"killed{seed}")


class StopError(Exception):
    pass


def stop_after(steps):
    left = [steps]

    def on_step(text):
        left[0] -= 1
        if left[0] < 0:
            raise StopError

    return on_step


@pytest.mark.parametrize("steps", [0, 5, 12, 13, 30])
def test_train_stopped_at_any_step_goes_on(whole, steps):
    name = f"stopped{steps}"
    with pytest.raises(StopError):
        start(whole, name, on_step=stop_after(steps), resume=True)
    start(whole, name, resume=True)
    assert_same(whole, name)


def test_train_resume_of_a_finished_run_tests_it_again(whole):
    (whole / "run/summary.csv").unlink()
    before = (whole / "run/checkpoints/last.ckpt").read_bytes()
    start(whole, "run", on_step=stop_after(0), resume=True)
    assert (whole / "run/summary.csv").exists()
    assert (whole / "run/checkpoints/last.ckpt").read_bytes() == before


def test_train_resume_may_have_more_epochs(whole):
    start(whole, "longer", dataclasses.replace(CONFIG, epochs=3))
    start(whole, "longer", resume=True)
    assert_same(whole, "longer")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "gone"])
def test_train_resume_uses_the_checkpoint_before_a_damaged_one(whole, damage, caplog):
    name = f"damaged-{damage}"
    with pytest.raises(StopError):
        start(whole, name, on_step=stop_after(20))
    last = whole / name / "checkpoints/last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "truncated":
        last.write_bytes(content[:-100])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        last.write_bytes(content)
    elif damage == "empty":
        last.write_bytes(b"")
    else:  # killed between the two renames
        last.unlink()
    assert newest_checkpoint(last.parent)[0].name == "previous.ckpt"
    start(whole, name, resume=True)
    assert (f"{last} is damaged; going on from" in caplog.text) == (damage != "gone")
    assert_same(whole, name)


def test_train_resume_without_any_whole_checkpoint_says_so(whole):
    with pytest.raises(StopError):
        start(whole, "lost", on_step=stop_after(20))
    for path in (whole / "lost/checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.ckpt is damaged.*no whole previous\.ckpt"):
        start(whole, "lost", resume=True)


def test_train_resume_cleans_up_what_a_kill_left(whole):
    (whole / "leftover").mkdir()
    (whole / "leftover/.config.toml.abc").write_text("half")
    start(whole, "leftover", dataclasses.replace(CONFIG, epochs=1), resume=True)
    (whole / "leftover/checkpoints/.last.ckpt.xyz").write_text("half")
    start(whole, "leftover", dataclasses.replace(CONFIG, epochs=1), resume=True)
    assert not list((whole / "leftover/checkpoints").glob(".*"))


def test_train_resume_refuses_another_run(whole):
    with pytest.raises(UserError, match=r"begun with seed = 0, not 1"):
        start(whole, "run", dataclasses.replace(CONFIG, seed=1), resume=True)
    with pytest.raises(UserError, match="exists and is not empty"):
        start(whole, "run")
    with pytest.raises(UserError, match=f"has {CONFIG.epochs} epochs already"):
        start(whole, "run", dataclasses.replace(CONFIG, epochs=1), resume=True)
    data = load_data(str(whole / "data"), CONFIG, test_prefix=["c0"])
    if data.test.names == load_data(str(whole / "data"), CONFIG).test.names:
        data = load_data(str(whole / "data"), CONFIG, test_prefix=["c1"])
    with pytest.raises(UserError, match="begun with other cases"):
        train(data, CONFIG, whole / "run", resume=True)


def test_predict_uses_the_checkpoint_before_a_missing_one(whole):
    with pytest.raises(StopError):
        start(whole, "unlucky", on_step=stop_after(20))
    (whole / "unlucky/checkpoints/last.ckpt").unlink()
    assert load_run(whole / "unlucky")[1] == CONFIG
