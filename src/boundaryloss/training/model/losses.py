"""The losses by name: MONAI's region losses, and three boundary losses: ours, MONAI's, the official one.

Others come by their import path.
"""

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from monai.losses import boundary_loss as monai_boundary
from monai.losses.dice import DiceCELoss, DiceLoss, GeneralizedDiceLoss
from torch import Tensor, nn
from torch.nn import functional

from boundaryloss.distance import signed_distance_map
from boundaryloss.files import IGNORE, UserError
from boundaryloss.losses import BoundaryLoss, LogBoundaryLoss, RegionBoundaryLoss, boundary_loss
from boundaryloss.training.config import REGIONS, TERMS, TrainConfig
from boundaryloss.training.task import Task

Activation = Literal["softmax", "sigmoid"]


class CrossEntropy(nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` for a target with a channel axis: `(batch, 1, *space)`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy of the logits `input`."""
        return super().forward(input, target.squeeze(1))


class MonaiBoundaryLoss(monai_boundary.BoundaryLoss):
    """MONAI's own boundary loss on the foreground, in pixels: it knows neither spacing nor mask."""

    def __init__(self) -> None:
        super().__init__(include_background=False, to_onehot_y=True, softmax=True)

    def forward(
        self, input: Tensor, target: Tensor, *, spacing: Sequence[float] | None = None, mask: None = None
    ) -> Tensor:
        """Return their loss; `spacing` is not used, as they do not."""
        return super().forward(input, target)


class OfficialBoundaryLoss(nn.Module):
    """The boundary loss as the code published with the MIDL paper computes it, on the foreground.

    Its maps have the type of the labels, so that distances are cut to whole pixels. One thing is left out: a
    class that fills the image, for which SciPy measures to a voxel outside of it; here its map is zero.
    """

    def forward(
        self, logits: Tensor, target: Tensor, *, spacing: Sequence[float] | None = None, mask: None = None
    ) -> Tensor:
        """Return the mean over batch, foreground classes and pixels; `spacing` is not used."""
        phi = signed_distance_map(target[:, 0], logits.shape[1], contour="centers").trunc()
        return boundary_loss(logits.softmax(1)[:, 1:], phi)


class ImportedLoss(nn.Module):
    """A loss from elsewhere, called with logits `(batch, class, *space)` and labels `(batch, 1, *space)`.

    Args:
        path: where it is imported from: a class, or a function.
        options: arguments of the class, or further ones of the function.

    Raises:
        UserError: it cannot be imported or made.
    """

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        module, _, name = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever that module does
            raise UserError(
                f"loss {path}: {type(error).__name__}: {error}; if it is your own, put its folder on "
                "PYTHONPATH"
            ) from None
        try:
            self.loss = found(**options) if isinstance(found, type) else functools.partial(found, **options)
        except Exception as error:
            raise UserError(f"loss {path}: {error}; its arguments are loss_options") from None

    def forward(
        self, input: Tensor, target: Tensor, *, spacing: Sequence[float] | None = None, mask: None = None
    ) -> Tensor:
        """Return its value; `spacing` is not used."""
        return self.loss(input, target)


class MaskedRegionLoss(nn.Module):
    """Region losses where MONAI has none: of regions that overlap, and of labels that are not everywhere.

    Voxels without a label leave every sum and every mean.

    Args:
        name: `ce`, `dice`, `gdl` or `dicece`.
        activation: `softmax` for labels, `sigmoid` for masks of regions.
        ignore_index: the label of unlabelled voxels; masks have them as one more channel, the last. None: all
            are labelled.
    """

    def __init__(self, name: str, activation: Activation, ignore_index: int | None) -> None:
        super().__init__()
        self.activation, self.ignore_index = activation, ignore_index
        self.entropy = name in ("ce", "dicece")
        overlaps = {"ce": None, "dice": DiceLoss, "dicece": DiceLoss, "gdl": GeneralizedDiceLoss}
        self.overlap = overlaps[name] and overlaps[name]()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of `logits` over the voxels with a label."""
        if self.activation == "sigmoid":
            truth = target[:, : logits.shape[1]].to(logits.dtype)
            valid = target.new_ones(()).bool() if self.ignore_index is None else ~target[:, -1:].bool()
            probabilities = logits.sigmoid()
            entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        else:
            valid = target != self.ignore_index
            labels = target.masked_fill(~valid, 0)[:, 0]
            truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
            probabilities = logits.softmax(1)
            entropy = functional.cross_entropy(logits, labels, reduction="none")[:, None]
        loss = logits.new_zeros(())
        if self.entropy:
            counted = valid.expand_as(entropy)
            loss = loss + (entropy * counted).sum() / counted.sum().clamp(min=1)
        if self.overlap is not None:
            loss = loss + self.overlap(probabilities * valid, truth * valid)
        return loss


def make_loss(name: str, config: TrainConfig, task: Task) -> nn.Module:
    """Make the loss called `name`, for logits `(batch, class, *space)` and labels `(batch, 1, *space)`.

    Args:
        name: a region loss `ce`, `dice`, `gdl` or `dicece`; a boundary term `boundary`, `monai.BoundaryLoss`
            or `official.BoundaryLoss`; the import path of either; or both with a `+` between, which makes a
            `RegionBoundaryLoss`.
        config: gives the weighting, and the boundary term's form.
        task: gives the pixel size that the distance map is measured in. Where it has regions the target is
            masks `(batch, region, *space)`; where it has voxels to leave out these carry no loss.

    Raises:
        UserError: a loss cannot be imported, or does not serve these data.
    """
    activation: Activation = "sigmoid" if task.regions else "softmax"
    ignore_index = IGNORE if task.masked else None
    region, _, term = name.rpartition("+") if "+" in name else (name, "", "")
    if name in TERMS:
        return _make_term(name, config, task, activation, ignore_index)
    loss = _make_region(region, config, task, activation, ignore_index)
    if not term:
        return loss
    boundary = _make_term(term, config, task, activation, ignore_index)
    return RegionBoundaryLoss(loss, boundary, config.make_weighting())


def _make_term(
    name: str,
    config: TrainConfig,
    task: Task,
    activation: Activation,
    ignore_index: int | None,
) -> nn.Module:
    if name == "boundary":
        options: dict[str, Any] = {
            "activation": activation,
            "spacing": task.spacing,
            "ignore_index": ignore_index if activation == "softmax" else None,
        }
        if config.form == "log":
            return LogBoundaryLoss(
                **options, saturation=config.saturation, balance_lesions=config.balance_lesions
            )
        return BoundaryLoss(**options)
    if activation == "sigmoid" or ignore_index is not None:
        raise UserError(f"{name} knows neither regions nor unlabelled voxels; choose boundary for these data")
    if name == "monai.BoundaryLoss":
        return MonaiBoundaryLoss()
    if name == "official.BoundaryLoss":
        return OfficialBoundaryLoss()
    return _make_imported(name, config, task)


def _make_region(
    name: str, config: TrainConfig, task: Task, activation: Activation, ignore_index: int | None
) -> nn.Module:
    if name not in REGIONS:
        if activation == "sigmoid" or ignore_index is not None:
            raise UserError(
                f"{name} knows neither regions nor unlabelled voxels; choose one of {', '.join(REGIONS)}"
            )
        return _make_imported(name, config, task)
    if activation == "sigmoid" or ignore_index is not None:
        return MaskedRegionLoss(name, activation, ignore_index)
    if name == "ce":
        return CrossEntropy()
    if name == "dice":
        return DiceLoss(softmax=True, to_onehot_y=True)
    if name == "gdl":
        return GeneralizedDiceLoss(softmax=True, to_onehot_y=True)
    return DiceCELoss(softmax=True, to_onehot_y=True)


def _make_imported(path: str, config: TrainConfig, task: Task) -> ImportedLoss:
    """Import a loss and try it out: what cannot be trained with is said before the training."""
    loss = ImportedLoss(path, config.loss_options)
    chance = torch.Generator().manual_seed(0)
    shape = (16,) * len(task.spacing)
    logits = torch.randn(2, task.num_classes, *shape, generator=chance, requires_grad=True)
    labels = torch.randint(0, task.num_classes, (2, 1, *shape), generator=chance)
    call = f"loss {path}, called with logits {tuple(logits.shape)} and labels {tuple(labels.shape)},"
    try:
        value = loss(logits, labels)
    except Exception as error:
        raise UserError(f"{call} raises {type(error).__name__}: {error}; see loss_options") from None
    if not (isinstance(value, Tensor) and value.ndim == 0 and value.requires_grad and value.isfinite()):
        shown = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) and value.ndim else f"{value!r}"
        raise UserError(f"{call} gives {shown}; it must give one finite number with a gradient")
    return loss
