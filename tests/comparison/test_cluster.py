"""Runs on a Dask cluster whose workers are threads of this process, and train only in the slow test."""

import dataclasses
import errno
import json
import os
import signal
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from conftest import EXPERIMENT

from boundaryloss.comparison import cluster
from boundaryloss.comparison.cluster import Place, connected, train_on_cluster
from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.comparison.plan import find_plan, group
from boundaryloss.comparison.run import run_experiment
from boundaryloss.files import UserError

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # of Dask and what it stands on
WARM = """
[methods.warm]
loss = "gdl+boundary"
weighting = "ratio"
weighting_options = { start = 1, ramp = 0 }
"""


@pytest.fixture(scope="module")
def address():
    options = {"processes": False, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, **options) as started:
        yield started.scheduler_address


@pytest.fixture
def experiment(tmp_path):
    (tmp_path / "e.toml").write_text(EXPERIMENT.replace('"data"', '"phantom"').replace("folds", "#") + WARM)
    return read_experiment(tmp_path / "e.toml")


class Trainer:
    """Takes the place of training: counts, and fails as often as `failing` says of a name."""

    def __init__(self, monkeypatch, **failing):
        self.failing, self.tried, self.ended = failing, Counter(), []
        monkeypatch.setattr(cluster, "train_part", self)

    def __call__(self, source, out, part, beginning, on_step):
        self.tried[part.name] += 1
        for error, times in self.failing.get(part.name.replace("-", "_"), ()):
            if self.tried[part.name] <= times:
                raise error
        if beginning is not None:
            assert beginning.name in self.ended
        on_step("a step")
        self.ended.append(part.name)


def train(address, experiment, out):
    """The names of what was trained, in turn, and the error at the end."""
    done = []
    with connected(address) as client:
        try:
            for part in train_on_cluster(client, experiment, out, group(*find_plan(experiment))):
                done.append(part.name)
        except UserError as error:
            return done, str(error)
    return done, None


def test_train_on_cluster_trains_every_part_after_its_beginning(address, experiment, tmp_path, monkeypatch):
    trainer = Trainer(monkeypatch)
    done, error = train(address, experiment, tmp_path)
    assert error is None and sorted(done) == sorted(trainer.ended)
    assert set(trainer.tried.values()) == {1} and len(done) == 6 + 2
    assert [path.name for path in tmp_path.iterdir()] == ["e.toml"]


