"""What a dataset has, in a few lines: interpolated masks, numbered objects and lost cases show there."""

import math
from collections.abc import Sequence

from boundaryloss.files import Case, looks_void
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.cases import Collection
from boundaryloss.training.data.split import split_validation

SHOWN = 12  # classes


def take_census(collection: Collection, config: TrainConfig) -> tuple[str, ...]:
    """Return lines on every class and on both sides of the split, then on what looks like a mistake."""
    return (*_classes(collection), *_sides(collection, config), *_doubts(collection, config))


def held_bytes(collection: Collection, config: TrainConfig) -> int:
    """Return how many bytes are kept from epoch to epoch: all slices, or the volumes to train on."""
    slices = [] if collection.dimensions == 3 else collection.test
    voxels = 0.0
    for found in (collection.found[case.name] for case in (*collection.train, *slices)):
        finer = math.prod(found.spacing) / math.prod(config.target_spacing or found.spacing)
        voxels += math.prod(found.shape) * finer
    return int(voxels * (collection.channels * 4 + 1))  # float32 and uint8


def _classes(collection: Collection) -> list[str]:
    found = list(collection.found.values())
    total = sum(sum(case.voxels.values()) for case in found)
    counts = [
        (value, sum(case.voxels.get(value, 0) for case in found), sum(value in case.voxels for case in found))
        for value in collection.label_values[1:]
    ]
    lines = [
        f"label {value}: {voxels} voxels ({100 * voxels / total:.2g} %) in {cases} of {len(found)} cases"
        for value, voxels, cases in counts[:SHOWN]
    ]
    if left := counts[SHOWN:]:
        value, voxels, cases = min(left, key=lambda count: count[1])
        lines.append(f"and {len(left)} more labels, the rarest {value}: {voxels} voxels in {cases} cases")
    ignore, kept = collection.layout.ignore, {0, *collection.label_values}
    void = set[int]() if ignore is None else {ignore}
    others = {value for case in found for value in case.voxels} - kept - void
    for what, values in (("unlabelled", void), ("background as well", others)):
        voxels = sum(case.voxels.get(value, 0) for case in found for value in values)
        if voxels:
            shown = ", ".join(map(str, sorted(values)[:SHOWN])) + ", ..." * (len(values) > SHOWN)
            lines.append(f"{what} ({shown}): {voxels} voxels ({100 * voxels / total:.2g} %)")
    return lines


def _sides(collection: Collection, config: TrainConfig) -> list[str]:
    _, validate = _validation(collection, config)
    lines = [f"train: {_side(collection, collection.train)}", f"test: {_side(collection, collection.test)}"]
    if validate:
        lines[0] += f"; {len(validate)} of the cases choose best.ckpt"
    return lines


def _side(collection: Collection, cases: Sequence[Case]) -> str:
    patients = len({collection.patients[case.name] for case in cases})
    objects = sum(
        collection.found[case.name].objects.get(value, 0)
        for case in cases
        for value in collection.label_values[1:]
    )
    return f"{_many(len(cases), 'case')} of {_many(patients, 'patient')}, {_many(objects, 'object')}"


def _doubts(collection: Collection, config: TrainConfig) -> list[str]:
    layout, doubts = collection.layout, [*collection.layout.notes]
    values = {value for case in collection.found.values() for value in case.voxels}
    learned = {value for case in collection.train for value in collection.found[case.name].voxels}
    if layout.kind == "plain" and layout.ignore is None and config.labels is None and looks_void(values):
        doubts.append("255 beside small labels often marks unlabelled voxels; if so, set ignore = 255")
    if layout.ignore is not None and layout.ignore not in values:
        doubts.append(f"no mask has {layout.ignore}, the value to ignore")
    for value in collection.label_values[1:]:
        if value not in learned:
            doubts.append(f"label {value}: no training case has it")
    if config.validation and not _validation(collection, config)[1]:
        doubts.append(
            f"validation = {config.validation:g} of the training cases is no whole patient: "
            "there will be no best.ckpt"
        )
    return doubts


def _validation(collection: Collection, config: TrainConfig) -> tuple[list[str], list[str]]:
    names = [case.name for case in collection.train]
    return split_validation(names, collection.patients, config.validation, config.seed)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
