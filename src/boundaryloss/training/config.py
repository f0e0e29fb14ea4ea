"""The configuration of a training run: one frozen dataclass, read from TOML and written back in full."""

import dataclasses
import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boundaryloss.files import UserError, atomic_write, check_pattern, read_toml
from boundaryloss.schedules import Constant, GradientRatio, Increase, Rebalance, Schedule

__all__ = ["TrainConfig", "as_dict", "check_choice", "from_dict", "read_config", "read_toml", "write_config"]

REGIONS = ("ce", "dice", "gdl", "dicece")
TERMS = ("boundary", "monai.BoundaryLoss", "official.BoundaryLoss")
LOSSES = (*REGIONS, *TERMS, *(f"{region}+{term}" for region in REGIONS for term in TERMS))
WEIGHTINGS = {"constant": Constant, "increase": Increase, "rebalance": Rebalance, "ratio": GradientRatio}
AUGMENT = ("flip", "rotate90", "scale", "intensity", "noise")
CHOICES = {
    "accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "form": ("linear", "log"),
    "map_from": ("patch", "volume"),
    "network": ("basicunet", "dynunet"),
    "deep_supervision": ("none", "full", "all"),
    "precision": ("32-true", "bf16-mixed", "16-mixed"),
}
POSITIVE = (
    "saturation",
    "epochs",
    "batch_size",
    "learning_rate",
    "devices",
    "nodes",
    "accumulate",
)
WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
LENGTHS = {"spacing": (2,), "target_spacing": (3,), "patch": (2, 3)}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides how a run goes, apart from its data.

    Args:
        loss: `ce`, `dice`, `gdl` or `dicece`, each also with `+boundary`. To compare with others, instead of
            `boundary`: `monai.BoundaryLoss`, or `official.BoundaryLoss` as the authors' code computes it. All
            three exist alone, too, and then tend to an empty prediction.
        form: of `boundary`: `linear`, the paper's integral, or `log`, see `LogBoundaryLoss`.
        saturation: of the form `log`: the distance in mm from which on all voxels count about alike.
        weighting: of both terms: the schedules `constant`, `increase` and `rebalance`, or `ratio`, which
            holds the ratio of their gradients, see `GradientRatio`.
        weighting_options: its own arguments, for instance `{"step": 0.02}`; the `ramp` of `ratio` is a
            quarter of the run unless it is given.
        epochs: how often the training slices are seen.
        batch_size: slices per step.
        learning_rate: of Adam.
        halve_after: halve the learning rate after more than so many epochs without a better Dice on the
            validation share; 0: never.
        decay: let the learning rate fall to zero over the run, as nnU-Net's: times (1 - epoch / epochs)^0.9.
        seed: of the network's first weights, of the order of the slices and of the validation share.
        validation: share of the training slices that only choose `best.ckpt`; the test uses the last epoch.
        features: channels of the levels of the U-Net, five for `basicunet`; the first is at full resolution.
        labels: file values to keep as classes, all others become background; none given: all are kept.
        ignore: the file value of voxels that nobody labelled; nnU-Net's dataset.json names its own.
        threshold: of grey masks: file values above it are the one class; none given: masks hold labels.
        split: how a random split goes: `group` is a regular expression whose first group, at the beginning of
            a name, is the patient; none given: see `boundaryloss.files.group_names`.
        spacing: pixel size of slices in mm, in array order; none given: as the files say.
        fold: which fold is tested on, of nnU-Net's `splits_final.json` or of a random split.
        window: intensities that become 0 and 1, such as `[-160, 240]`; none given: for CT the range of its
            objects, for the rest percentiles 0.5 and 99.5 of each image.
        target_spacing: voxel size in mm that volumes are resampled to; none given: their own.
        dimensions: of the network on volumes: 3, or 2 for one slice at a time, across the body.
        patch: voxels that the network sees at once. None given: slices of one size are seen whole. Volumes,
            and slices of several sizes, have a patch of their median size, rounded up to a multiple of 16,
            but at most 96 an axis in 3-D and 256 in 2-D. A smaller case is padded, and no loss counts that.
        patches_per_case: patches that an epoch takes of each case; 0: see `steps_per_epoch`.
        steps_per_epoch: batches in an epoch of each process, in place of `patches_per_case`. Both 0: as many
            as show every case once, on patches at least 50.
        foreground: share of patches that have an object in their centre.
        map_from: `patch`: the distance map of what the network sees, or `volume`: of the whole volume, cut
            with the patch, so that an object beyond its edge still counts.
        augment: any of `flip`, `rotate90` (of the first two axes), `scale`, `intensity`, `noise`.
        cache: `memory`, `none`, or a folder: where prepared volumes are kept between epochs.
        network: `basicunet` (halves every axis four times) or `dynunet` (halves the fine axes first).
        deep_supervision: `none`; of DynUNet also `full`: region loss at every level, boundary loss at full
            resolution; or `all`: both at every level, with its spacing.
        accelerator: Lightning's: `auto`, `cpu`, `gpu`, `cuda` or `mps`.
        devices: how many of them on each machine; `batch_size` is for each.
        nodes: how many machines.
        precision: Lightning's: `32-true`, `bf16-mixed`, `16-mixed`.
        accumulate: batches whose gradients make one step of the optimiser.
        num_workers: processes that load data; what is in memory needs none for whole slices.

    Raises:
        UserError: a value that no run could use; the message names it.
    """

    loss: str = "gdl+boundary"
    form: str = "linear"
    saturation: float = 2.0
    weighting: str = "increase"
    weighting_options: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 100
    batch_size: int = 8
    learning_rate: float = 1e-3
    halve_after: int = 0
    decay: bool = False
    seed: int = 0
    validation: float = 0.1
    features: tuple[int, ...] = (16, 32, 64, 128, 256)
    labels: tuple[int, ...] | None = None
    ignore: int | None = None
    threshold: float | None = None
    split: Mapping[str, str] = field(default_factory=dict)
    spacing: tuple[float, ...] | None = None
    fold: int = 0
    window: tuple[float, ...] | None = None
    target_spacing: tuple[float, ...] | None = None
    dimensions: int = 3
    patch: tuple[int, ...] | None = None
    patches_per_case: int = 0
    steps_per_epoch: int = 0
    foreground: float = 0.5
    map_from: str = "patch"
    augment: tuple[str, ...] = ()
    cache: str = "memory"
    network: str = "basicunet"
    deep_supervision: str = "none"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "32-true"
    accumulate: int = 1
    num_workers: int = 0

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check_type(item.name, item.type, getattr(self, item.name))
        check_choice("loss", self.loss, LOSSES)
        check_choice("weighting", self.weighting, tuple(WEIGHTINGS))
        for name, known in CHOICES.items():
            check_choice(name, getattr(self, name), known)
        for name in self.augment:
            check_choice("augment", name, AUGMENT)
        for name in POSITIVE:
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("seed", "num_workers", "fold", "halve_after", "patches_per_case", "steps_per_epoch"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.validation < 1:
            raise UserError(f"validation is a share from 0 to below 1, got {self.validation}")
        if self.halve_after and not self.validation:
            raise UserError("halve_after watches the validation share; set validation above 0, e.g. 0.1")
        if self.halve_after and self.decay:
            raise UserError("halve_after and decay both move the learning rate; choose one")
        if not 0 <= self.foreground <= 1:
            raise UserError(f"foreground is a share from 0 to 1, got {self.foreground}")
        if self.dimensions not in (2, 3):
            raise UserError(f"dimensions must be 2 or 3, got {self.dimensions}")
        for name, lengths in LENGTHS.items():
            _check_positive(name, getattr(self, name), lengths)
        if self.window is not None and not (len(self.window) == 2 and self.window[0] < self.window[1]):
            raise UserError(f"window must be two rising numbers, got {list(self.window)}")
        self._check_labels()
        self._check_combinations()
        self.make_weighting()

    def _check_labels(self) -> None:
        for name in self.split:
            check_choice("setting in [split]", name, ("group",))
        if "group" in self.split:
            check_pattern(self.split["group"])
        for value in () if self.ignore is None else (self.ignore,):
            if not 0 < value <= 65535:
                raise UserError(f"ignore must be a value from 1 to 65535, since 0 is background, got {value}")
            if value in (self.labels or ()):
                raise UserError(f"ignore: {value} is one of the labels to keep; take it out of one")
        if self.threshold is not None and self.ignore is not None:
            raise UserError("threshold leaves nothing but 0 and 1, so no value to ignore; remove one of them")
        if self.threshold is not None and not 0 <= self.threshold < 65535:
            raise UserError(f"threshold must be from 0 to below 65535, got {self.threshold}")

    def _check_combinations(self) -> None:
        basic = self.network == "basicunet"
        if (len(self.features) != 5 if basic else len(self.features) < 3) or min(self.features) < 1:
            number = "five" if basic else "at least three"
            raise UserError(
                f"features must be {number} positive numbers of channels, got {list(self.features)}"
            )
        if basic and self.deep_supervision != "none":
            raise UserError('deep_supervision needs network = "dynunet"')
        if self.patches_per_case and self.steps_per_epoch:
            raise UserError("patches_per_case and steps_per_epoch both say how long an epoch is; choose one")
        if self.map_from == "volume" and "scale" in self.augment:
            raise UserError(
                'augment: "scale" changes distances, so the map of the volume would be stale; '
                'remove it, or choose map_from = "patch"'
            )
        if self.map_from == "volume" and self.deep_supervision == "all":
            raise UserError(
                'deep_supervision = "all" needs the map of every level; choose "full", or map_from = "patch"'
            )

    def make_weighting(self) -> Schedule | GradientRatio:
        """Return what `weighting` and `weighting_options` name."""
        kind = WEIGHTINGS[self.weighting]
        known = tuple(item.name for item in dataclasses.fields(kind))
        for name in self.weighting_options:
            check_choice(f"option of the weighting {self.weighting!r}", name, known)
        default = {"ramp": self.epochs / 4} if kind is GradientRatio else {}
        try:
            return kind(**{**default, **self.weighting_options})
        except (TypeError, ValueError) as error:
            raise UserError(f"weighting_options: {error}") from None


def as_dict(config: TrainConfig) -> dict[str, Any]:
    """Plain numbers, strings, lists and a dictionary; settings that are `None` are left out."""
    plain = {name: _plain(value) for name, value in vars(config).items()}
    return {name: value for name, value in plain.items() if value is not None}


def from_dict(settings: Mapping[str, Any], origin: str = "the configuration") -> TrainConfig:
    """The inverse of `as_dict`. An unknown key is an error that names the nearest known one."""
    known = tuple(item.name for item in dataclasses.fields(TrainConfig))
    for name in settings:
        check_choice(f"setting in {origin}", name, known)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    return TrainConfig(**values)


def read_config(path: Path | None, **overrides: Any) -> TrainConfig:
    """Read a TOML file, if one is given; `overrides` (the command line) that are not `None` win over it."""
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if path is None:
        return from_dict(overrides)
    settings = read_toml(path)
    settings.pop("data", None)  # what a run's own config.toml adds: found in the data, not chosen
    return from_dict({**settings, **overrides}, str(path))


def write_config(path: Path, config: TrainConfig, data: Mapping[str, Any]) -> None:
    """Write the full configuration, and what was found in the data as the table `[data]`."""
    settings = as_dict(config)
    options, split = settings.pop("weighting_options"), settings.pop("split")
    lines = [f"{name} = {_toml(value)}" for name, value in settings.items()]
    for title, table in (("weighting_options", options), ("split", split), ("data", data)):
        lines += ["", f"[{title}]", *(f"{name} = {_toml(value)}" for name, value in table.items())]
    with atomic_write(path, "configuration") as file:
        file.write(("\n".join(lines) + "\n").encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def check_choice(what: str, value: str, known: Collection[str]) -> None:
    """Raise a `UserError` that names the nearest of `known`, if `value` is none of them."""
    if value in known:
        return
    near = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise UserError(f"unknown {what}: {value!r}; {hint}")


def _check_positive(name: str, values: tuple[float, ...] | None, lengths: tuple[int, ...]) -> None:
    if values is None or (len(values) in lengths and all(0 < v < float("inf") for v in values)):
        return
    number = " or ".join({2: "two", 3: "three"}[length] for length in lengths)
    raise UserError(f"{name} must be {number} positive numbers, got {list(values)}")


def _check_type(name: str, kind: Any, value: Any) -> None:
    """Hold a value against its annotation, since TOML may bring anything."""
    number = (int, float)
    fits = {
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, number) and not isinstance(value, bool),
    }
    if kind in fits:
        good, wanted = fits[kind], WORDS[kind]
    elif name in ("ignore", "threshold"):
        plain = int if name == "ignore" else number
        good = value is None or (isinstance(value, plain) and not isinstance(value, bool))
        wanted = "a whole number" if plain is int else "a number"
    elif name == "split":
        good = isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values())
        wanted = 'a table such as {group = "^(.+?)_"}'
    elif name == "weighting_options":
        good = isinstance(value, Mapping) and all(isinstance(v, number) for v in value.values())
        wanted = "a table of numbers"
    else:
        element = {"augment": str, "spacing": number, "target_spacing": number, "window": number}.get(
            name, int
        )
        good = value is None or (isinstance(value, tuple) and all(isinstance(v, element) for v in value))
        wanted = "a list of names" if element is str else "a list of numbers"
    if not good:
        raise UserError(f"{name} must be {wanted}, got {value!r}")
