"""An experiment: methods x folds x seeds on one data set, read from TOML.

    data = "tiles"                      # beside this file; or "phantom"
    seeds = [0, 1, 2]
    folds = [["p07"], ["p19"], ["p26"]] # optional: beginnings of the names that each tests, or [0, 1, 2]

    [train]                             # settings of every run, as `train --config` takes them
    epochs = 40

    [methods."GDL"]
    loss = "gdl"

    [methods."GDL + boundary"]          # settings of its own, and what it is held against
    loss = "gdl+boundary"
    baseline = "GDL"                    # default: the first method

All methods see the same data, folds and seeds.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boundaryloss.files import UserError, read_toml
from boundaryloss.training.config import TrainConfig, as_dict, check_choice, from_dict

if TYPE_CHECKING:
    from boundaryloss.training.data.rundata import RunData

KEYS = ("title", "data", "seeds", "folds", "train", "methods")
SHARED = (
    *("seed", "fold", "split", "labels", "ignore", "threshold", "spacing", "window", "target_spacing"),
    *("dimensions", "patch", "cache"),
)


@dataclass(frozen=True)
class Method:
    """A way to train: its settings without the seed, and the method it is held against."""

    name: str
    config: TrainConfig
    baseline: str | None

    @property
    def slug(self) -> str:
        """Return the name as part of a directory's."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.")


@dataclass(frozen=True)
class Run:
    """One training of the experiment."""

    method: Method
    fold: int
    seed: int
    numbered: int = 0  # nnU-Net's fold, if that is what it tests

    @property
    def name(self) -> str:
        """Return the name of its directory."""
        return f"{self.method.slug}-fold{self.fold}-seed{self.seed}"

    @property
    def config(self) -> TrainConfig:
        """Return the method's settings with this run's seed."""
        return replace(self.method.config, seed=self.seed, fold=self.numbered)


@dataclass(frozen=True)
class Source:
    """Data, and which part of them to test on."""

    data: str
    test_prefix: tuple[str, ...]
    settings: str  # JSON of a configuration: what all methods share of it is what counts

    def load(self) -> "RunData":
        """Read the cases."""
        from boundaryloss.training.data.rundata import load_data

        config = from_dict(json.loads(self.settings))
        return load_data(self.data, config, test_prefix=self.test_prefix or None)


@dataclass(frozen=True)
class Experiment:
    """What is compared, and on what.

    Args:
        title: for the head of the report.
        data: a data folder, or the word `phantom`.
        seeds: of the runs of every method; all methods get the same.
        folds: each a tuple of beginnings of the names to test on, or a number of `splits_final.json`; an
            empty tuple leaves the split to the data, see `find_cases`. A case is tested in one fold at most.
        methods: at least one.
        text: the file it was read from, for the report.
    """

    title: str
    data: str
    seeds: tuple[int, ...]
    folds: tuple[tuple[str, ...] | int, ...]
    methods: tuple[Method, ...]
    text: str = ""

    def runs(self) -> Iterator[Run]:
        """Yield the runs seed by seed, so that an unfinished experiment is still balanced."""
        for seed in self.seeds:
            for fold, test in enumerate(self.folds):
                for method in self.methods:
                    yield Run(method, fold, seed, test if isinstance(test, int) else 0)

    def source(self, fold: int) -> Source:
        """Return where the slices of a fold come from: the same for every method and seed."""
        test = self.folds[fold]
        config = replace(self.methods[0].config, fold=test if isinstance(test, int) else 0)
        return Source(self.data, () if isinstance(test, int) else test, json.dumps(as_dict(config)))


