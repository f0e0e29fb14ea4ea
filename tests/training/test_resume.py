"""Runs that are stopped, and go on as if they had not been."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from datasets import squares, task, write_slices
from PIL import Image

from boundaryloss.files.directories import locked
from boundaryloss.files.errors import UserError
from boundaryloss.training.checkpoints import AtomicCheckpointIO, newest_checkpoint, read_checkpoint
from boundaryloss.training.config import TrainConfig, read_config, write_config
from boundaryloss.training.run import RunData, load_data, train
from boundaryloss.training.trained import load_run

CONFIG = TrainConfig(
    epochs=3, batch_size=2, features=(4, 4, 4, 4, 4), validation=0.25, augment=("flip", "noise"),
    accelerator="cpu",
)  # fmt: skip
STEPS = 3  # in an epoch
VARIANTS = {
    "workers": {"num_workers": 2, "weighting": "ratio", "form": "log"},
    "ratio": {"weighting": "ratio", "decay": True, "accumulate": 2, "precision": "bf16-mixed"},
    "halving": {"halve_after": 1, "learning_rate": 1e-12, "accumulate": 2},  # it cannot get better
}


@pytest.fixture(scope="module")
def data():
    return RunData.from_slices(task((0, 255)), squares(8), squares(3))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that nothing has interrupted, to read only."""
    folder = tmp_path_factory.mktemp("whole")
    train(data, CONFIG, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def half(data, tmp_path_factory):
    """A run that was stopped in its last epoch, to copy."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.raises(StopError):
        train(data, CONFIG, folder / "run", on_step=stop_after(2 * STEPS + 1))
    return folder / "run"


class StopError(Exception):
    pass


def stop_after(steps):
    left = [steps]

    def on_step(text):
        left[0] -= 1
        if left[0] < 0:
            raise StopError

    return on_step


def content(run):
    """What must be equal, bit for bit."""
    checkpoint = read_checkpoint(run / "checkpoints/last.ckpt")
    names = ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers")
    with (run / "metrics.csv").open() as file:
        history = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return {
        **{name: checkpoint[name] for name in names},
        "metrics.csv": history,
        "cases.csv": (run / "cases.csv").read_text(),
    }


def differences(one, other, where=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, (list, tuple)) and len(one) == len(other):
        return [found for i in range(len(one)) for found in differences(one[i], other[i], f"{where}/{i}")]
    return [] if (torch.equal(one, other) if torch.is_tensor(one) else one == other) else [where]


def assert_same(run, other):
    assert differences(content(run), content(other)) == []


@pytest.mark.parametrize("steps", [0, STEPS, 3 * STEPS - 1])
def test_train_stopped_at_any_step_goes_on(data, whole, tmp_path, steps):
    with pytest.raises(StopError):
        train(data, CONFIG, tmp_path / "run", on_step=stop_after(steps), resume=True)
    train(data, CONFIG, tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("variant", VARIANTS)
def test_train_stopped_goes_on_however_it_is_configured(data, tmp_path, variant):
    config = dataclasses.replace(CONFIG, **VARIANTS[variant])
    train(data, config, tmp_path / "whole")
    with pytest.raises(StopError):
        train(data, config, tmp_path / "run", on_step=stop_after(STEPS + 1))
    train(data, config, tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_train_resume_of_a_finished_run_tests_it_again(data, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    (run / "summary.csv").unlink()
    before = (run / "checkpoints/last.ckpt").read_bytes()
    steps = []
    train(data, CONFIG, run, on_step=steps.append, resume=True)
    assert steps == [f"test case {number}/3" for number in (1, 2, 3)]
    assert (run / "summary.csv").exists() and (run / "checkpoints/last.ckpt").read_bytes() == before


def test_train_resume_may_have_more_epochs(data, whole, tmp_path):
    train(data, dataclasses.replace(CONFIG, epochs=1), tmp_path / "run")
    train(data, CONFIG, tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole)
    assert read_config(tmp_path / "run/config.toml") == CONFIG


def test_train_resume_refuses_a_length_that_would_move_the_boundary_term(data, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=2, weighting_options={"ramp": 0})
    train(data, config, tmp_path / "run")
    longer = dataclasses.replace(config, epochs=6)
    with pytest.raises(UserError, match="with the boundary term after 0; in a run of 6 it comes after 3"):
        train(data, longer, tmp_path / "run", resume=True)
    alone = dataclasses.replace(config, loss="gdl")
    train(data, alone, tmp_path / "alone")
    train(data, dataclasses.replace(alone, epochs=3), tmp_path / "alone", resume=True)


def damaged(content, how):
    if how == "truncated":
        return content[:-100]
    if how == "flipped":
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return b""


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty"])
def test_newest_checkpoint_is_the_one_before_a_damaged_one(tmp_path, how):
    last, writer = tmp_path / "last.ckpt", AtomicCheckpointIO()
    for epoch in range(2):
        writer.save_checkpoint({"epoch": epoch, "weights": torch.rand(1000)}, last)
    assert newest_checkpoint(tmp_path) == (last, None)
    last.write_bytes(damaged(last.read_bytes(), how))
    assert newest_checkpoint(tmp_path) == (tmp_path / "previous.ckpt", last)
    assert read_checkpoint(tmp_path / "previous.ckpt")["epoch"] == 0
    (tmp_path / "previous.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match=r"last\.ckpt is damaged.*no whole previous\.ckpt"):
        newest_checkpoint(tmp_path)


def test_newest_checkpoint_is_the_one_before_a_missing_one(tmp_path):
    assert newest_checkpoint(tmp_path) == (None, None)
    AtomicCheckpointIO().save_checkpoint({"epoch": 0}, tmp_path / "previous.ckpt")  # killed at a rename
    assert newest_checkpoint(tmp_path) == (tmp_path / "previous.ckpt", None)


def test_train_resume_goes_on_from_the_checkpoint_before(data, whole, half, tmp_path, caplog):
    run = shutil.copytree(half, tmp_path / "run")
    last = run / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    (run / "checkpoints/.last.ckpt.xyz").write_text("half")  # what a kill left
    (run / "metrics.csv").write_text("damaged")
    train(data, CONFIG, run, resume=True)
    assert f"{last} is damaged; going on from" in caplog.text
    assert not list((run / "checkpoints").glob(".*"))
    assert_same(run, whole)


def test_load_run_takes_the_checkpoint_before_a_missing_one(half, tmp_path):
    run = shutil.copytree(half, tmp_path / "run")
    (run / "checkpoints/last.ckpt").unlink()
    assert load_run(run)[1] == CONFIG


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "begun with seed = 0, not 1"),
        ({"learning_rate": 0.1}, "begun with learning_rate = 0.001, not 0.1"),
        ({"epochs": 1}, "has 2 epochs already"),
    ],
)
def test_train_resume_refuses_other_settings(data, half, tmp_path, change, words):
    run, changed = shutil.copytree(half, tmp_path / "run"), dataclasses.replace(CONFIG, **change)
    write_config(run / "config.toml", changed, {})  # what counts is what the checkpoint was trained with
    with pytest.raises(UserError, match=words):
        train(data, changed, run, resume=True)
    with pytest.raises(UserError, match="exists and is not empty"):
        train(data, CONFIG, run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label_values": (0, 3)}, r"begun with data whose label_values was \(0, 255\), not \(0, 3\)"),
        ({"fingerprint": "b"}, "begun with other images, masks or cases"),
    ],
)
def test_train_resume_refuses_other_data(data, half, tmp_path, change, words):
    run = shutil.copytree(half, tmp_path / "run")
    other = dataclasses.replace(data, task=dataclasses.replace(data.task, **change))
    with pytest.raises(UserError, match=words):
        train(other, CONFIG, run, resume=True)


def test_train_resume_refuses_a_checkpoint_without_its_keys(data, half, tmp_path):
    run = shutil.copytree(half, tmp_path / "run")
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}}, run / "checkpoints/last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt is no checkpoint of this program"):
        train(data, CONFIG, run, resume=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, None) for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step")),
        ("pytorch-lightning_version", None),
        ("state_dict", {"weights": torch.zeros(3)}),
    ],
)
def test_train_resume_refuses_a_checkpoint_that_lacks_a_part(data, half, tmp_path, key, value):
    path = shutil.copytree(half, tmp_path / "run") / "checkpoints/last.ckpt"
    content = {**read_checkpoint(path), key: value}
    AtomicCheckpointIO().save_checkpoint({k: v for k, v in content.items() if v is not None}, path)
    with pytest.raises(UserError, match=r"last\.ckpt does not hold all that a run goes on with"):
        train(data, CONFIG, tmp_path / "run", resume=True)


def test_a_run_of_another_version_is_refused_with_its_name(data, half, tmp_path):
    path = shutil.copytree(half, tmp_path / "run") / "checkpoints/last.ckpt"
    content = read_checkpoint(path)
    del content["hyper_parameters"]["task"]["windows"]
    AtomicCheckpointIO().save_checkpoint(content, path)
    for use in (
        lambda: load_run(tmp_path / "run"),
        lambda: train(data, CONFIG, tmp_path / "run", resume=True),
    ):
        with pytest.raises(UserError, match=r"last\.ckpt was made by another version .*lacks 'windows'"):
            use()


def test_train_resume_refuses_a_directory_in_use(data, half):
    with locked(half), pytest.raises(UserError, match="run is in use by another command"):
        train(data, CONFIG, half, resume=True)


def test_load_data_fingerprint_is_of_the_contents(tmp_path):
    folder = write_slices(tmp_path / "data")
    before = load_data(str(folder), CONFIG).task.fingerprint
    (folder / "masks/p1_z0.png").touch()
    shutil.copytree(folder, tmp_path / "copy")
    assert load_data(str(tmp_path / "copy"), CONFIG).task.fingerprint == before != ""
    assert load_data(str(folder), CONFIG, test_prefix=["p5"]).task.fingerprint != before
    with Image.open(folder / "masks/p1_z0.png") as mask:
        array = np.array(mask)
    array[0, 0] = 3
    Image.fromarray(array).save(folder / "masks/p1_z0.png")
    assert load_data(str(folder), CONFIG).task.fingerprint != before
