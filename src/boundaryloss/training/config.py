"""The configuration of a training run: one frozen dataclass, read from TOML and written back in full."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema, model_validator
from pydantic.dataclasses import dataclass

from boundaryloss.files import UserError, atomic_write, check_pattern, read_toml
from boundaryloss.schedules import Constant, GradientRatio, Increase, Rebalance, Schedule
from boundaryloss.training.rules import check_choice, one_line_errors

__all__ = ["TrainConfig", "as_dict", "check_choice", "from_dict", "read_config", "read_toml", "write_config"]

REGIONS = ("ce", "dice", "gdl", "dicece")
TERMS = ("boundary", "monai.BoundaryLoss", "official.BoundaryLoss")
LOSSES = (*REGIONS, *TERMS, *(f"{region}+{term}" for region in REGIONS for term in TERMS))
IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
WEIGHTINGS = {"constant": Constant, "increase": Increase, "rebalance": Rebalance, "ratio": GradientRatio}


def _check_loss(name: str) -> str:
    region, plus, term = name.partition("+")
    if IMPORT_PATH.fullmatch(region):
        region = "ce"  # any will do
    if IMPORT_PATH.fullmatch(term):
        term = "boundary"
    if f"{region}{plus}{term}" not in LOSSES:
        check_choice("loss", name, LOSSES)
    return name


def imported_parts(loss: str) -> list[str]:
    """Return the parts of a loss that are named by their import path.

    >>> imported_parts("dicece+monai.losses.HausdorffDTLoss")
    ['monai.losses.HausdorffDTLoss']
    """
    return [part for part in loss.split("+") if part not in LOSSES]


NAMES = WithJsonSchema({"anyOf": [{"enum": list(LOSSES)}, {"type": "string", "pattern": r"\w\.\w"}]})
Choice = Annotated[str, AfterValidator(_check_loss), NAMES]
Augment = Literal["flip", "rotate90", "scale", "intensity", "noise"]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # torch, NumPy and Python take these alike


@one_line_errors
@dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False))
class TrainConfig:
    """Everything that decides how a run goes, apart from its data.

    Raises:
        UserError: a value that no run could use; the message names it.
    """

    loss: Choice = Field(
        default="gdl+boundary",
        description="`ce`, `dice`, `gdl` or `dicece`, each also with `+boundary`. To compare with others, "
        "instead of `boundary`: `monai.BoundaryLoss`, or `official.BoundaryLoss` as the authors' "
        "code computes it. All three exist alone, too, and then tend to an empty prediction. In place of "
        "either part: the import path of a class or a function, such as `gdl+monai.losses.HausdorffDTLoss`, "
        "to call with logits `(batch, class, *space)` and labels `(batch, 1, *space)`.",
    )
    loss_options: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Arguments of the part that is given by its import path, for instance "
        "`{ softmax = true, to_onehot_y = true }`.",
    )
    form: Literal["linear", "log"] = Field(
        default="log",
        description="Of `boundary`: `log`, see `LogBoundaryLoss`, or `linear`, the paper's integral.",
    )
    balance_lesions: bool = Field(
        default=True,
        description="Of the form `log`: whether every lesion of the truth counts alike, whatever its size.",
    )
    saturation: Positive = Field(
        default=2.0,
        description="Of the form `log`: the distance in mm from which on all voxels count about alike.",
    )
    weighting: Literal["constant", "increase", "rebalance", "ratio"] = Field(
        default="ratio",
        description="Of both terms: `ratio`, which holds the ratio of their gradients, see `GradientRatio`, "
        "or the schedules `constant`, `increase` and `rebalance`.",
    )
    weighting_options: Mapping[str, float] = Field(
        default_factory=dict,
        description="Arguments of `weighting`, for instance `{ step = 0.02 }`. `ratio` trains the region "
        "loss alone for two thirds of the run, and then has a `ramp` of a fifth of the rest, unless `start` "
        "and `ramp` are given, in epochs. Its `ratio` is 0.5 for the form `log`, else 0.3, since other terms "
        "bear no more.",
    )
    begin_with: str | None = Field(
        default=None,
        description="Directory of a run whose last weights this one begins with, to go on with other data or "
        "another loss; the network must be the same. In a file, a relative path begins at the file. None "
        "given: weights by chance.",
    )
    epochs: Count = Field(
        default=100,
        description="How often the training slices are seen.",
    )
    batch_size: Count = Field(
        default=8,
        description="Slices per step.",
    )
    learning_rate: Positive = Field(
        default=1e-3,
        description="Of Adam.",
    )
    halve_after: Natural = Field(
        default=0,
        description="Halve the learning rate after more than so many epochs without a better Dice on the "
        "validation share; 0: never.",
    )
    decay: bool = Field(
        default=False,
        description="Let the learning rate fall to zero over the run, as nnU-Net's: times (1 - epoch / "
        "epochs)^0.9.",
    )
    seed: Seed = Field(
        default=0,
        description="Of the network's first weights, of the order of the slices and of the validation share.",
    )
    validation: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of the training slices that only choose `best.ckpt`; the test "
        "uses the last epoch.",
    )
    features: tuple[Count, ...] = Field(
        default=(16, 32, 64, 128, 256),
        min_length=3,
        description="Channels of the levels of the U-Net, five for `basicunet`; the first is at full "
        "resolution.",
    )
    labels: tuple[int, ...] | None = Field(
        default=None,
        description="File values to keep as classes, all others become background; none given: all are kept.",
    )
    ignore: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="The file value of voxels that nobody labelled; nnU-Net's dataset.json names its own.",
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        lt=65535,
        description="Of grey masks: file values above it are the one class; none given: masks hold labels.",
    )
    split: Mapping[str, str] = Field(
        default_factory=dict,
        description="How a random split goes: `group` is a regular expression whose first group, at the "
        "beginning of a name, is the patient; none given: see "
        "`boundaryloss.files.group_names`.",
    )
    spacing: tuple[Positive, ...] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="Pixel size of slices in mm, in array order; none given: as the files say.",
    )
    fold: Natural = Field(
        default=0,
        description="Which fold is tested on, of nnU-Net's `splits_final.json` or of a random split.",
    )
    window: tuple[float, ...] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="Intensities that become 0 and 1, such as `[-160, 240]`; none given: for CT the range of "
        "its objects, for the rest percentiles 0.5 and 99.5 of each image.",
    )
    target_spacing: tuple[Positive, ...] | None = Field(
        default=None,
        min_length=3,
        max_length=3,
        description="Voxel size in mm that volumes are resampled to; none given: their own.",
    )
    dimensions: Literal[2, 3] = Field(
        default=3,
        description="Of the network on volumes: 3, or 2 for one slice at a time, across the body.",
    )
    patch: tuple[Count, ...] | None = Field(
        default=None,
        min_length=2,
        max_length=3,
        description="Voxels that the network sees at once. None given: slices of one size are seen whole. "
        "Volumes, and slices of several sizes, have a patch of their median size, rounded up to a "
        "multiple of 16, but at most 96 an axis in 3-D and 256 in 2-D. A smaller case is padded, "
        "and no loss counts that.",
    )
    patches_per_case: Natural = Field(
        default=0,
        description="Patches that an epoch takes of each case; 0: see `steps_per_epoch`.",
    )
    steps_per_epoch: Natural = Field(
        default=0,
        description="Batches in an epoch of each process, in place of `patches_per_case`. Both 0: as many as "
        "show every case once, on patches at least 50.",
    )
    foreground: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of patches that have an object in their centre.",
    )
    map_from: Literal["patch", "volume"] = Field(
        default="patch",
        description="`patch`: the distance map of what the network sees, or `volume`: of the whole volume, "
        "cut with the patch, so that an object beyond its edge still counts.",
    )
    augment: tuple[Augment, ...] = Field(
        default=(),
        description="Any of `flip`, `rotate90` (of the first two axes), `scale`, `intensity`, `noise`.",
    )
    cache: str = Field(
        default="memory",
        description="`memory`, `none`, or a folder: where prepared volumes are kept between epochs.",
    )
    network: Literal["basicunet", "dynunet"] = Field(
        default="basicunet",
        description="`basicunet` (halves every axis four times) or `dynunet` (halves the fine axes first).",
    )
    deep_supervision: Literal["none", "full", "all"] = Field(
        default="none",
        description="`none`; of DynUNet also `full`: region loss at every level, boundary loss at full "
        "resolution; or `all`: both at every level, with its spacing.",
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = Field(
        default="auto",
        description="Lightning's: `auto`, `cpu`, `gpu`, `cuda` or `mps`.",
    )
    devices: Count = Field(
        default=1,
        description="How many of them on each machine; `batch_size` is for each.",
    )
    nodes: Count = Field(
        default=1,
        description="How many machines.",
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true",
        description="Lightning's: `32-true`, `bf16-mixed`, `16-mixed`.",
    )
    accumulate: Count = Field(
        default=1,
        description="Batches whose gradients make one step of the optimiser.",
    )
    num_workers: Natural = Field(
        default=0,
        description="Processes that load data; what is in memory needs none for whole slices.",
    )

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if self.halve_after and not self.validation:
            raise UserError("halve_after watches the validation share; set validation above 0, e.g. 0.1")
        if self.halve_after and self.decay:
            raise UserError("halve_after and decay both move the learning rate; choose one")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise UserError(f"window must be two rising numbers, got {list(self.window)}")
        self._check_labels()
        self._check_combinations()
        self.make_weighting()
        return self

    def _check_labels(self) -> None:
        for name in self.split:
            check_choice("setting in [split]", name, ("group",))
        if "group" in self.split:
            check_pattern(self.split["group"])
        if self.ignore is not None and self.ignore in (self.labels or ()):
            raise UserError(f"ignore: {self.ignore} is one of the labels to keep; take it out of one")
        if self.threshold is not None and self.ignore is not None:
            raise UserError("threshold leaves nothing but 0 and 1, so no value to ignore; remove one of them")

    def _check_combinations(self) -> None:
        imported = len(imported_parts(self.loss))
        if self.loss_options and imported != 1:
            raise UserError(
                f"loss_options are the arguments of a loss given by its import path, but {self.loss!r} has "
                f"{imported} of them; " + ("leave them out" if not imported else "give one a name of its own")
            )
        basic = self.network == "basicunet"
        if basic and len(self.features) != 5:
            raise UserError(f"features of basicunet must be five numbers, got {list(self.features)}")
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
        options = {**self.weighting_options}
        if kind is GradientRatio:
            start = options.setdefault("start", max(0, self.epochs * 2 // 3 - 1))
            options.setdefault("ramp", (self.epochs - start) / 5)
            if self.form != "log" or self.loss.rpartition("+")[2] != "boundary":
                options.setdefault("ratio", 0.3)
        try:
            weighting = kind(**options)
        except (TypeError, ValueError) as error:
            raise UserError(f"weighting_options: {error}") from None
        if isinstance(weighting, GradientRatio):
            self._check_start(weighting)
        return weighting

    def _check_start(self, weighting: GradientRatio) -> None:
        never = self.epochs > 1 and weighting.ratio > 0 and not weighting.at(self.epochs - 1)
        if 0 < weighting.start < 1 or never:
            raise UserError(
                f"weighting_options: start counts epochs, of which there are {self.epochs}; for two thirds "
                f"of them give {max(0, self.epochs * 2 // 3 - 1)}, or leave it out; got {weighting.start:g}"
            )


def as_dict(config: TrainConfig) -> dict[str, Any]:
    """Return plain numbers, strings, lists and a dictionary; settings that are `None` are left out."""
    plain = {name: _plain(value) for name, value in vars(config).items()}
    return {name: value for name, value in plain.items() if value is not None}


def from_dict(settings: Mapping[str, Any], origin: str = "the configuration") -> TrainConfig:
    """Return the inverse of `as_dict`. An unknown key is an error that names the nearest known one."""
    known = tuple(item.name for item in dataclasses.fields(TrainConfig))
    for name in settings:
        check_choice(f"setting in {origin}", name, known)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    return TrainConfig(**values)


def check_weights(out: Path, before: TrainConfig, config: TrainConfig, done: int) -> None:
    """Refuse a length with which the boundary term would come in at another time than it did."""
    old, new = before.make_weighting(), config.make_weighting()
    if "+" not in config.loss or not (isinstance(old, GradientRatio) and isinstance(new, GradientRatio)):
        return
    if any(old.at(epoch) != new.at(epoch) for epoch in range(done)):
        raise UserError(
            f"{out} has {done} of {before.epochs} epochs, with the boundary term after {old.start:g}; in a "
            f"run of {config.epochs} it comes after {new.start:g}. Give {before.epochs} epochs, or a new "
            "directory"
        )


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
    with atomic_write(path, "configuration") as file:
        file.write(tomli_w.dumps({**as_dict(config), "data": dict(data)}).encode())


def describe_settings() -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of every setting."""
    for name, item in settings_schema()["properties"].items():
        yield name, json.dumps(item.get("default", {})), item["description"]


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of a file of settings, for editors."""
    return {**TypeAdapter(TrainConfig).json_schema(), "additionalProperties": False}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


TrainConfig.__doc__ = f"{TrainConfig.__doc__}\n    Args:\n" + "\n".join(
    f"        {name}: {meaning}" for name, _, meaning in describe_settings()
)
