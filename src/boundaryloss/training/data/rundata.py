"""A dataset as a run needs it: what to train and to test on, and what both have in common."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from boundaryloss.files import UserError
from boundaryloss.training.config import TERMS, TrainConfig
from boundaryloss.training.data.cases import Collection, find_cases
from boundaryloss.training.data.census import take_census
from boundaryloss.training.data.padding import MULTIPLE
from boundaryloss.training.data.phantom import phantom
from boundaryloss.training.data.slices import Slices
from boundaryloss.training.data.split import split_validation
from boundaryloss.training.data.volumes import Volumes

PHANTOM_SIDE = 96  # pixels
PHANTOM_SIZES = (200, 100)  # slices to train and to test on
PHANTOM_SEEDS = (0, 1_000_003)  # two series that share no slice
NOT_OF_PHANTOM = ("labels", "ignore", "threshold", "spacing", "target_spacing", "window", "fold", "split")
LONGEST = {3: 96, 2: 256}  # voxels of the usual patch along each axis, by the network's dimensions


@dataclass(frozen=True)
class RunData:
    """Cases to train and to test on, and what they have in common."""

    train: Slices | Volumes
    test: Slices | Volumes
    label_values: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...]
    patch: tuple[int, ...] | None = None
    padded: bool = False  # whether a case to train on is smaller than the patch
    regions: tuple[tuple[int, ...], ...] = ()  # their class indices; none: the classes exclude each other
    painted: tuple[int, ...] = ()  # the class index that each region is written as
    ignore_value: int | None = None
    windows: tuple[tuple[float, ...], ...] = ()
    by_type: tuple[bool, ...] = ()  # by file of a case: whether values are scaled by the range of their type
    slicewise: bool = False  # volumes, for a 2-D network
    numbered: bool = False  # images have one file per channel, NAME_0000, NAME_0001, ...
    with_object: tuple[str, ...] = ()  # names of test volumes that are not empty
    skipped: tuple[str, ...] = ()  # a line about each bad case
    grouped: Mapping[str, str] = field(default_factory=dict)  # name -> patient; none: each its own
    census: tuple[str, ...] = ()  # lines on classes and split, to be printed before training
    fingerprint: str = ""  # of all images and masks: a run goes on with the data that it began with

    @property
    def patients(self) -> dict[str, str]:
        """The patient of every case, by its name."""
        return {name: self.grouped.get(name, name) for name in (*self.train.names, *self.test.names)}

    @classmethod
    def from_collection(cls, collection: Collection, config: TrainConfig | None = None) -> "RunData":
        """Read slices once, or prepare volumes for reading; volumes need the configuration.

        Raises:
            UserError: the patch or the augmentation does not fit the cases.
        """
        config = TrainConfig() if config is None else config
        layout = collection.layout
        _check_validation(collection, config)
        shapes = _training_shapes(collection, config)
        patch = choose_patch(shapes, config, volumes=collection.dimensions == 3)
        common: dict[str, Any] = {
            "label_values": collection.label_values,
            "ignore_value": layout.ignore,
            "windows": collection.windows,
        }
        if collection.dimensions == 2:
            arguments = (collection.label_values, layout.ignore, collection.windows)
            train, test = (
                Slices.from_cases(part, *arguments) for part in (collection.train, collection.test)
            )
            spacing = collection.spacing
        else:
            spacing = (config.target_spacing or collection.spacing)[: config.dimensions]
            train = Volumes(collection.train, common, config.target_spacing, config.cache)
            test = Volumes(collection.test, common, config.target_spacing)
        index = {value: i for i, value in enumerate(collection.label_values)}
        return cls(
            train,
            test,
            channels=collection.channels,
            spacing=tuple(map(float, spacing)),
            patch=patch,
            padded=_find_padding(shapes, patch, config),
            slicewise=collection.dimensions > len(spacing),
            by_type=() if collection.windows else next(iter(collection.found.values())).by_type,
            regions=collection.regions,
            painted=tuple(index[value] for value in layout.region_values),
            numbered=layout.numbered,
            with_object=tuple(
                case.name for case in collection.test if collection.found[case.name].values & {*index} - {0}
            ),
            skipped=collection.skipped,
            grouped=collection.patients,
            census=take_census(collection, config),
            fingerprint=_fingerprint(collection),
            **common,
        )

    @classmethod
    def from_phantom(cls, sizes: tuple[int, int] = PHANTOM_SIZES, size: int = PHANTOM_SIDE) -> "RunData":
        """Draw the phantom: the same slices every time, whatever the run's seed."""
        train, test = (phantom(n, seed=seed, size=size) for n, seed in zip(sizes, PHANTOM_SEEDS, strict=True))
        return cls(Slices(*map(list, train)), Slices(*map(list, test)), (0, 1), 1, (1.0, 1.0))

    def facts(self, config: TrainConfig | None = None) -> dict[str, Any]:
        """What prediction has to know about them: plain values."""
        patch = self.patch or (config and config.patch)
        facts: dict[str, Any] = {
            "channels": self.channels,
            "num_classes": len(self.label_values),
            "label_values": list(self.label_values),
            "spacing": list(self.spacing),
            "numbered": self.numbered,
            "ignore": self.ignore_value is not None or self.padded,
            "regions": [list(region) for region in self.regions],
            "painted": list(self.painted),
            "windows": [list(window) for window in self.windows],
            "by_type": list(self.by_type),
            "slicewise": self.slicewise,
            "fingerprint": self.fingerprint,
        }
        return {**facts, **({"patch": list(patch)} if patch else {})}


