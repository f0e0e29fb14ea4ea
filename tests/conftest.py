"""What several rooms' tests need: Triton's interpreter where there is no GPU; a comparison, trained once."""

import os
import signal

import numpy as np
import pytest

EXPERIMENT = """\
title = "Squares & <circles>"
data = "data"
seeds = [0, 1]
folds = [["p0", "p1", "p2"], ["p3", "p4", "p5", "p6"]]

[train]
epochs = 2
features = [4, 4, 4, 4, 4]
learning_rate = 0.01
validation = 0.25
accelerator = "cpu"

[methods."GDL"]
loss = "gdl"

[methods."GDL + boundary"]
loss = "gdl+boundary"
weighting = "constant"
"""


def pytest_collectstart():
    """Before the first test is imported, in each worker; the process that leads them loads nothing heavy."""
    import torch

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported


def write_squares(folder):
    """Seven patients of two slices each, a bright square in all but the last slice."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(14):
        mask = np.zeros((32, 32), np.uint8)
        if index < 13:
            mask[8:16, 4 + index : 12 + index] = 3
        image = np.where(mask > 0, 220, rng.integers(0, 60, (32, 32))).astype(np.uint8)
        Image.fromarray(image).save(folder / f"images/p{index // 2}_z{index % 2}.png")
        Image.fromarray(mask).save(folder / f"masks/p{index // 2}_z{index % 2}.png")


@pytest.fixture
def heeded(monkeypatch):
    """Signals that reach this process, which as a job in the background ignores some, and time to obey."""
    from boundaryloss import signals

    monkeypatch.setattr(signals, "GRACE", 3600.0)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in signals.SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def comparison(tmp_path_factory):
    """The directory of a finished comparison, to read only, with its experiment.toml beside it."""
    from boundaryloss.comparison.experiment import read_experiment
    from boundaryloss.comparison.run import run_experiment

    folder = tmp_path_factory.mktemp("comparison")
    write_squares(folder / "data")
    (folder / "experiment.toml").write_text(EXPERIMENT)
    run_experiment(read_experiment(folder / "experiment.toml"), folder / "out")
    return folder / "out"
