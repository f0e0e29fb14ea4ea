"""Distances between contours as MONAI's metrics: called batch by batch, aggregated at the end."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from monai.metrics.metric import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction, ignore_background, prepare_spacing
from monai.utils.enums import MetricReduction
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from boundaryloss.metrics import contour_distances


class _ContourMetric(CumulativeIterationMetric):
    """What the three metrics share: their arguments, the call, the reduction."""

    def __init__(
        self,
        include_background: bool,
        distance_metric: str,
        reduction: MetricReduction | str,
        get_not_nans: bool,
        contour: Literal["faces", "centers", "surfels"],
    ) -> None:
        super().__init__()
        if distance_metric != "euclidean":
            raise ValueError(
                f"distance_metric must be 'euclidean', got {distance_metric!r}; use MONAI's metric"
            )
        if contour not in ("faces", "centers", "surfels"):
            raise ValueError(f"contour must be 'faces', 'centers' or 'surfels', got {contour!r}")
        self.include_background = include_background
        self.reduction = MetricReduction(reduction)
        self.get_not_nans = get_not_nans
        self.contour: Literal["faces", "centers", "surfels"] = contour

    @abstractmethod
    def _measure(self, prediction: Tensor, truth: Tensor, spacing: Any) -> Tensor:
        """Measure one sample, `(1, class)`, from bool masks `(1, class, *space)`."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        if unknown := kwargs.keys() - {"spacing"}:
            raise TypeError(f"the call takes y_pred, y and spacing, not {', '.join(sorted(unknown))}")
        prediction, truth = _masks("y_pred", y_pred), _masks("y", y)
        if prediction.shape != truth.shape:
            raise ValueError(
                f"y_pred and y must have one shape, got {tuple(prediction.shape)} and {tuple(truth.shape)}"
            )
        if len(prediction) == 0:
            raise ValueError("y_pred and y hold no sample; call the metric only on batches that do")
        if not self.include_background:
            prediction, truth = ignore_background(prediction, truth)
        spacing = kwargs.get("spacing")
        spacing = spacing.tolist() if isinstance(spacing, Tensor) else spacing  # such as MetaTensor.pixdim
        steps = prepare_spacing(spacing, len(prediction), prediction.ndim - 2)
        samples = zip(prediction.split(1), truth.split(1), steps, strict=True)
        return torch.cat([self._measure(*sample) for sample in samples])

    def aggregate(self, reduction: MetricReduction | str | None = None) -> Any:
        """Reduce the values of all calls; a mean over nothing but nan is nan (MONAI has 0).

        Args:
            reduction: one of MONAI's reductions; default: the constructor's.

        Returns:
            The reduced values; with `get_not_nans` also how many were not nan.

        Raises:
            ValueError: nothing was measured, or an unknown `reduction`.
        """
        values = self.get_buffer()
        if not isinstance(values, Tensor):
            raise ValueError("nothing to aggregate: call the metric on a batch first")
        reduced, not_nans = do_metric_reduction(values, reduction or self.reduction)
        reduced = reduced.masked_fill(not_nans == 0, torch.nan)
        return (reduced, not_nans) if self.get_not_nans else reduced


class HausdorffDistanceMetric(_ContourMetric):
    """Hausdorff distance, or a percentile of it such as HD95, with the arguments of MONAI's metric.

    With `contour="centers"` it is `monai.metrics.HausdorffDistanceMetric`, computed faster. The default,
    `"faces"`, weighs distances by the area of the contour, see `boundaryloss.metrics.contour_distances`.
    The percentile is the larger of both directions, unless `directed`.

    Where one mask is empty the distance is inf, and so is its mean; where both are, it is nan and leaves the
    mean. MONAI does the same, but its percentile of a missed case is nan, so that misses leave the mean of
    HD95. There are no warnings. A mean over nothing but nan is nan, not 0. Values other than 0 and 1 are
    refused; MONAI takes them for background.

    Args:
        include_background: whether channel 0 counts; if it is the only one, it does.
        distance_metric: `"euclidean"`, no other.
        percentile: 0 to 100; None, the default, is the largest distance.
        directed: whether only distances from the prediction to the truth count.
        reduction: one of MONAI's reductions, `"mean"` by default.
        get_not_nans: whether `aggregate` also returns how many values were not nan.
        contour: `"faces"`, `"centers"` or `"surfels"`.

    Shape:
        - y_pred, y: masks `(B, C, *space)` of 0 and 1 (or lists of `(C, *space)`), 2-D or 3-D.
        - spacing (of the call): one number, one for each axis, or a list of such for each sample. It is not
          taken from a `MetaTensor`: pass its `pixdim`.
        - returns: float32 `(B, C')`.

    Raises:
        TypeError: `y_pred` or `y` is no tensor.
        ValueError: a bad option, other values than 0 and 1, two shapes, or no sample.

    Example:
        >>> import torch
        >>> metric = HausdorffDistanceMetric(percentile=95)
        >>> truth = torch.tensor([[[[0, 0, 1, 1]], [[1, 1, 0, 0]]]])
        >>> metric(truth.roll(1, -1), truth, spacing=[1.0, 2.0]).tolist()
        [[2.0]]
        >>> metric.aggregate().item()
        2.0
    """

    def __init__(
        self,
        include_background: bool = False,
        distance_metric: str = "euclidean",
        percentile: float | None = None,
        directed: bool = False,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        *,
        contour: Literal["faces", "centers", "surfels"] = "faces",
    ) -> None:
        super().__init__(include_background, distance_metric, reduction, get_not_nans, contour)
        if percentile is not None and not 0 <= percentile <= 100:
            raise ValueError(f"percentile must lie between 0 and 100, got {percentile}")
        self.percentile = percentile
        self.directed = directed

    def _measure(self, prediction: Tensor, truth: Tensor, spacing: Any) -> Tensor:
        percentile = 100 if self.percentile is None else self.percentile
        found = contour_distances(
            prediction, truth, spacing=spacing, contour=self.contour, percentile=percentile
        )
        distance = found.hd95_to_truth if self.directed else found.hd95
        return distance.masked_fill((found.missed + found.false_alarm).bool(), torch.inf)


