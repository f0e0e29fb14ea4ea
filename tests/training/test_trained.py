import dataclasses
import logging
import sys

import pytest
import torch
from datasets import squares, task

from boundaryloss.files import UserError
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.run import RunData, train
from boundaryloss.training.trained import load_run

TINY = TrainConfig(epochs=1, loss="gdl", features=(4, 4, 4, 4, 4), validation=0.0, accelerator="cpu")
STILL = dataclasses.replace(TINY, learning_rate=1e-12)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "run"
    train(RunData.from_slices(task((0, 255)), squares(8), squares(3)), TINY, out)
    return out


@pytest.fixture
def data():
    return RunData.from_slices(task((0, 255)), squares(4), squares(2))


def weights(run):
    return torch.cat([weight.flatten() for weight in load_run(run)[0].network.parameters()])


def test_train_begins_with_the_weights_of_another_run(run, data, tmp_path):
    train(data, STILL, tmp_path / "chance")
    train(data, dataclasses.replace(STILL, begin_with=str(run), seed=7), tmp_path / "warm")
    assert not torch.allclose(weights(tmp_path / "chance"), weights(run))
    torch.testing.assert_close(weights(tmp_path / "warm"), weights(run))


def test_load_run_needs_no_loss_from_elsewhere(data, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def loss(logits, labels, power):\n    return logits.pow(power).mean()\n"
    )
    config = dataclasses.replace(TINY, loss="mine.loss", loss_options={"power": 2})
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        train(data, config, tmp_path / "run")
    del sys.modules["mine"]
    with pytest.raises(UserError, match="No module named 'mine'"):
        train(data, config, tmp_path / "again")
    assert load_run(tmp_path / "run")[1] == config


def test_train_stopped_in_its_first_epoch_begins_with_them_again(run, data, tmp_path):
    config = dataclasses.replace(STILL, begin_with=str(run))

    def stop(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, config, tmp_path / "run", on_step=stop)
    train(data, config, tmp_path / "run", resume=True)
    torch.testing.assert_close(weights(tmp_path / "run"), weights(run))


def test_train_warns_of_tested_cases_that_the_other_run_was_trained_on(run, data, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "boundaryloss"):
        train(data, dataclasses.replace(STILL, begin_with=str(run)), tmp_path / "run")
    assert "was trained on 2 of the 2 cases to test on here" in caplog.text


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (
            {"features": (4, 4, 4, 4, 8)},
            (0, 255),
            r"was trained with features = \[4, 4, 4, 4, 4\], not \[4, 4, 4, 4, 8\]",
        ),
        ({}, (0, 1), "whose label_values were"),
        ({"begin_with": "nowhere"}, (0, 255), "holds no checkpoints/last.ckpt"),
    ],
)
def test_train_refuses_weights_of_another_kind(run, tmp_path, settings, values, message):
    data = RunData.from_slices(task(values), squares(4), squares(2))
    config = dataclasses.replace(STILL, **{"begin_with": str(run), **settings})
    with pytest.raises(UserError, match=message):
        train(data, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
