"""A dataset as a run needs it: what to train and to test on, and what both have in common."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boundaryloss.files import UserError
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.cases import Collection, find_cases
from boundaryloss.training.data.census import held_bytes, take_census
from boundaryloss.training.data.checks import OnBad
from boundaryloss.training.data.patches import choose_patch, is_padded, training_shapes
from boundaryloss.training.data.phantom import phantom
from boundaryloss.training.data.slices import Slices
from boundaryloss.training.data.split import split_validation
from boundaryloss.training.data.volumes import Volumes
from boundaryloss.training.task import Task

PHANTOM_SIDE = 96  # pixels
PHANTOM_SIZES = (200, 100)  # slices to train and to test on
PHANTOM_SEEDS = (0, 1_000_003)  # two series that share no slice
NOT_OF_PHANTOM = ("labels", "ignore", "threshold", "spacing", "target_spacing", "window", "fold", "split")


@dataclass(frozen=True)
class RunData:
    """Cases to train and to test on, and what a run has to know of them."""

    task: Task
    train: Slices | Volumes
    test: Slices | Volumes
    patients: Mapping[str, str]  # by the name of every case
    filled: tuple[str, ...]  # names of the test cases that hold an object
    skipped: tuple[str, ...] = ()  # a line about each bad case
    census: tuple[str, ...] = ()  # lines on classes and split, to be printed before training
    held: int = 0  # bytes, about, of what is kept from epoch to epoch, in memory or in a cache on disc

    @classmethod
    def from_collection(cls, collection: Collection, config: TrainConfig | None = None) -> "RunData":
        """Take the slices that were read, or prepare volumes for reading; volumes need the configuration.

        Raises:
            UserError: the patch or the augmentation does not fit the cases.
        """
        config = TrainConfig() if config is None else config
        _check_validation(collection, config)
        task = _find_task(collection, config)
        if collection.dimensions == 2:
            parts = (collection.train, collection.test)
            train, test = (Slices.from_cases(part, task, collection.decoded) for part in parts)
        else:
            train = Volumes(collection.train, task, config.target_spacing, config.cache)
            test = Volumes(collection.test, task, config.target_spacing)
        classes = {*collection.label_values} - {0}
        return cls(
            task,
            train,
            test,
            patients=collection.patients,
            filled=tuple(name for name in test.names if collection.found[name].values & classes),
            skipped=collection.skipped,
            census=take_census(collection, config),
            held=held_bytes(collection, config),
        )

    @classmethod
    def from_slices(cls, task: Task, train: Slices, test: Slices) -> "RunData":
        """Take labelled slices, each of a patient of its own."""
        filled = [name for name, labels in zip(test.names, test.labels or (), strict=True) if labels.any()]
        patients = {name: name for name in (*train.names, *test.names)}
        held = sum(array.nbytes for part in (train, test) for array in (*part.images, *(part.labels or ())))
        return cls(task, train, test, patients, tuple(filled), held=held)

    @classmethod
    def from_phantom(
        cls,
        patch: tuple[int, ...] | None = None,
        sizes: tuple[int, int] = PHANTOM_SIZES,
        size: int = PHANTOM_SIDE,
    ) -> "RunData":
        """Draw the phantom: the same slices every time, whatever the run's seed."""
        train, test = (phantom(n, seed=seed, size=size) for n, seed in zip(sizes, PHANTOM_SEEDS, strict=True))
        task = Task(channels=1, label_values=(0, 1), spacing=(1.0, 1.0), patch=patch)
        return cls.from_slices(task, Slices(*map(list, train)), Slices(*map(list, test)))


def load_data(
    source: str,
    config: TrainConfig,
    *,
    test_prefix: Sequence[str] | None = None,
    split: Path | None = None,
    on_bad: OnBad | None = None,
) -> RunData:
    """Load the word `phantom`, or a folder of any layout that `find_cases` knows, as `config` wants it.

    `on_bad` gets a line about each bad case, which is left out; without it that is an error.

    Raises:
        UserError: what is wrong with the data, or with the configuration for these data.
    """
    if source == "phantom":
        chosen = [name for name in NOT_OF_PHANTOM if getattr(config, name)]
        if test_prefix:
            chosen.append("test_prefix")
        if chosen:
            raise UserError(f"{chosen[0]}: the phantom has its own labels, spacing and split; leave it out")
        if config.patch is not None and (len(config.patch) != 2 or max(config.patch) > PHANTOM_SIDE):
            raise UserError(f"patch {list(config.patch)}: the phantom is {PHANTOM_SIDE} x {PHANTOM_SIDE}")
        return RunData.from_phantom(config.patch)
    collection = find_cases(
        Path(source),
        seed=config.seed,
        labels=config.labels,
        test_prefix=test_prefix,
        spacing=config.spacing,
        fold=config.fold,
        window=config.window,
        group=config.split.get("group"),
        ignore=config.ignore,
        threshold=config.threshold,
        split=split,
        on_bad=on_bad,
    )
    return RunData.from_collection(collection, config)


def _check_validation(collection: Collection, config: TrainConfig) -> None:
    """Refuse a share that leaves nothing to learn from, or nothing to watch."""
    names = [case.name for case in collection.train]
    learn, validate = split_validation(names, collection.patients, config.validation, config.seed)
    if config.halve_after and not validate:
        raise UserError(
            f"halve_after watches the validation share, but validation = {config.validation:g} of the "
            "training cases is no whole patient; set it higher, or remove halve_after"
        )
    classes = {*collection.label_values} - {0}
    if not any(collection.found[name].values & classes for name in learn):
        raise UserError(
            f"validation = {config.validation:g} takes every training mask that is not empty; "
            "set it lower, or 0"
        )


def _find_task(collection: Collection, config: TrainConfig) -> Task:
    """Return what the training cases have in common, as the network sees it."""
    layout, volumes = collection.layout, collection.dimensions == 3
    shapes = training_shapes(collection, config)
    patch = choose_patch(shapes, config, volumes=volumes)
    spacing = collection.spacing
    if volumes:
        spacing = (config.target_spacing or spacing)[: config.dimensions]
    index = {value: i for i, value in enumerate(collection.label_values)}
    return Task(
        channels=collection.channels,
        label_values=collection.label_values,
        spacing=tuple(map(float, spacing)),
        patch=patch,
        padded=is_padded(shapes, patch, config),
        regions=tuple(tuple(index[value] for value in region) for region in layout.regions),
        painted=tuple(index[value] for value in layout.region_values),
        ignore_value=layout.ignore,
        windows=collection.windows,
        by_type=() if collection.windows else next(iter(collection.found.values())).by_type,
        slicewise=collection.dimensions > len(spacing),
        numbered=layout.numbered,
        fingerprint=_fingerprint(collection),
    )


def _fingerprint(collection: Collection) -> str:
    cases = [*collection.train, *collection.test]
    text = "".join(f"{case.name}\n{collection.found[case.name].digest}\n" for case in cases)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