def load_data(
    source: str,
    config: TrainConfig,
    *,
    test_prefix: Sequence[str] | None = None,
    split: Path | None = None,
    skip_bad: bool = False,
) -> RunData:
    """The word `phantom`, or a folder of any layout that `find_cases` knows, as `config` wants it.

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
        return RunData.from_phantom()
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
        skip_bad=skip_bad,
    )
    return RunData.from_collection(collection, config)


def _check_validation(collection: Collection, config: TrainConfig) -> None:
    """Something is left to learn from, and something to watch."""
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


def _fingerprint(collection: Collection) -> str:
    cases = [*collection.train, *collection.test]
    text = "".join(f"{case.name}\n{collection.found[case.name].digest}\n" for case in cases)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def choose_patch(
    shapes: Sequence[tuple[int, ...]], config: TrainConfig, *, volumes: bool
) -> tuple[int, ...] | None:
    """Return the patch of the configuration, or the usual one of training cases of these shapes.

    The usual patch covers the median size along each axis, rounded up to a multiple of 16, but at most 96
    voxels in 3-D and 256 in 2-D. `dynunet` takes an axis below 16 voxels as it is. Slices of one size are
    seen whole: None.

    Raises:
        UserError: a patch with another number of axes, or slices that are too small to be seen whole.
    """
    axes = len(shapes[0])
    if config.patch is not None:
        if len(config.patch) != axes:
            raise UserError(f"patch {list(config.patch)}: the network is {axes}-D; give {axes} numbers")
        return config.patch
    turned = "rotate90" in config.augment
    if not volumes and len(set(shapes)) == 1:
        (shape,) = set(shapes)
        if max(shape) <= MULTIPLE:
            raise UserError(
                f"slices of {' x '.join(map(str, shape))} pixels: the network halves each axis four times; "
                f"make them larger, or set patch = {[2 * MULTIPLE] * 2}, which pads them"
            )
        halved = config.deep_supervision == "none" or not any(n % MULTIPLE for n in shape)
        if halved and not (turned and shape[0] != shape[1]):
            return None
    median = np.median(shapes, axis=0).astype(int).tolist()
    if turned:
        median[:2] = [max(median[:2])] * 2
    return tuple(
        n
        if n < MULTIPLE and config.network == "dynunet"
        else min(-(-n // MULTIPLE) * MULTIPLE, LONGEST[axes])
        for n in median
    )


def _training_shapes(collection: Collection, config: TrainConfig) -> list[tuple[int, ...]]:
    """The size of every case to train on, as the network sees it: resampled; of volumes perhaps a plane."""
    axes = min(collection.dimensions, config.dimensions)
    if config.target_spacing is not None and collection.dimensions == 2:
        raise UserError("target_spacing is for volumes; leave it out")
    if config.map_from == "volume" and axes < collection.dimensions:
        raise UserError('map_from = "volume" measures in 3-D; choose "patch", or dimensions = 3')
    shapes = []
    for case in collection.train:
        found = collection.found[case.name]
        first, second, *_ = spacing = config.target_spacing or found.spacing
        if (
            collection.dimensions == 3
            and "rotate90" in config.augment
            and not np.isclose(first, second, rtol=1e-3)
        ):
            raise UserError(
                f'augment: "rotate90" swaps the first two axes, but the spacing of {case.image} is '
                f"{first:g} and {second:g} there; remove it, or give an equal target_spacing"
            )
        steps = zip(found.shape, found.spacing, spacing, strict=True)
        shapes.append(tuple(round((n - 1) * old / new) + 1 for n, old, new in steps)[:axes])
    return shapes


def _find_padding(
    shapes: Sequence[tuple[int, ...]], patch: tuple[int, ...] | None, config: TrainConfig
) -> bool:
    """Whether a case is smaller than the patch; a loss that would count the padding is refused."""
    if patch is None or all(n >= m for shape in shapes for n, m in zip(shape, patch, strict=True)):
        return False
    if config.loss.endswith(TERMS[1:]):
        smallest = [min(sides) for sides in zip(*shapes, strict=True)]
        raise UserError(
            f"patch {list(patch)} is larger than a case, and {config.loss} would count what pads it; "
            f"choose a smaller patch: the smallest case is {' x '.join(map(str, smallest))}"
        )
    return True
