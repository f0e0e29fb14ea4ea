import dataclasses

import pytest

from boundaryloss import Constant, Increase, Rebalance


def test_increase_grows_from_zero_to_stop():
    schedule = Increase()
    assert schedule(0) == (1.0, 0.0)
    assert schedule(37) == (1.0, pytest.approx(0.37))
    assert schedule(1000) == (1.0, 1.0)


def test_increase_is_the_official_schedule_when_told():
    assert [Increase(start=0.01)(e)[1] for e in range(3)] == pytest.approx([0.01, 0.02, 0.03])


def test_rebalance_moves_all_but_one_percent():
    schedule = Rebalance()
    assert schedule(0) == (1.0, 0.0)
    assert sum(schedule(42)) == pytest.approx(1)
    assert schedule(500) == (pytest.approx(0.01), 0.99)


def test_constant_does_not_move():
    assert Constant(0.2)(0) == Constant(0.2)(99) == (1.0, 0.2)


@pytest.mark.parametrize("schedule", [Constant, Increase, Rebalance])
def test_schedules_are_frozen_and_refuse_negative_epochs(schedule):
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule().start = 1
    with pytest.raises(ValueError, match="epoch"):
        schedule()(-1)


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        (Constant, {"alpha": -1}),
        (Constant, {"alpha": float("nan")}),
        (Increase, {"step": -0.1}),
        (Increase, {"start": 0.5, "stop": 0.1}),
        (Rebalance, {"stop": 1.5}),
        (Rebalance, {"start": float("inf")}),
    ],
)
def test_schedules_refuse(schedule, options):
    with pytest.raises(ValueError, match=r"must|at most"):
        schedule(**options)