def read_experiment(path: Path, data: str | None = None) -> Experiment:
    """Read an experiment; `data`, not beside it, takes the place of its own.

    Raises:
        UserError: the file cannot be read, a key is unknown (the nearest right one is named), or a value
            cannot be used.
    """
    content = read_toml(path)
    for name in content:
        check_choice(f"setting in {path}", name, KEYS)
    named = content.get("data")
    if data is None and isinstance(named, str):
        data = named if named == "phantom" else str(path.parent / named)
    if data is None:
        raise UserError(f'{path}: says no data; add a line such as data = "FOLDER", or give --data')
    title = content.get("title", path.stem)
    if not isinstance(title, str):
        raise UserError(f"{path}: title must be text, got {title!r}")
    train = content.get("train", {})
    if not isinstance(train, Mapping):
        raise UserError(f"{path}: [train] must be a table of settings, got {train!r}")
    if "seed" in train:
        raise UserError(f"{path}: give seeds = [{train['seed']!r}] at the top instead of seed in [train]")
    methods = _read_methods(path, content.get("methods"), train)
    folds = _read_folds(path, content, data)
    return Experiment(
        title, data, _read_seeds(path, content), folds, methods, path.read_text(encoding="utf-8")
    )


def _read_seeds(path: Path, content: Mapping[str, Any]) -> tuple[int, ...]:
    seeds = content.get("seeds", [0, 1, 2])
    good = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not good or not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"{path}: seeds must be a list of different whole numbers such as [0, 1, 2]")
    return tuple(seeds)


def _read_folds(
    path: Path, content: Mapping[str, Any], data: str
) -> tuple[tuple[str, ...], ...] | tuple[int, ...]:
    folds = content.get("folds")
    if folds is None:
        return ((),)
    if isinstance(folds, list) and folds and all(type(fold) is int and fold >= 0 for fold in folds):
        return tuple(dict.fromkeys(folds))
    good = isinstance(folds, list) and all(
        isinstance(fold, list) and fold and all(isinstance(prefix, str) and prefix for prefix in fold)
        for fold in folds
    )
    if not good or not folds:
        raise UserError(
            f"{path}: folds must be numbers of folds such as [0, 1, 2], or lists of beginnings of names to "
            'test on, such as [["p07"], ["p19"]]'
        )
    if data == "phantom":
        raise UserError(f"{path}: the phantom has a split of its own; remove folds")
    prefixes = [prefix for fold in folds for prefix in fold]
    for i, first in enumerate(prefixes):
        for second in prefixes[i + 1 :]:
            if first.startswith(second) or second.startswith(first):
                raise UserError(f"{path}: folds {first!r} and {second!r} overlap; test every case once")
    return tuple(tuple(fold) for fold in folds)


def _read_methods(path: Path, tables: Any, train: Mapping[str, Any]) -> tuple[Method, ...]:
    if not isinstance(tables, Mapping) or not tables:
        raise UserError(f'{path}: says no methods; add tables such as [methods."GDL"] with loss = "gdl"')
    methods: list[Method] = []
    for name, table in tables.items():
        where = f'[methods."{name}"] of {path}'
        if not isinstance(table, Mapping):
            raise UserError(f"{where} must be a table of settings, got {table!r}")
        if used := [key for key in SHARED if key in table]:
            raise UserError(f"{where}: {used[0]} is the same for all methods; give it once above them")
        table = dict(table)
        baseline = table.pop("baseline", next(iter(tables)))
        if not isinstance(baseline, str):
            raise UserError(f"{where}: baseline must be the name of a method, got {baseline!r}")
        check_choice(f"baseline in {where}", baseline, tuple(tables))
        settings = {**train, **table}
        if isinstance(run := settings.get("begin_with"), str):
            settings["begin_with"] = str((path.parent / run).resolve())
        config = from_dict(settings, where)
        if config.devices * config.nodes > 1:
            raise UserError(
                f"{where}: each run of a comparison has one device; leave devices and nodes at 1, and train "
                "several runs at a time with --jobs, --shard or --cluster"
            )
        methods.append(Method(name, config, baseline if baseline != name else None))
        if not methods[-1].slug or methods[-1].slug in [method.slug for method in methods[:-1]]:
            raise UserError(f"{where}: its name gives no directory of its own; use other letters")
    return tuple(methods)
