import csv
import dataclasses
import json

import numpy as np
import pytest
from comparisons import found_in
from conftest import EXPERIMENT, write_squares
from datasets import nnunet

from boundaryloss.comparison import run as compare
from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.comparison.run import run_experiment
from boundaryloss.files.errors import UserError
from boundaryloss.report.page import write_report
from boundaryloss.report.store import write_table
from boundaryloss.scoring import case_metrics
from boundaryloss.training.config import write_config
from boundaryloss.training.data.rundata import RunData


@pytest.fixture
def experiment(tmp_path):
    """One quick run: one method, one seed, one fold."""
    write_squares(tmp_path / "data")
    text = EXPERIMENT.replace("seeds = [0, 1]", "seeds = [0]").replace("epochs = 2", "epochs = 1")
    (tmp_path / "experiment.toml").write_text(text)
    whole = read_experiment(tmp_path / "experiment.toml")
    return dataclasses.replace(whole, methods=whole.methods[:1], folds=whole.folds[:1])


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_experiment_makes_a_run_of_every_method_fold_and_seed(comparison):
    names = sorted(path.name for path in (comparison / "runs").iterdir())
    methods, folds, seeds = ("gdl", "gdl-boundary"), (0, 1), (0, 1)
    assert names == sorted(f"{m}-fold{f}-seed{s}" for m in methods for f in folds for s in seeds)


def test_run_experiment_tests_every_case_once_per_seed(comparison):
    for seed in (0, 1):
        names = [
            row["name"]
            for f in (0, 1)
            for row in read_rows(comparison / f"runs/gdl-fold{f}-seed{seed}/cases.csv")
        ]
        assert len(names) == len(set(names)) == 14


def test_run_experiment_groups_the_slices_of_a_patient(comparison):
    facts = json.loads((comparison / "comparison.json").read_text())
    assert facts["groups"]["p3_z0"] == facts["groups"]["p3_z1"] == "p3"
    assert len(set(facts["groups"].values())) == 7


def test_run_experiment_keeps_planes_that_fit_their_images(comparison):
    with (
        np.load(comparison / "images.npz") as images,
        np.load(comparison / "runs/gdl-fold1-seed0/planes.npz") as planes,
    ):
        for name, prediction in planes.items():
            assert prediction.shape == images[f"image/{name}"].shape == images[f"truth/{name}"].shape
            assert images[f"truth/{name}"].max() <= 1


def test_operating_points_at_one_half_are_the_run_s_own_result(comparison):
    run = comparison / "runs/gdl-fold0-seed0"
    half = {row["name"]: row for row in read_rows(run / "operating_points.csv") if row["threshold"] == "0.5"}
    for row in read_rows(run / "cases.csv"):
        for name in ("lesions", "lesions_found", "false_lesions"):
            assert half[row["name"]][name] == row[name]


def test_run_experiment_again_leaves_finished_runs_alone(experiment, tmp_path):
    calls = []
    run_experiment(experiment, tmp_path / "out", progress=lambda *call: calls.append(call))
    assert [done for done, _, _ in calls] == list(range(1, len(calls) + 1)) and calls[-1][1] == len(calls)
    stamp = (tmp_path / "out/runs/gdl-fold0-seed0/run.json").stat().st_mtime_ns
    run_experiment(experiment, tmp_path / "out", progress=lambda *call: pytest.fail(f"trained: {call}"))
    assert (tmp_path / "out/runs/gdl-fold0-seed0/run.json").stat().st_mtime_ns == stamp


def test_run_experiment_makes_an_unfinished_run_again(experiment, tmp_path):
    unfinished = tmp_path / "out/runs/gdl-fold0-seed0"
    run_experiment(experiment, tmp_path / "out")
    (unfinished / "run.json").unlink()
    run_experiment(experiment, tmp_path / "out")
    assert (unfinished / "run.json").exists()


def test_run_experiment_refuses_a_finished_run_on_other_masks(experiment, tmp_path):
    run, data = next(iter(experiment.runs())), RunData.from_phantom(sizes=(1, 1), size=64)
    directory = tmp_path / "runs" / run.name
    directory.mkdir(parents=True)
    (directory / "run.json").write_text('{"seed": 0}')
    (directory / "splits.json").write_text(json.dumps({"train": data.train.names, "test": data.test.names}))
    write_config(directory / "config.toml", run.config, data.task.as_dict())
    scores = case_metrics(np.eye(3, dtype=int), np.eye(3, dtype=int), spacing=1.0)
    write_table(directory / "cases.csv", scores)
    assert compare._is_done(tmp_path, run, data)
    other = dataclasses.replace(data, task=dataclasses.replace(data.task, fingerprint="another"))
    with pytest.raises(UserError, match="made with other settings or data"):
        compare._is_done(tmp_path, run, other)
    table = (directory / "cases.csv").read_text()
    (directory / "cases.csv").write_text(table.replace("contour", "countour"))
    with pytest.raises(UserError, match="no 'contour'; an older version may have written it"):
        compare._is_done(tmp_path, run, data)


