"""What is trained, what waits for what, and how shards share it out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from boundaryloss.comparison.beginnings import Beginning, find_beginnings, is_begun
from boundaryloss.comparison.experiment import Experiment, Run

Part = Run | Beginning
Unit = tuple[Beginning | None, list[Run]]  # a beginning and the runs that go on from it, or one run by itself


def find_plan(
    experiment: Experiment, shard: tuple[int, int] | None = None
) -> tuple[list[Run], dict[str, Beginning]]:
    """Return the runs of an experiment, or of its shard K of N, and by their names the beginnings they share.

    The experiment alone decides, not what is done already, so that N commands need not speak to each other.
    Heaviest first, each unit goes to the shard that has the fewest epochs so far. Runs that share a beginning
    are one unit, unless the longest shard is shorter when every run trains from its own start.
    """
    runs = list(experiment.runs())
    beginnings = {run.name: beginning for beginning in find_beginnings(experiment) for run in beginning.runs}
    if shard is None:
        return runs, beginnings
    number, count = shard
    together = _share_out(group(runs, beginnings), count)
    alone = _share_out(group(runs, {}), count)
    if _longest(alone) < _longest(together):
        together, beginnings = alone, {}
    own = together[number - 1] if number <= len(together) else []  # there are more shards than units
    mine = {run.name for _, unit in own for run in unit}
    return [run for run in runs if run.name in mine], beginnings


def group(runs: Sequence[Run], beginnings: Mapping[str, Beginning]) -> list[Unit]:
    """Return each beginning with the runs that wait for it; other runs wait for none."""
    units: dict[str, Unit] = {}
    for run in runs:
        beginning = beginnings.get(run.name)
        units.setdefault(beginning.name if beginning else run.name, (beginning, []))[1].append(run)
    return list(units.values())


def not_begun(out: Path, beginnings: Mapping[str, Beginning]) -> dict[str, Beginning]:
    """Leave out the runs that have a checkpoint of their own: they need their beginning no more."""
    return {name: shared for name, shared in beginnings.items() if not is_begun(out / "runs" / name)}


def _share_out(units: Sequence[Unit], count: int) -> list[list[Unit]]:
    shards: list[list[Unit]] = [[] for _ in range(min(count, len(units)))]  # the others get nothing
    for unit in sorted(units, key=_epochs, reverse=True):
        min(shards, key=_total).append(unit)
    return shards


def _epochs(unit: Unit) -> int:
    beginning, runs = unit
    shared = beginning.epochs if beginning else 0
    return shared + sum(run.config.epochs - shared for run in runs)


def _total(units: Sequence[Unit]) -> int:
    return sum(map(_epochs, units))


def _longest(shards: Sequence[Sequence[Unit]]) -> int:
    return max(map(_total, shards))
