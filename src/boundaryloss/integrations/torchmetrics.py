"""Distances between contours as a torchmetrics metric: means over all cases, and counts of what has none."""

from boundaryloss.extras import require

require("train", __name__, "torchmetrics")

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from boundaryloss.metrics import contour_distances

_MEANS = ("hd", "hd95", "hd95_pooled", "assd", "masd", "nsd", "boundary_iou")
_COUNTS = ("missed", "false_alarm", "both_empty")


class ContourMetric(Metric):
    """HD, HD95, ASSD, MASD, NSD and boundary IoU of each class, as means over all cases.

    `update` measures the cases of a batch by `boundaryloss.metrics.contour_distances`. `compute` gives, for
    class 2 for example, `"hd95/2"`: a mean over the cases that have a value. The other cases are counted:

    - `"missed/2"`: only the prediction is empty. Distances have no value; NSD and boundary IoU are 0.
    - `"false_alarm/2"`: only the truth is empty. The same.
    - `"both_empty/2"`: no metric has a value.
    - `"cases/2"`: all cases. Distances are means over `cases - missed - false_alarm - both_empty`.

    A mean over no case is nan. A network that misses more may have a better HD95, as only the cases that it
    finds have one: read it beside the counts, or choose by NSD. The state consists of sums, so processes
    add up. In Lightning, `self.log_dict(metric.compute())` at the end of an epoch logs all; then reset.

    Args:
        num_classes: number of classes, background included; the background has no metrics.
        spacing: size of a voxel along each spatial axis, in array order, or one number for all; default 1.
        tolerance: of NSD, and the width of the band of boundary IoU, in the unit of `spacing`.
        contour: `"faces"`, `"centers"` or `"surfels"`, see `boundaryloss.metrics.contour_distances`.
        percentile: of HD95, 0 to 100.
        kwargs: for `torchmetrics.Metric`.

    Shape:
        - prediction, target: integer labels `(batch, *space)`, or bool masks
          `(batch, num_classes - 1, *space)`, one for each class without the background.

    Raises:
        ValueError: fewer than 2 classes; masks with another number of channels.
        TypeError: what `contour_distances` refuses, and it raises ValueError for the rest of it.

    Example:
        Of two images the second is missed:

        >>> import torch
        >>> from boundaryloss.integrations.torchmetrics import ContourMetric
        >>> metric = ContourMetric(num_classes=2)
        >>> metric.update(torch.tensor([[[1, 0]], [[0, 0]]]), torch.tensor([[[1, 1]], [[1, 1]]]))
        >>> scores = metric.compute()
        >>> [round(scores[name].item(), 3) for name in ("hd95/1", "assd/1", "nsd/1", "missed/1", "cases/1")]
        [1.0, 0.225, 0.5, 1.0, 2.0]
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    sums: Tensor
    defined: Tensor
    counts: Tensor
    cases: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        spacing: Sequence[float] | float | None = None,
        tolerance: float = 1.0,
        contour: Literal["faces", "centers", "surfels"] = "faces",
        percentile: float = 95,
        **kwargs: bool,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, background included, got {num_classes}")
        self.num_classes = num_classes
        self.spacing = spacing
        self.tolerance = tolerance
        self.contour: Literal["faces", "centers", "surfels"] = contour
        self.percentile = percentile
        objects = num_classes - 1
        self.add_state("sums", torch.zeros(len(_MEANS), objects), dist_reduce_fx="sum")
        self.add_state("defined", torch.zeros(len(_MEANS), objects), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(len(_COUNTS), objects), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(()), dist_reduce_fx="sum")

    def update(
        self, prediction: Tensor, target: Tensor, spacing: Sequence[float] | float | None = None
    ) -> None:
        """Measure the cases of a batch.

        Args:
            prediction: labels or masks, see the class.
            target: the same of the truth.
            spacing: of this batch; default: the constructor's.
        """
        masks = isinstance(prediction, Tensor) and prediction.dtype == torch.bool
        if masks and prediction.ndim > 1 and prediction.shape[1] != self.num_classes - 1:
            raise ValueError(
                f"masks must have num_classes - 1 = {self.num_classes - 1} channels, got "
                f"{prediction.shape[1]}; leave out the background: prediction[:, 1:] and target[:, 1:]"
            )
        found = contour_distances(
            prediction,
            target,
            num_classes=None if masks else self.num_classes,
            spacing=self.spacing if spacing is None else spacing,
            tolerance=self.tolerance,
            contour=self.contour,
            percentile=self.percentile,
        )
        values = torch.stack([getattr(found, name) for name in _MEANS])
        self.sums += values.nansum(1)
        self.defined += values.isfinite().sum(1)
        self.counts += torch.stack([getattr(found, name) for name in _COUNTS]).sum(1)
        self.cases += len(prediction)

    def compute(self) -> dict[str, Tensor]:
        """Return the means and counts of all cases: scalars by name and class, such as `"hd95/1"`."""
        rows = (*self.sums / self.defined, *self.counts, self.cases.expand(self.num_classes - 1))
        return {
            f"{name}/{label}": value
            for name, row in zip((*_MEANS, *_COUNTS, "cases"), rows, strict=True)
            for label, value in enumerate(row, start=1)
        }
