"""What is known of a data set: found once, passed whole, kept in the checkpoint."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boundaryloss.files import UserError


@dataclass(frozen=True)
class Task:
    """What a network has to know of its data, in plain values.

    Args:
        channels: of an image.
        label_values: the value in the files of class 0 (background), 1, 2, ...
        spacing: size of a voxel in mm along each axis of the network; of volumes the median.
        patch: voxels that the network sees at once; None: slices of one size, seen whole.
        padded: whether a case to train on is smaller than the patch.
        regions: class indices of each region; none: the classes exclude each other.
        painted: the class index that each region is written as.
        ignore_value: the value in the files of voxels that nobody labelled; None: all are labelled.
        windows: intensities that become 0 and 1, by channel; none: see `read_image`.
        by_type: by file of a case, whether values are scaled by the range of their type.
        slicewise: whether a 2-D network works on volumes.
        numbered: whether images have one file per channel, NAME_0000, NAME_0001, ...
        fingerprint: of all images and masks: a run goes on with the data that it began with.
    """

    channels: int
    label_values: tuple[int, ...]
    spacing: tuple[float, ...]
    patch: tuple[int, ...] | None = None
    padded: bool = False
    regions: tuple[tuple[int, ...], ...] = ()
    painted: tuple[int, ...] = ()
    ignore_value: int | None = None
    windows: tuple[tuple[float, ...], ...] = ()
    by_type: tuple[bool, ...] = ()
    slicewise: bool = False
    numbered: bool = False
    fingerprint: str = ""

    @property
    def num_classes(self) -> int:
        """Return the number of classes, the background included."""
        return len(self.label_values)

    @property
    def outputs(self) -> int:
        """Return the number of channels of the logits: one per region, or per class."""
        return len(self.regions) or self.num_classes

    @property
    def image_axes(self) -> int:
        """Return the number of axes of an image, which may be one more than the network's."""
        return len(self.spacing) + self.slicewise

    @property
    def masked(self) -> bool:
        """Return whether a loss has to leave voxels out: unlabelled ones, or what pads a small case."""
        return self.ignore_value is not None or self.padded

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists; what is None is left out."""
        return {name: _plain(value) for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: object) -> "Task":
        """Return the inverse of `as_dict`.

        Raises:
            UserError: a key is unknown or missing; the message calls the file `origin`.
        """
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        missing = [name for name, default in known.items() if name not in values and default is not None]
        if missing or not {*values} <= {*known}:
            unknown = sorted({*values} - {*known})
            what = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}, which is unknown here"
            raise UserError(
                f"{origin} was made by another version of this program (it {what}); "
                "use that version, or train anew"
            )
        return cls(**{name: _frozen(value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
