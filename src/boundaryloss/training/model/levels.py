"""Labels of a batch -> the two terms of the loss, at one level or at several.

Labels are class indices, `IGNORE` where there is none. Where a dataset has regions, which may overlap, they
become one mask per region, and one more for what is unlabelled if anything may be.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from boundaryloss.files import IGNORE
from boundaryloss.losses import BoundaryLoss, LogBoundaryLoss, RegionBoundaryLoss
from boundaryloss.training.task import Task


def region_masks(labels: Tensor, regions: Sequence[Sequence[int]], *, ignore: bool) -> Tensor:
    """Turn class indices (B, 1, *space) into bool masks (B, R, *space), (B, R + 1, *space) for `ignore`."""
    masks = [torch.isin(labels, labels.new_tensor(region)) for region in regions]
    return torch.cat([*masks, labels == IGNORE] if ignore else masks, dim=1)


def classes_of(logits: Tensor, task: Task) -> Tensor:
    """Turn logits (B, C, *space) into class indices (B, *space); later regions cover earlier ones."""
    if not task.regions:
        return logits.argmax(1)
    classes = torch.zeros_like(logits[:, 0], dtype=torch.long)
    for channel, painted in enumerate(task.painted):
        classes[logits[:, channel] > 0] = painted
    return classes


def loss_terms(
    loss: torch.nn.Module,
    outputs: Sequence[Tensor],
    batch: Mapping[str, Any],
    task: Task,
    *,
    reach: int = 1,
) -> tuple[Tensor, Tensor | None]:
    """Return the region and the boundary term, unweighted; the latter is None where the loss leaves it out.

    Level k of deep supervision has half the weight of level k - 1; the labels are thinned to its size, and
    its boundary term is measured with its larger spacing.

    Args:
        loss: `RegionBoundaryLoss`, or one of its terms alone.
        outputs: logits of the levels, at full resolution first.
        batch: `labels`, and, where they are there, `signed_distance`, `spacing` and `inside`.
        task: what is known of the data.
        reach: how many levels carry the boundary term of a `RegionBoundaryLoss`.
    """
    labels = batch["labels"]
    if "inside" in batch:
        labels = labels.masked_fill(~batch["inside"], IGNORE)

    def region(levels: list[Tensor]) -> Tensor:
        term = loss.region if isinstance(loss, RegionBoundaryLoss) else loss
        return _weighted([term(logits, _target(_resized(labels, logits), task)) for logits in levels])

    def boundary(levels: list[Tensor]) -> Tensor:
        term = loss.boundary if isinstance(loss, RegionBoundaryLoss) else loss
        return _weighted([_boundary(cast(torch.nn.Module, term), logits, batch, task) for logits in levels])

    levels = list(outputs)
    if isinstance(loss, RegionBoundaryLoss) and not loss.alone:
        return loss.terms_of(levels, region, lambda levels: boundary(levels[:reach]))
    alone = boundary if isinstance(loss, BoundaryLoss | LogBoundaryLoss) else region
    return alone(levels), None


def _boundary(term: torch.nn.Module, logits: Tensor, batch: Mapping[str, Any], task: Task) -> Tensor:
    """Measure in labels that go on beyond an edge, since it is no boundary; the loss leaves padding out."""
    target = _target(_resized(batch["labels"], logits), task)
    mask = _resized(batch["inside"], logits).bool() if "inside" in batch else None
    if task.masked:
        labelled = ~target[:, -1:] if task.regions else target != IGNORE
        mask = labelled if mask is None else mask & labelled
    if task.regions:
        target = target[:, : logits.shape[1]]
    if "signed_distance" in batch:
        return cast(BoundaryLoss | LogBoundaryLoss, term).from_map(
            logits, batch["signed_distance"], mask=mask
        )
    scale = [full / n for full, n in zip(batch["labels"].shape[2:], logits.shape[2:], strict=True)]
    spacings = [
        tuple(s * k for s, k in zip(spacing, scale, strict=True))
        for spacing in batch.get("spacing") or [task.spacing]
    ]
    if len(set(spacings)) == 1:
        usual = spacings[0] == task.spacing
        return term(logits, target, spacing=None if usual else spacings[0], mask=mask)
    each = [
        term(
            logits[i : i + 1],
            target[i : i + 1],
            spacing=spacing,
            mask=None if mask is None else mask[i : i + 1],
        )
        for i, spacing in enumerate(spacings)
    ]
    return torch.stack(each).mean()


def _target(labels: Tensor, task: Task) -> Tensor:
    return region_masks(labels, task.regions, ignore=task.masked) if task.regions else labels


def _resized(labels: Tensor, logits: Tensor) -> Tensor:
    if labels.shape[2:] == logits.shape[2:]:
        return labels
    return functional.interpolate(labels.float(), logits.shape[2:], mode="nearest-exact").to(labels.dtype)


def _weighted(values: Sequence[Tensor]) -> Tensor:
    weights = [0.5**level for level in range(len(values))]
    shares = [weight / sum(weights) * value for weight, value in zip(weights, values, strict=True)]
    return torch.stack(shares).sum()