class SurfaceDistanceMetric(_ContourMetric):
    """Average surface distance, with the arguments of MONAI's metric.

    With `contour="centers"` it is `monai.metrics.SurfaceDistanceMetric`, computed faster. The default,
    `"faces"`, weighs distances by the area of the contour, see `boundaryloss.metrics.contour_distances`.
    Empty masks, wrong input and the mean over nan are treated as in `HausdorffDistanceMetric`.

    Args:
        include_background: whether channel 0 counts; if it is the only one, it does.
        symmetric: whether the mean is over both contours together (ASSD), or, MONAI's default, over the
            prediction's only.
        distance_metric: `"euclidean"`, no other.
        reduction: one of MONAI's reductions, `"mean"` by default.
        get_not_nans: whether `aggregate` also returns how many values were not nan.
        contour: `"faces"`, `"centers"` or `"surfels"`.

    Shape:
        As `HausdorffDistanceMetric`.

    Raises:
        TypeError: `y_pred` or `y` is no tensor.
        ValueError: a bad option, other values than 0 and 1, two shapes, or no sample.

    Example:
        A pixel, and two; one of its four sides lies inside the other, at distances of 0, 1/2 and 0:

        >>> import torch
        >>> metric = SurfaceDistanceMetric()
        >>> metric(torch.tensor([[[[1, 0]]]]), torch.tensor([[[[1, 1]]]])).item()
        0.0625
    """

    def __init__(
        self,
        include_background: bool = False,
        symmetric: bool = False,
        distance_metric: str = "euclidean",
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        *,
        contour: Literal["faces", "centers", "surfels"] = "faces",
    ) -> None:
        super().__init__(include_background, distance_metric, reduction, get_not_nans, contour)
        self.symmetric = symmetric

    def _measure(self, prediction: Tensor, truth: Tensor, spacing: Any) -> Tensor:
        found = contour_distances(prediction, truth, spacing=spacing, contour=self.contour)
        mean = found.assd if self.symmetric else found.prediction_to_truth
        return mean.masked_fill((found.missed + found.false_alarm).bool(), torch.inf)


class SurfaceDiceMetric(_ContourMetric):
    """Normalised surface Dice (NSD), with the arguments of MONAI's metric.

    With `contour="centers"` it is `monai.metrics.SurfaceDiceMetric`, with `"surfels"` the same with
    `use_subvoxels=True`, computed faster. The default, `"faces"`, is the share of the area of both contours,
    see `boundaryloss.metrics.contour_distances`. It is 0 where one mask is empty and nan where both are.
    Wrong input and the mean over nan are treated as in `HausdorffDistanceMetric`.

    Args:
        class_thresholds: the tolerance of each class that counts, in the unit of `spacing`.
        include_background: whether channel 0 counts; if it is the only one, it does.
        distance_metric: `"euclidean"`, no other.
        reduction: one of MONAI's reductions, `"mean"` by default.
        get_not_nans: whether `aggregate` also returns how many values were not nan.
        use_subvoxels: True is `contour="surfels"`.
        contour: `"faces"`, `"centers"` or `"surfels"`.

    Shape:
        As `HausdorffDistanceMetric`.

    Raises:
        TypeError: `y_pred` or `y` is no tensor.
        ValueError: a bad option, other values than 0 and 1, two shapes, no sample, or not one threshold for
            each class.

    Example:
        A pixel, and two; by the trapezoid rule 8.5 of their 10 sides lie within half a pixel of the other:

        >>> import torch
        >>> metric = SurfaceDiceMetric(class_thresholds=[0.5])
        >>> round(metric(torch.tensor([[[[1, 0]]]]), torch.tensor([[[[1, 1]]]])).item(), 3)
        0.85
    """

    def __init__(
        self,
        class_thresholds: Sequence[float],
        include_background: bool = False,
        distance_metric: str = "euclidean",
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        use_subvoxels: bool = False,
        *,
        contour: Literal["faces", "centers", "surfels"] = "faces",
    ) -> None:
        contour = "surfels" if use_subvoxels else contour
        super().__init__(include_background, distance_metric, reduction, get_not_nans, contour)
        self.class_thresholds = list(class_thresholds)

    def _measure(self, prediction: Tensor, truth: Tensor, spacing: Any) -> Tensor:
        if prediction.shape[1] != len(self.class_thresholds):
            raise ValueError(
                f"class_thresholds must have one number for each of the {prediction.shape[1]} classes, got "
                f"{self.class_thresholds}"
            )
        classes = zip(prediction.split(1, 1), truth.split(1, 1), self.class_thresholds, strict=True)
        found = [
            contour_distances(one, other, spacing=spacing, contour=self.contour, tolerance=tolerance).nsd
            for one, other, tolerance in classes
        ]
        return torch.cat(found, dim=1)


def _masks(name: str, values: Tensor | None) -> Tensor:
    """Return bool masks of what MONAI's transforms leave: 0 and 1 of any type."""
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor or a list of tensors, got {type(values).__name__}")
    plain = convert_to_tensor(values, track_meta=False)
    masks = plain == 1
    if not torch.equal(masks.to(plain), plain):
        raise ValueError(f"{name} must be 0 or 1 everywhere; binarize it first, with AsDiscrete for example")
    return masks
