"""Read what dataset.json declares: channels, labels and files, as nnU-Net v2 and the Decathlon write them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr  # what is in the file may be of any size and depth
from typing import Any

from boundaryloss.files.errors import UserError
from boundaryloss.files.text import read_json

LARGEST = 65535  # what a label file can hold
LABELS = '"labels" must be a table such as {"background": 0, "lesion": 1}'


@dataclass(frozen=True)
class Listed:
    """The files of one case, as text."""

    name: str | None  # the Decathlon gives none
    images: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class Description:
    """What dataset.json declares."""

    kind: str  # "nnunet" or "msd"
    modalities: tuple[str, ...]  # by channel
    label_values: tuple[int, ...]  # without the background and `ignore`
    regions: tuple[tuple[int, ...], ...]  # values of each region; none: the labels exclude each other
    region_values: tuple[int, ...]  # the value to write for each region
    ignore: int | None
    listed: tuple[Listed, ...] | None  # none: the cases are what lies in the folders
    count: Any  # numTraining


def read_description(path: Path) -> Description:
    """Read and check dataset.json.

    Raises:
        UserError: anything in it has another type or meaning than it should have.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a table, as nnU-Net and the Decathlon write it")
    try:
        return _describe(content)
    except ValueError as error:
        raise UserError(f"{path}: {error}; correct it") from None


def _describe(content: Mapping[str, Any]) -> Description:
    kind = "nnunet" if "channel_names" in content else "msd"
    if kind == "nnunet":
        modalities = _channels("channel_names", content["channel_names"])
        listed = _dataset(content.get("dataset"))
    elif "training" in content:
        modalities = _channels("modality", content["modality"]) if content.get("modality") else ()
        listed = _training(content["training"])
    else:
        raise ValueError("it has neither channel_names (nnU-Net v2) nor a training list (Decathlon)")
    names, regions, ignore = _labels(content.get("labels"), strict=kind == "nnunet")
    values = tuple(sorted({value for group in names.values() for value in group}))
    order = content.get("regions_class_order")
    if order is not None and not (isinstance(order, list) and all(type(value) is int for value in order)):
        raise ValueError("regions_class_order must be a list of whole numbers")
    order = tuple(order or ())
    if regions and (len(order) != len(regions) or not {*order} <= {*values} or len({*order}) < len(order)):
        raise ValueError(f"regions_class_order must name one value for each of the {len(regions)} regions")
    return Description(
        kind,
        modalities,
        values,
        regions,
        order if regions else (),
        ignore,
        listed,
        content.get("numTraining"),
    )


def _channels(key: str, table: Any) -> tuple[str, ...]:
    """Return the name of each channel, from {"0": name}, from {name: 0} or from a list."""
    wanted = f'{key} must be a table such as {{"0": "CT"}}, numbered from 0'
    if isinstance(table, list):
        table = {str(index): name for index, name in enumerate(table)}
    if not isinstance(table, dict) or not table:
        raise ValueError(wanted)
    if not any(map(_is_number, table)) and all(map(_is_number, table.values())):
        if len({int(value) for value in table.values()}) < len(table):
            raise ValueError(wanted)
        table = {str(number): name for name, number in table.items()}
    if not all(map(_is_number, table)) or not all(isinstance(name, str) for name in table.values()):
        raise ValueError(wanted)
    numbered = sorted((int(number), name) for number, name in table.items())
    if [number for number, _ in numbered] != [*range(len(numbered))]:
        raise ValueError(wanted)
    return tuple(name for _, name in numbered)


def _labels(
    table: Any, *, strict: bool
) -> tuple[dict[str, tuple[int, ...]], tuple[tuple[int, ...], ...], int | None]:
    """Return the values by name without background and `ignore`; the regions, if there are any; `ignore`.

    Where it is `strict` (nnU-Net) only "background" may be 0; the Decathlon calls it as it likes.
    """
    if not isinstance(table, dict) or not table:
        raise ValueError(LABELS)
    pairs = list(table.items())
    if all(map(_is_number, table)) and all(isinstance(name, str) for name in table.values()):
        if any(map(_is_number, table.values())):  # {"1": "2"} could be read both ways
            raise ValueError(LABELS)
        pairs = [(name, number) for number, name in pairs]
        if len(dict(pairs)) < len(pairs):
            raise ValueError("labels uses a name twice")
    groups = {name: _values(name, value) for name, value in pairs}
    background, ignore = _take(groups, "background"), _take(groups, "ignore")
    if background is None and not strict:
        groups = {name: values for name, values in groups.items() if values != (0,)}
    every = [value for values in groups.values() for value in values]
    if background not in (None, 0) or 0 in every or ignore == 0:
        raise ValueError("the label 0 must be the background, and only that")
    if not groups:
        raise ValueError("labels has no class beside the background")
    overlap = any(len(values) > 1 for values in groups.values())
    kept = [*groups.values()]
    if len({*kept}) < len(kept) or ignore in every:
        twice = [ignore] if ignore in every else next(values for values in kept if kept.count(values) > 1)
        raise ValueError(f"labels gives {', '.join(map(str, twice))} two names")
    return groups, tuple(groups.values()) if overlap else (), ignore


def _take(groups: dict[str, tuple[int, ...]], wanted: str) -> int | None:
    """Take out the one value of a name, in whatever case it is written."""
    named = [name for name in groups if name.casefold() == wanted]
    values = [value for name in named for value in groups.pop(name)]
    if len(values) > 1:
        raise ValueError(f"{wanted} must be one value, not {values}")
    return values[0] if values else None


def _values(name: str, value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    for one in values:
        if not _is_number(one) or int(one) > LARGEST:
            raise ValueError(f"the label {name!r} is {repr(one)}, not a whole number from 0 to {LARGEST}")
    if not values or len(set(map(int, values))) < len(values):
        raise ValueError(f"the label {name!r} must be different whole numbers, not {repr(value)}")
    return tuple(map(int, values))


def _dataset(table: Any) -> tuple[Listed, ...] | None:
    if table is None:
        return None
    if not isinstance(table, dict) or not table:
        raise ValueError('"dataset" must be a table such as {name: {"images": [files], "label": file}}')
    listed = []
    for name, entry in sorted(table.items()):
        images, label = _get(entry, "images", "label")
        if not isinstance(images, list) or not images or not all(map(_is_text, [*images, label])):
            raise ValueError(f'{repr(name)} in "dataset" must have "images": [files] and "label": file')
        listed.append(Listed(name, tuple(images), label))
    return tuple(listed)


def _training(entries: Any) -> tuple[Listed, ...]:
    pairs = [_get(entry, "image", "label") for entry in entries] if isinstance(entries, list) else []
    if not pairs or not all(_is_text(image) and _is_text(label) for image, label in pairs):
        raise ValueError('must have "training": [{"image": file, "label": file}, ...]')
    return tuple(Listed(None, (image,), label) for image, label in pairs)


def _get(entry: Any, *keys: str) -> list[Any]:
    return [entry.get(key) if isinstance(entry, dict) else None for key in keys]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: Any) -> bool:
    """Return whether a value is a whole number from 0 on, be it written as text or as 1.0."""
    if isinstance(value, str):
        return value.isascii() and value.isdecimal() and len(value) < 10
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value % 1 == 0