def test_run_experiment_refuses_other_settings_in_the_same_place(experiment, tmp_path):
    run_experiment(experiment, tmp_path / "out")
    method = experiment.methods[0]
    longer = dataclasses.replace(method, config=dataclasses.replace(method.config, epochs=2))
    with pytest.raises(UserError, match="gdl-fold0-seed0 was made with other settings or data"):
        run_experiment(dataclasses.replace(experiment, methods=(longer,)), tmp_path / "out")


def test_run_experiment_refuses_a_directory_in_use(experiment, tmp_path):
    with pytest.raises(UserError, match="exists and is not empty"):
        run_experiment(experiment, tmp_path)
    assert not (tmp_path / "runs").exists()


def test_run_experiment_names_the_run_that_failed(experiment, tmp_path):
    method = experiment.methods[0]
    wild = dataclasses.replace(
        method, config=dataclasses.replace(method.config, learning_rate=1e30, epochs=3)
    )
    with pytest.raises(UserError, match="run gdl-fold0-seed0: the loss is nan"):
        run_experiment(dataclasses.replace(experiment, methods=(wild,)), tmp_path / "out")


def test_run_experiment_refuses_a_method_that_does_not_fit_before_the_first_run(experiment, tmp_path):
    method = experiment.methods[-1]
    missing = dataclasses.replace(method, config=dataclasses.replace(method.config, loss="gdl+mine.Loss"))
    with pytest.raises(UserError, match=r"loss mine\.Loss: ModuleNotFoundError"):
        run_experiment(dataclasses.replace(experiment, methods=(method, missing)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_run_experiment_bad_data_leaves_nothing_behind(experiment, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        run_experiment(dataclasses.replace(experiment, data=str(tmp_path / "none")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_run_experiment_in_processes_is_the_same(comparison, tmp_path):
    experiment = read_experiment(comparison.parent / "experiment.toml")
    run_experiment(experiment, tmp_path / "out", jobs=2)
    for run in (comparison / "runs").iterdir():
        assert (tmp_path / "out/runs" / run.name / "cases.csv").read_text() == (run / "cases.csv").read_text()


def test_run_experiment_compares_volumes(tmp_path):
    nnunet(tmp_path / "data", 4, shape=(32, 32, 12))
    text = EXPERIMENT.replace("seeds = [0, 1]", "seeds = [0]").replace("epochs = 2", "epochs = 1")
    text = text.replace("[train]", "[train]\npatch = [32, 32]\ndimensions = 2")
    text = text.replace('[["p0", "p1", "p2"], ["p3", "p4", "p5", "p6"]]', '[["c0", "c1"], ["c2", "c3"]]')
    (tmp_path / "volumes.toml").write_text(text)
    run_experiment(read_experiment(tmp_path / "volumes.toml"), tmp_path / "out")
    with np.load(tmp_path / "out/images.npz") as images:
        assert images["truth/c0"].shape == (32, 32) and images["truth/c0"].any()
    assert "c3" in write_report(*found_in(tmp_path / "out")).read_text()


def test_run_experiment_compares_networks_in_3d(tmp_path):
    nnunet(tmp_path / "data", 4, shape=(32, 32, 16))
    text = EXPERIMENT.replace("seeds = [0, 1]", "seeds = [0]").replace("epochs = 2", "epochs = 1")
    text = text.replace("[train]", '[train]\nnetwork = "dynunet"\npatch = [16, 16, 16]')
    text = text.replace("[4, 4, 4, 4, 4]", "[4, 4, 4]")
    text = text.replace('[["p0", "p1", "p2"], ["p3", "p4", "p5", "p6"]]', "[0, 1]")
    (tmp_path / "volumes.toml").write_text(text)
    run_experiment(read_experiment(tmp_path / "volumes.toml"), tmp_path / "out")
    facts = json.loads((tmp_path / "out/comparison.json").read_text())
    assert facts["folds"] == [0, 1] and len(facts["spacing"]) == 3
    assert write_report(*found_in(tmp_path / "out")).exists()