def test_train_on_cluster_names_what_fails_twice_and_goes_on(address, experiment, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    mistake = UserError("run gdl-boundary-fold0-seed1: the loss is nan")
    trainer = Trainer(
        monkeypatch,
        gdl_boundary_fold0_seed0=[(full, 9)],
        gdl_boundary_fold0_seed1=[(mistake, 9)],
        warm_fold0_seed1=[(full, 1)],
    )
    done, error = train(address, experiment, tmp_path)
    assert len(done) == 6 and not [name for name in done if name.startswith("gdl-boundary")]
    assert error.startswith("2 runs failed: ") and "All others are done" in error
    assert "gdl-boundary-fold0-seed0 (OSError: [Errno 28] No space left on device)" in error
    assert "gdl-boundary-fold0-seed1 (the loss is nan)" in error
    tried = {name: times for name, times in trainer.tried.items() if times > 1}
    assert tried == {"gdl-boundary-fold0-seed0": 2, "warm-fold0-seed1": 2}  # a mistake is not tried again


@pytest.mark.parametrize("error", [UserError("run gdl-fold0-seed0-1: broken"), RuntimeError("broken")])
def test_train_on_cluster_names_the_runs_of_a_beginning_that_fails(
    address, experiment, tmp_path, monkeypatch, error
):
    trainer = Trainer(monkeypatch, gdl_fold0_seed0_1=[(error, 9)])
    done, said = train(address, experiment, tmp_path)
    assert said.startswith("2 runs failed: gdl-fold0-seed0, warm-fold0-seed0 (") and "broken" in said
    assert len(done) == 5 and "warm-fold0-seed0" not in trainer.tried


def test_train_on_cluster_leaves_alone_what_a_lost_worker_finished(
    address, experiment, tmp_path, monkeypatch
):
    (tmp_path / "runs/gdl-fold0-seed0").mkdir(parents=True)
    (tmp_path / "runs/gdl-fold0-seed0/run.json").write_text('{"seed": 0}')
    trainer = Trainer(monkeypatch)
    done, _ = train(address, experiment, tmp_path)
    assert "gdl-fold0-seed0" in done and "gdl-fold0-seed0" not in trainer.tried


def test_a_training_that_nobody_waits_for_stops_at_its_next_step(address, experiment, tmp_path, monkeypatch):
    begun, stopped = threading.Event(), threading.Event()

    def endless(source, out, part, beginning, on_step):
        begun.set()
        try:
            while not stopped.wait(0.001):
                on_step("a step")
        finally:
            stopped.set()

    monkeypatch.setattr(cluster, "train_part", endless)
    with pytest.raises(KeyboardInterrupt), connected(address) as client:
        monkeypatch.setattr(distributed, "as_completed", lambda futures: begun.wait() and interrupt())
        next(train_on_cluster(client, experiment, tmp_path, group(*find_plan(experiment))))
    assert stopped.wait(60)


def interrupt():
    raise KeyboardInterrupt


def test_a_worker_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    place = Place(tmp_path, str(tmp_path), tmp_path / "sign", "0", 0)
    place = dataclasses.replace(place, version=cluster.importlib.metadata.version("boundaryloss"))
    place.sign.touch()
    one, many = (SimpleNamespace(state=SimpleNamespace(nthreads=number)) for number in (1, 4))
    assert place.misfit(one) is None
    assert "has 4 threads" in place.misfit(many)
    for change, words in (
        ({"version": "0.0"}, "another version of boundaryloss; install 0.0"),
        ({"sign": tmp_path / "none"}, "--out must lie on a file system that all workers share"),
        ({"data": str(tmp_path / "none")}, "the data must lie on"),
    ):
        assert words in dataclasses.replace(place, **change).misfit(one)
    monkeypatch.setattr(cluster.multiprocessing, "current_process", lambda: SimpleNamespace(daemon=True))
    assert "num_workers = 2" in dataclasses.replace(place, num_workers=2).misfit(one)


def test_train_on_cluster_names_the_worker_that_does_not_fit(address, experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(Place, "misfit", lambda place, worker: "is of no use")
    trainer = Trainer(monkeypatch)
    done, error = train(address, experiment, tmp_path)
    assert error.startswith("worker inproc://") and error.endswith(" is of no use")
    assert not done and not trainer.tried


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tcp://127.0.0.1:9", "no Dask scheduler answers at tcp://127.0.0.1:9"),
        ("nothing://here", "no Dask scheduler answers at nothing://here"),
        ("none.json", "none.json is no scheduler file of Dask"),
        ("list.json", "is no scheduler file of Dask; give one, or an address such as tcp://"),
    ],
)
def test_run_experiment_without_a_scheduler_writes_nothing(experiment, tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "TIMEOUT", 0.1)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(UserError, match=words):
        run_experiment(experiment, tmp_path / "out", cluster=given)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_run_experiment_with_a_worker_killed_is_the_same(comparison, tmp_path):
    experiment = read_experiment(comparison.parent / "experiment.toml")
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, **options) as started:
        (tmp_path / "scheduler.json").write_text(json.dumps({"address": started.scheduler_address}))
        pids, calls = [worker.pid for worker in started.workers.values()], []

        def progress(*call):
            calls.append(call)
            if len(calls) == 3:
                os.kill(pids[0], signal.SIGKILL)

        run_experiment(
            experiment, tmp_path / "out", cluster=str(tmp_path / "scheduler.json"), progress=progress
        )
    assert calls[-1][0] == calls[-1][1]
    for run in (comparison / "runs").iterdir():
        for name in ("cases.csv", "operating_points.csv", "summary.csv"):
            assert (tmp_path / "out/runs" / run.name / name).read_text() == (run / name).read_text()
