"""The metrics: their definitions, what is undefined, validation."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import isfinite, nan
from typing import Literal, get_args

import torch
from torch import Tensor

from boundaryloss.distance.checks import check_same_device, check_spacing, check_tensor, is_integer
from boundaryloss.distance.devices import MAPS
from boundaryloss.distance.signed import as_maps, check_space
from boundaryloss.metrics import cpu, reference
from boundaryloss.metrics.statistics import ROUNDING, Comparison

MetricContour = Literal["faces", "centers", "surfels"]


@dataclass(frozen=True)
class ContourDistances:
    r"""The distances between the contours of a prediction `P` and a truth `T`; all are `(batch, class)`.

    :math:`d(p, T)` is the distance from a point of one contour to the nearest point of the other,
    :math:`|\cdot|` the area of a contour (its length in 2-D, its number of voxels for `"centers"`).
    Lengths have the unit of `spacing`. If `P` or `T` is empty, distances are nan; `missed`,
    `false_alarm` and `both_empty` say where, so that no mean passes over it in silence.
    """

    #: Hausdorff distance, the largest of all distances.
    hd: Tensor
    #: The percentile, the larger of the two directed ones (MONAI, surface-distance, MeshMetrics).
    hd95: Tensor
    #: The percentile of the distances in both directions together (MedPy, panoptica).
    hd95_pooled: Tensor
    #: The percentile of the prediction's distances to the truth's contour.
    hd95_to_truth: Tensor
    #: The percentile of the truth's distances to the prediction's contour.
    hd95_to_prediction: Tensor
    #: Mean distance of the prediction's contour to the truth's.
    prediction_to_truth: Tensor
    #: Mean distance of the truth's contour to the prediction's.
    truth_to_prediction: Tensor
    #: Mean distance over both contours together, each by its area.
    assd: Tensor
    #: Mean of the two directed means.
    masd: Tensor
    #: Share of both contours within `tolerance` of the other; 0 if one mask is empty, nan if both are.
    nsd: Tensor
    #: Intersection over union of the voxels of `P` and of `T` whose centre lies within `tolerance` of a
    #: face on their own mask's contour; 0 if one mask is empty, nan if both are.
    boundary_iou: Tensor
    #: Area of the prediction's contour.
    prediction_area: Tensor
    #: Area of the truth's contour.
    truth_area: Tensor
    #: 1 where only the prediction is empty, otherwise 0; sums count.
    missed: Tensor
    #: 1 where only the truth is empty, otherwise 0.
    false_alarm: Tensor
    #: 1 where both are empty, otherwise 0.
    both_empty: Tensor


def contour_distances(
    prediction: Tensor,
    truth: Tensor,
    *,
    num_classes: int | None = None,
    spacing: Sequence[float] | float | None = None,
    tolerance: float = 1.0,
    contour: MetricContour = "faces",
    percentile: float = 95,
) -> ContourDistances:
    r"""Measure how far the contours of two segmentations lie apart: HD, HD95, ASSD, MASD, NSD, boundary IoU.

    .. math::

        \text{ASSD} = \frac{\int_{\partial P} d(p, \partial T)\,dp + \int_{\partial T} d(t, \partial P)\,dt}
        {|\partial P| + |\partial T|} \qquad
        \text{NSD} = \frac{|\{p : d(p, \partial T) \le \tau\}| + |\{t : d(t, \partial P) \le \tau\}|}
        {|\partial P| + |\partial T|}

    with :math:`P` the `prediction`, :math:`T` the `truth`, :math:`\partial` the contour, :math:`\tau` the
    `tolerance`. The edge of the image is part of a contour where an object touches it. `contour` says where
    it runs, and what the integrals weigh by:

    - `"faces"`: on the faces between voxels, by their area. The distances are exact; they are taken at
      the centre, edges' midpoints and corners of every face, and integrated by the trapezoid rule.
    - `"centers"`: on the centres of the voxels at the rim, each with weight 1, as MONAI and MedPy do.
    - `"surfels"`: on the corners between voxels, by the area of a surface through the voxels around,
      as DeepMind's surface-distance and MONAI's `use_subvoxels` do. So does the NSD of the Decathlon.

    The percentile is the smallest distance that `percentile` % of the area is not beyond (as in
    surface-distance); with `"centers"` it is interpolated between two voxels, as NumPy does.

    Args:
        prediction: bool masks `(batch, class, *space)` in which each channel is an object of its own, or
            integer labels `(batch, *space)`. `space` has two or three axes.
        truth: the same kind, shape and device.
        num_classes: number of classes of integer labels, background included; masks need none.
        spacing: size of a voxel along each spatial axis, in array order, or one number for all; default
            1 each.
        tolerance: of `nsd`, and the width of the band of `boundary_iou`, in the unit of `spacing`.
        contour: `"faces"`, `"centers"` or `"surfels"`.
        percentile: of `hd95` and its kin, 0 to 100.

    Returns:
        `ContourDistances`, whose tensors are float32 `(batch, class)` on the device of `prediction`; of
        integer labels the background is left out, as `signed_distance_map` does.

    Raises:
        TypeError: an input is no tensor, of a floating type, or a number is none.
        ValueError: the two differ in kind, shape or device; a label lies outside `0..num_classes-1`; a
            shape that is neither 2-D nor 3-D space; a bad `spacing`, `tolerance`, `percentile` or `contour`.

    Where one mask is empty MONAI has inf (for a percentile nan), surface-distance inf and MedPy an error;
    here it is nan, and counted. MedPy's HD95 is `hd95_pooled`. A distance that exceeds the `tolerance` by
    rounding only (1e-6 of it) is within it.

    Masks are compared one after the other. On the CPU this takes 1/4 byte for a voxel of the image, 3 for one
    of the box around both masks, and, for each thread, 250 for one of a slice of that box; on a GPU that
    Triton serves, with `"faces"`, about 60 bytes for a voxel of the box. Masks on other devices are compared
    on the CPU.

    Example:
        A pixel, and two:

        >>> import torch
        >>> from boundaryloss.metrics import contour_distances
        >>> one = torch.tensor([[[[True, False]]]])
        >>> two = torch.tensor([[[[True, True]]]])
        >>> found = contour_distances(one, two)
        >>> found.prediction_to_truth.item(), round(found.truth_to_prediction.item(), 4)
        (0.0625, 0.3333)
        >>> round(found.assd.item(), 4), found.hd.item()
        (0.225, 1.0)

    Reference:
        L. Maier-Hein et al., "Metrics reloaded", Nature Methods 21, 2024; B. Cheng et al., "Boundary IoU",
        CVPR 2021; J. Rony and H. Kervadec, "Boundary metrics", MIDL 2025 (distorch).
    """
    tolerance = _number("tolerance", tolerance)
    percentile = _number("percentile", percentile)
    if not tolerance >= 0 or not isfinite(tolerance):
        raise ValueError(f"tolerance must be a length of 0 or more, got {tolerance}")
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must lie between 0 and 100, got {percentile}")
    if contour not in get_args(MetricContour):
        raise ValueError(f"contour must be 'faces', 'centers' or 'surfels', got {contour!r}")
    _check_alike(prediction, truth)
    predictions, classes = as_maps(prediction, num_classes, "prediction")
    truths, _ = as_maps(truth, num_classes, "truth")
    check_space(predictions.shape[2:])
    steps = check_spacing(spacing, predictions.ndim - 2)
    if prediction.dtype != torch.bool:
        _check_labels("prediction", predictions, classes)
        _check_labels("truth", truths, classes)

    batch, channels = predictions.shape[:2]
    measure = reference.measure
    if not MAPS.serve(prediction.device):
        predictions, truths, measure = predictions.cpu(), truths.cpu(), cpu.measure
    rows = []
    for sample in range(batch):
        for channel in range(channels):
            for label in range(1, classes):
                one = sample, channel, label
                found = measure(predictions, truths, one, contour, steps, tolerance * (1 + ROUNDING))
                rows.append(_row(found, tolerance, percentile, interpolated=contour == "centers"))
    names = [field.name for field in fields(ContourDistances)]
    table = torch.tensor(rows, dtype=torch.float32).to(prediction.device)
    table = table.reshape(batch, channels * (classes - 1), len(names))
    return ContourDistances(**dict(zip(names, table.unbind(-1), strict=True)))


def _row(found: Comparison, tolerance: float, percentile: float, *, interpolated: bool) -> list[float]:
    """Return the metrics in the order of `ContourDistances`."""
    sides = found.to_truth, found.to_prediction
    areas = [side.area() for side in sides]
    exists = [area > 0 for area in areas]
    verdict = [float(exists == case) for case in ([False, True], [True, False], [False, False])]
    if not all(exists):
        share = 0.0 if any(exists) else nan
        return [nan] * 9 + [share, share, *areas, *verdict]
    both = found.to_truth + found.to_prediction
    percentiles = [side.percentile(percentile, interpolated=interpolated) for side in sides]
    means = [side.mean() for side in sides]
    return [
        both.largest(),
        max(percentiles),
        both.percentile(percentile, interpolated=interpolated),
        *percentiles,
        *means,
        both.mean(),
        sum(means) / 2,
        both.share_within(tolerance),
        found.band_shared / found.band_either if found.band_either else nan,
        *areas,
        *verdict,
    ]


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or hasattr(value, "__float__")):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def _check_alike(prediction: Tensor, truth: Tensor) -> None:
    check_tensor("prediction", prediction)
    check_tensor("truth", truth)
    kinds = [tensor.dtype == torch.bool or 2 * is_integer(tensor) for tensor in (prediction, truth)]
    if all(kinds) and kinds[0] != kinds[1]:
        raise ValueError(
            f"prediction and truth must both be labels or both be masks, got {prediction.dtype} and "
            f"{truth.dtype}; of masks pass .bool()"
        )
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction and truth must have one shape, got {tuple(prediction.shape)} and "
            f"{tuple(truth.shape)}; resample one"
        )
    check_same_device("prediction", prediction, truth=truth)


def _check_labels(name: str, maps: Tensor, num_classes: int) -> None:
    for extreme in maps.aminmax() if maps.numel() else ():
        if not 0 <= int(extreme) < num_classes:
            raise ValueError(
                f"{name} has the label {int(extreme)}, outside 0..{num_classes - 1}; if it marks unlabelled "
                "voxels, set them to 0 in prediction and truth"
            )
