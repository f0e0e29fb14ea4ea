"""What the values of a mask mean: classes, unlabelled voxels, or a grey picture."""

from collections.abc import Collection, Sequence

import numpy as np

from boundaryloss.files.errors import UserError

IGNORE = 255  # the class index of voxels without a label
MOST = 160  # classes that nobody declared; ADE20K has 150
MISSING = 64  # numbers that are not used, of those up to the largest
FEW = 16  # codes of an atlas need not be dense: 205, 420, 500, 550, ... for the parts of a heart
APART = 32  # grey values that somebody chose for two or three classes: 85, 170, 255
WHITE = (253, 254, 255, 65535)  # what an object has in a picture; JPEG makes 253 of it
VOID = 255  # what many datasets write where nobody labelled


def check_label_values(values: Collection[int], where: object) -> None:
    """Raise an error if undeclared `values` of masks look like a grey picture and not like classes.

    Values beside 0 are classes if they are one of these:

    - at most two, or three that are 32 or more apart: {255}, {1, 255}, {85, 170, 255};
    - numbered, below a 255 that stands apart (void) or without it: {1, ..., 117}, teeth {11, ..., 48},
      {1, ..., 33, 255}. Numbered means that of the numbers up to the largest at most 64, and at most three
      quarters, are missing; below a 255, the largest is at most 191;
    - at most 16 codes, none of them white (253 to 255, 65535): {205, 420, 500, 550, 600, 820, 850}.
      Codes above 255 may be more.

    More than 160 are never classes. A mask with grey edges has white and some values between; a picture of
    probabilities has hundreds.

    Args:
        values: of all masks together; 0 is background and does not count. Leave out what was declared, by
            dataset.json or by the setting `labels`.
        where: the file or folder that the message names.

    Raises:
        UserError: with the `threshold` to set.
    """
    found = sorted({*values} - {0})
    if not found or (len(found) <= MOST and _are_classes(found)):
        return
    shown = ", ".join(map(str, found[:5])) + (f", ..., {found[-1]}" if len(found) > 5 else "")
    if len(found) > MOST and not _is_picture(found):
        raise UserError(
            f"{where}: {len(found)} different values ({shown}), so objects are numbered and not classes; "
            "set threshold = 0 to make one class of them, or name the classes to keep with labels"
        )
    raise UserError(
        f"{where}: the values {shown} look like grey pictures or grey edges, not like classes; "
        f"set threshold = {found[-1] // 2} (what is above it is the object), "
        "or name the classes to keep with labels"
    )


def looks_void(values: Collection[int]) -> bool:
    """Return whether 255 stands apart from classes below 32, as unlabelled voxels are often marked."""
    others = {*values} - {0, VOID}
    return VOID in values and bool(others) and max(others) < 32


def _are_classes(found: list[int]) -> bool:
    """Apply the rules of `check_label_values` to sorted values without 0."""
    *others, top = found
    if len(found) <= 2 or (len(found) == 3 and _apart(found)):
        return True
    if top in WHITE:
        return _numbered(others) and others[-1] <= top * 3 // 4
    return len(found) <= FEW or top > max(WHITE[:3]) or _numbered(found)


def _is_picture(found: list[int]) -> bool:
    return found[-1] in WHITE or found[-1] <= max(WHITE[:3])


def _numbered(found: list[int]) -> bool:
    return found[-1] - len(found) <= min(MISSING, 3 * len(found))


def _apart(found: list[int]) -> bool:
    return all(high - low >= APART for low, high in zip([0, *found], found, strict=False))


def class_indices(labels: np.ndarray, label_values: Sequence[int], ignore: int | None = None) -> np.ndarray:
    """Return class indices (uint8 where they fit) for file values; a value that is no class is background.

    Raises:
        ValueError: so many classes that one would have the index of unlabelled voxels.
    """
    if ignore is not None and len(label_values) > IGNORE:
        raise ValueError(f"{len(label_values)} classes; beside unlabelled voxels there may be {IGNORE}")
    classes = np.zeros(labels.shape, np.uint8 if len(label_values) <= 256 else np.int32)
    for index, value in enumerate(label_values[1:], start=1):
        classes[labels == value] = index
    if ignore is not None:
        classes[labels == ignore] = IGNORE
    return classes


def fullest_slice(labels: np.ndarray) -> int:
    """Return which slice of a volume (H, W, D), along its last axis, holds most of the objects."""
    return int((labels > 0).sum((0, 1)).argmax())
