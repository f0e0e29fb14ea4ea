from collections import Counter

import pytest
from conftest import EXPERIMENT

from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.comparison.plan import find_plan, group, not_begun

WARM = """
[methods."GDL + warm"]
loss = "gdl+boundary"
weighting = "ratio"
weighting_options = { start = 6, ramp = 0 }
[methods."Dice"]
loss = "dice"
epochs = 5
"""


@pytest.fixture
def experiment(tmp_path):
    """Two seeds and two folds of four methods: of ten epochs, two share six; one has five."""
    (tmp_path / "e.toml").write_text(EXPERIMENT.replace("epochs = 2", "epochs = 10") + WARM)
    return read_experiment(tmp_path / "e.toml")


def shards_of(experiment, count):
    return [find_plan(experiment, (number, count)) for number in range(1, count + 1)]


@pytest.mark.parametrize("count", [2, 3, 7, 40])
def test_find_plan_gives_every_run_to_one_shard(experiment, count):
    runs = [run for mine, _ in shards_of(experiment, count) for run in mine]
    assert Counter(run.name for run in runs) == Counter(run.name for run in experiment.runs())


def test_find_plan_of_one_shard_is_that_of_all(experiment):
    assert find_plan(experiment, (1, 1)) == find_plan(experiment)


def test_find_plan_keeps_runs_that_share_a_beginning_together(experiment):
    for runs, beginnings in shards_of(experiment, 4):
        assert len(runs) == 4 and len(beginnings) == 8
        shared = [beginnings[run.name].runs for run in runs if run.name in beginnings]
        assert shared and all(run in runs for together in shared for run in together)


def test_find_plan_balances_epochs(experiment):
    for runs, beginnings in shards_of(experiment, 4):  # of each fold and seed: 6 + 4 + 4, 10, 5
        units = group(runs, beginnings)
        assert sum(first.epochs if first else 0 for first, _ in units) == 6
        assert sorted(run.method.name for run in runs) == ["Dice", "GDL", "GDL + boundary", "GDL + warm"]


def test_find_plan_shares_nothing_where_every_run_alone_ends_sooner(experiment):
    plans = shards_of(experiment, 18)  # 14 epochs together, 10 alone
    assert [len(runs) for runs, _ in plans] == [1] * 16 + [0, 0]
    assert not any(beginnings for _, beginnings in plans)


def test_group_waits_for_beginnings_that_are_needed(experiment, tmp_path):
    runs, beginnings = find_plan(experiment)
    (tmp_path / "runs/gdl-fold0-seed0/checkpoints").mkdir(parents=True)
    (tmp_path / "runs/gdl-fold0-seed0/checkpoints/last.ckpt").touch()
    units = group(runs[:4], not_begun(tmp_path, beginnings))
    names = [(first and first.name, [run.method.name for run in unit]) for first, unit in units]
    assert names == [
        (None, ["GDL"]),
        (None, ["GDL + boundary"]),
        ("gdl-fold0-seed0-6", ["GDL + warm"]),
        (None, ["Dice"]),
    ]


def test_find_plan_of_a_shard_too_many_has_no_run(experiment):
    assert find_plan(experiment, (10**9, 10**9))[0] == []
