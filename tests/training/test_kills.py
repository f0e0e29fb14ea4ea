"""Chains of kills: whatever ends a command, wherever, its next start ends as if nothing had happened.

A chain starts a command again and again, in processes forked from this one, and each gets a signal a few
milliseconds after a random event: a step, a test case, a file begun or moved into its place. So a chain
depends neither on the speed of the machine nor on its load.
"""

import csv
import multiprocessing
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from datasets import write_slices

from boundaryloss import cli
from boundaryloss.training import callbacks
from boundaryloss.training.checkpoints import read_checkpoint

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SETTINGS = """\
epochs = 3
batch_size = 2
features = [4, 4, 4, 4, 4]
augment = ["flip", "noise"]
validation = 0.2
accelerator = "cpu"
loss = "gdl+boundary"
"""
EXPERIMENT = """\
data = "data"
seeds = [0]
[train]
{}
[methods.one]
form = "log"
[methods.two]
epochs = 2
[methods.region]
loss = "gdl"
weighting = "ratio"
[methods.warm]
weighting = "ratio"
weighting_options = {{ start = 1, ramp = 1 }}
"""
fork = multiprocessing.get_context("fork")


def start(arguments, event=None, number=None, delay=0.0, place=None):
    """Run a command in a process of its own that sends itself the signal `number` after so many events."""
    os.environ.update(place or {})
    torch.set_num_threads(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    for one in SIGNALS[1:]:
        signal.signal(one, signal.SIG_DFL if one == signal.SIGTERM else signal.default_int_handler)
    left = [event]

    def after(function):
        def counted(*args, **options):
            result = function(*args, **options)
            left[0] -= 1
            if left[0] == 0:
                threading.Timer(delay, os.kill, (os.getpid(), number)).start()
            return result

        return counted

    if event is not None:
        callbacks.Steps.on_train_batch_end = after(callbacks.Steps.on_train_batch_end)
        callbacks.Steps.on_test_batch_end = after(callbacks.Steps.on_test_batch_end)
        Path.replace = after(Path.replace)
        tempfile.mkstemp = after(tempfile.mkstemp)
    try:
        cli.main(list(map(str, arguments)))
    finally:  # a signal of now did not reach the command
        for one in SIGNALS[1:]:
            signal.signal(one, signal.SIG_IGN)


def run(arguments, processes=1, **kill):
    """The exit status of the command, of its first process if there are two, as torchrun starts them."""
    if processes == 1:
        places = [{}]
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "kills"}
        common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
        places = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    started = [
        fork.Process(target=start, args=(arguments,), kwargs={"place": place, **(kill if not rank else {})})
        for rank, place in enumerate(places)
    ]
    for process in started:
        process.start()
    started[0].join()
    for process in started[1:]:
        if started[0].exitcode != 0:
            process.kill()
        process.join()
    return started[0].exitcode


def contents(out):
    """All tables, without the seconds, and all weights."""
    found = {}
    for path in sorted(out.rglob("*.csv")):
        with path.open(newline="") as file:
            rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
        found[str(path.relative_to(out))] = rows
    for path in sorted(out.rglob("last.ckpt")):
        weights = read_checkpoint(path)["state_dict"]
        found[str(path.relative_to(out))] = {name: value.tolist() for name, value in weights.items()}
    for path in sorted(out.glob("*.png")):
        found[path.name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_slices(tmp_path_factory.mktemp("kills") / "data", 10).parent


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("weighting", ["increase", "ratio"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("command", ["train", "compare", "predict"])
def test_a_chain_of_kills_changes_nothing(
    folder, tmp_path, monkeypatch, command, workers, weighting, processes
):
    if processes == 2 and command != "train":
        pytest.skip("these run in one process")
    settings = f'{SETTINGS}num_workers = {workers}\nweighting = "{weighting}"\n'
    (tmp_path / "c.toml").write_text(settings)
    (tmp_path / "e.toml").write_text(EXPERIMENT.format(settings))
    data, moments = folder / "data", random.Random(f"{command}{workers}{weighting}{processes}")
    commands = {
        "train": ("train", data, "--config", tmp_path / "c.toml", "--resume", "--out"),
        "compare": ("compare", tmp_path / "e.toml", "--data", data, "--out"),
        "predict": ("predict", tmp_path / "run", data / "images", "--out"),
    }
    if command == "predict":
        assert run((*commands["train"], tmp_path / "run")) == 0
    assert run((*commands[command], tmp_path / "whole"), processes) == 0
    out, sent, latest = tmp_path / "out", [], 60 if command == "compare" else 25
    for number in (*SIGNALS, *SIGNALS):
        event, delay = moments.randint(1, latest), moments.choice([0, moments.uniform(0, 0.05)])
        status = run((*commands[command], out), processes, event=event, number=number, delay=delay)
        assert status in (-number, 128 + number, 0)
        done = out / {"train": "summary.csv", "compare": "report.html", "predict": "p9_z0.png"}[command]
        assert status != 0 or done.exists()  # ended before its signal came
        sent.append((event, number.name, status))
        if command == "predict" and out.exists():  # is not resumed
            assert status == 0 or run((*commands[command], out)) in (0, 2)
            shutil.rmtree(out)
    assert run((*commands[command], out), processes) == 0
    assert contents(out) == contents(tmp_path / "whole")
    print(f"\n{command}, {workers} workers, {weighting}, {processes} processes: {sent}, then equal")
