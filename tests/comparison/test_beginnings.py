import dataclasses
import shutil

import pytest
import torch
from comparisons import found_in
from conftest import EXPERIMENT, write_squares

from boundaryloss.comparison.beginnings import epochs_alone, find_beginnings
from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.comparison.run import run_experiment
from boundaryloss.files import UserError
from boundaryloss.report.page import write_report
from boundaryloss.report.results import read_results
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.run import train

WARM = """
[methods."GDL + warm"]
loss = "gdl+boundary"
form = "log"
weighting = "ratio"
weighting_options = { start = 1, ramp = 1 }
"""


def read_warm(folder, *methods):
    """Two methods that have two of their three epochs in common, and those of `methods`."""
    text = EXPERIMENT.replace("epochs = 2", "epochs = 3").partition('[methods."GDL + boundary"]')[0]
    (folder / "experiment.toml").write_text(text + WARM + "".join(methods))
    whole = read_experiment(folder / "experiment.toml")
    return dataclasses.replace(whole, seeds=(1,), folds=whole.folds[:1])


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({"loss": "gdl"}, 6),
        ({"loss": "boundary"}, 0),
        ({"loss": "mine.Loss"}, 6),
        ({"loss": "mine.Loss+boundary"}, 4),
        ({"weighting": "constant"}, 0),
        ({"weighting": "increase"}, 1),
        ({"weighting": "rebalance"}, 1),
        ({"weighting": "constant", "weighting_options": {"alpha": 0.0}}, 6),
        ({"weighting": "ratio"}, 4),
        ({"weighting": "ratio", "weighting_options": {"start": 0, "ramp": 2}}, 1),
        ({"weighting": "ratio", "weighting_options": {"start": 3, "ramp": 2}}, 4),
        ({"weighting": "ratio", "weighting_options": {"start": 3, "ramp": 0}}, 3),
    ],
)
def test_epochs_alone_are_those_before_the_term_has_a_weight(settings, epochs):
    assert epochs_alone(TrainConfig(epochs=6, **settings)) == epochs


def test_find_beginnings_takes_the_length_that_saves_most(tmp_path):
    early = '[methods."early"]\nloss = "gdl+boundary"\nweighting = "increase"\n'  # one epoch alone
    other = '[methods."other"]\nloss = "dice"\n'
    (beginning,) = find_beginnings(read_warm(tmp_path, early, other))
    assert [run.method.name for run in beginning.runs] == ["GDL", "GDL + warm"]
    assert beginning.epochs == 2
    assert beginning.config.loss == "gdl"


def test_find_beginnings_knows_whose_options_a_loss_from_elsewhere_has(tmp_path):
    power = "loss_options = { power = 2 }\n"
    term = WARM.replace("GDL + warm", "theirs").replace("gdl+boundary", "gdl+mine.Loss") + power
    region = '[methods."region"]\nloss = "mine.Loss"\n' + power
    warm = WARM.replace("GDL + warm", "region, warm").replace("gdl+", "mine.Loss+") + power
    ours, theirs = find_beginnings(read_warm(tmp_path, term, region, warm))
    assert [run.method.name for run in ours.runs] == ["GDL", "GDL + warm", "theirs"]
    assert [run.method.name for run in theirs.runs] == ["region", "region, warm"]
    assert (ours.config.loss_options, theirs.config.loss_options) == ({}, {"power": 2})


def test_find_beginnings_finds_none_where_settings_differ(tmp_path):
    experiment = read_warm(tmp_path, "learning_rate = 0.02\n")
    assert not list(find_beginnings(experiment))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A comparison with a beginning, and its runs trained one by one."""
    folder = tmp_path_factory.mktemp("shared")
    write_squares(folder / "data")
    experiment = read_warm(folder)
    steps = []
    run_experiment(experiment, folder / "out", progress=lambda *step: steps.append(step))
    for run in experiment.runs():
        train(experiment.source(0).load(), run.config, folder / "alone" / run.name)
    return folder, experiment, steps


def test_run_experiment_shares_beginnings_without_a_trace(shared):
    folder, experiment, _ = shared
    for run in experiment.runs():
        one, other = (folder / part / run.name for part in ("out/runs", "alone"))
        for name in ("last.ckpt", "best.ckpt"):
            states = [torch.load(path / "checkpoints" / name, weights_only=True) for path in (one, other)]
            assert states[0]["hyper_parameters"] == states[1]["hyper_parameters"]
            for key in ("state_dict", "optimizer_states", "epoch", "global_step"):
                torch.testing.assert_close(states[0][key], states[1][key], rtol=0, atol=0)
        for name in ("config.toml", "splits.json", "cases.csv", "summary.csv"):
            assert (one / name).read_bytes() == (other / name).read_bytes()
        rows = [(path / "metrics.csv").read_text().splitlines() for path in (one, other)]
        assert [row.rpartition(",")[0] for row in rows[0]] == [row.rpartition(",")[0] for row in rows[1]]


def test_run_experiment_counts_the_steps_of_a_beginning_once(shared):
    _, _, steps = shared
    assert [step[0] for step in steps] == list(range(1, len(steps) + 1))
    assert {step[1] for step in steps} == {len(steps)}
    assert sum("gdl-fold0-seed1-2" in step[2] for step in steps) > 0


@pytest.mark.slow
def test_run_experiment_in_processes_shares_them_too(shared, tmp_path):
    folder, experiment, _ = shared
    steps = []
    run_experiment(experiment, tmp_path / "out", jobs=2, progress=lambda *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1] and "gdl-fold0-seed1-2" in steps[0][2]
    for run in experiment.runs():
        mine, expected = (
            path / "runs" / run.name / "cases.csv" for path in (tmp_path / "out", folder / "out")
        )
        assert mine.read_text() == expected.read_text()


def test_a_report_says_what_was_shared(shared):
    folder, _, _ = shared
    said = "The first 2 epochs of GDL and GDL + warm were trained once for each fold and seed"
    assert said in read_results(folder / "out").shared
    assert said in write_report(*found_in(folder / "out")).read_text()


def test_run_experiment_goes_on_without_its_beginnings(shared, monkeypatch):
    folder, experiment, _ = shared
    shutil.rmtree(folder / "out/beginnings")
    monkeypatch.setattr("boundaryloss.comparison.parts.train", None)  # nothing is trained again
    run_experiment(experiment, folder / "out")


def test_run_experiment_writes_nothing_if_the_run_to_begin_with_is_not_there(shared, tmp_path):
    _, experiment, _ = shared
    methods = [
        dataclasses.replace(m, config=dataclasses.replace(m.config, begin_with=str(tmp_path / "no")))
        for m in experiment.methods
    ]
    with pytest.raises(UserError, match=r"no holds no checkpoints/last\.ckpt"):
        run_experiment(dataclasses.replace(experiment, methods=tuple(methods)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
