"""A dataset as a run needs it: what to train and to test on, and what both have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data import Collection, Slices, find_cases
from boundaryloss.training.errors import UserError
from boundaryloss.training.phantom import phantom
from boundaryloss.training.volumes import Volumes

PHANTOM_SIDE = 96  # pixels
PHANTOM_SIZES = (200, 100)  # slices to train and to test on
PHANTOM_SEEDS = (0, 1_000_003)  # two series that share no slice
PATCH, PLANE = 96, 256  # the usual patch of a volume and of a slice of one, in voxels along each axis


@dataclass(frozen=True)
class RunData:
    """Cases to train and to test on, and what they have in common."""

    train: Slices | Volumes
    test: Slices | Volumes
    label_values: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...]
    patch: tuple[int, ...] | None = None
    regions: tuple[tuple[int, ...], ...] = ()  # their class indices; none: the classes exclude each other
    painted: tuple[int, ...] = ()  # the class index that each region is written as
    ignore_value: int | None = None
    windows: tuple[tuple[float, ...], ...] = ()
    slicewise: bool = False  # volumes, for a 2-D network
    numbered: bool = False  # images have one file per channel, NAME_0000, NAME_0001, ...
    with_object: tuple[str, ...] = ()  # names of test volumes that are not empty
    skipped: tuple[str, ...] = ()  # a line about each bad case

    @classmethod
    def from_collection(cls, collection: Collection, config: TrainConfig | None = None) -> "RunData":
        """Read slices once, or prepare volumes for reading; volumes need the configuration.

        Raises:
            UserError: the patch or the augmentation does not fit the cases.
        """
        config = TrainConfig() if config is None else config
        layout = collection.layout
        patch = choose_patch(collection, config)
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
            slicewise=collection.dimensions > len(spacing),
            regions=collection.regions,
            painted=tuple(index[value] for value in layout.region_values),
            numbered=layout.numbered,
            with_object=tuple(
                case.name for case in collection.test if collection.found[case.name].values & {*index} - {0}
            ),
            skipped=collection.skipped,
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
            "ignore": self.ignore_value is not None,
            "regions": [list(region) for region in self.regions],
            "painted": list(self.painted),
            "windows": [list(window) for window in self.windows],
            "slicewise": self.slicewise,
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
        split=split,
        skip_bad=skip_bad,
    )
    return RunData.from_collection(collection, config)


def choose_patch(collection: Collection, config: TrainConfig) -> tuple[int, ...] | None:
    """The patch of the configuration if it fits every case, or one that does; None for whole slices."""
    axes = min(collection.dimensions, config.dimensions)
    if config.target_spacing is not None and collection.dimensions == 2:
        raise UserError("target_spacing is for volumes; leave it out")
    shapes, spacings = {}, {}
    for case in collection.train:
        found = collection.found[case.name]
        spacings[case] = config.target_spacing or found.spacing
        steps = zip(found.shape, found.spacing, spacings[case], strict=True)
        shapes[case] = tuple(round((n - 1) * old / new) + 1 for n, old, new in steps)[:axes]
    if config.patch is not None:
        if len(config.patch) != axes:
            raise UserError(f"patch {list(config.patch)}: the network is {axes}-D; give {axes} numbers")
        for case, shape in shapes.items():
            if any(n > m for n, m in zip(config.patch, shape, strict=True)):
                raise UserError(
                    f"patch {list(config.patch)} is larger than {case.image} "
                    f"({' x '.join(map(str, shape))}); choose a smaller one"
                )
    for case, (first, second, *_) in spacings.items():
        if (
            collection.dimensions == 3
            and "rotate90" in config.augment
            and not np.isclose(first, second, rtol=1e-3)
        ):
            raise UserError(
                f'augment: "rotate90" swaps the first two axes, but the spacing of {case.image} is '
                f"{first:g} and {second:g} there; remove it, or give an equal target_spacing"
            )
    if config.map_from == "volume" and axes < collection.dimensions:
        raise UserError('map_from = "volume" measures in 3-D; choose "patch", or dimensions = 3')
    if config.patch is not None or collection.dimensions == 2:
        return config.patch
    smallest = [min(sides) for sides in zip(*shapes.values(), strict=True)]
    return tuple(min(PATCH if axes == 3 else PLANE, n // 16 * 16) if n >= 16 else n for n in smallest)
