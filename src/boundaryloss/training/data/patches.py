"""How much of a case the network sees at once, and whether every case has that much."""

from collections.abc import Sequence

import numpy as np

from boundaryloss.files import UserError
from boundaryloss.training.config import TERMS, TrainConfig, imported_parts
from boundaryloss.training.data.cases import Collection
from boundaryloss.training.data.padding import MULTIPLE

LONGEST = {3: 96, 2: 256}  # voxels of the usual patch along each axis, by the network's dimensions


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


def training_shapes(collection: Collection, config: TrainConfig) -> list[tuple[int, ...]]:
    """Return the size of every case to train on, as the network sees it: resampled, perhaps one plane."""
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


def is_padded(shapes: Sequence[tuple[int, ...]], patch: tuple[int, ...] | None, config: TrainConfig) -> bool:
    """Return whether a case is smaller than the patch; a loss that would count the padding is refused."""
    if patch is None or all(n >= m for shape in shapes for n, m in zip(shape, patch, strict=True)):
        return False
    if config.loss.endswith(TERMS[1:]) or imported_parts(config.loss):
        smallest = [min(sides) for sides in zip(*shapes, strict=True)]
        raise UserError(
            f"patch {list(patch)} is larger than a case, and {config.loss} would count what pads it; "
            f"choose a smaller patch: the smallest case is {' x '.join(map(str, smallest))}"
        )
    return True
