"""Held against the metrics of the real MONAI."""

import itertools
import warnings

import monai.metrics
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from boundaryloss.integrations.monai import HausdorffDistanceMetric, SurfaceDiceMetric, SurfaceDistanceMetric
from boundaryloss.metrics import contour_distances

SPACES = {2: (9, 7), 3: (5, 6, 4)}
SPACINGS = {2: [0.7, 1.9], 3: [2.5, 0.8, 1.1]}
REDUCTIONS = ("none", "mean", "sum", "mean_batch", "sum_batch", "mean_channel", "sum_channel")
THRESHOLDS = [1.3, 0.8]
PAIRS = [
    (HausdorffDistanceMetric, monai.metrics.HausdorffDistanceMetric, {}),
    (HausdorffDistanceMetric, monai.metrics.HausdorffDistanceMetric, {"percentile": 95}),
    (HausdorffDistanceMetric, monai.metrics.HausdorffDistanceMetric, {"percentile": 37.5}),
    (HausdorffDistanceMetric, monai.metrics.HausdorffDistanceMetric, {"directed": True}),
    (HausdorffDistanceMetric, monai.metrics.HausdorffDistanceMetric, {"directed": True, "percentile": 60}),
    (SurfaceDistanceMetric, monai.metrics.SurfaceDistanceMetric, {}),
    (SurfaceDistanceMetric, monai.metrics.SurfaceDistanceMetric, {"symmetric": True}),
    (SurfaceDiceMetric, monai.metrics.SurfaceDiceMetric, {"class_thresholds": THRESHOLDS}),
    (
        SurfaceDiceMetric,
        monai.metrics.SurfaceDiceMetric,
        {"class_thresholds": THRESHOLDS, "use_subvoxels": True},
    ),
]
METRICS = {
    "hausdorff": HausdorffDistanceMetric,
    "distance": SurfaceDistanceMetric,
    "dice": lambda **options: SurfaceDiceMetric([1.0], **options),
}


def noise(axes, seed, empty=()):
    """Two batches of one-hot masks `(3, 3, *space)`; some (batch, side, class) are empty."""
    generator = torch.Generator().manual_seed(seed)
    masks = (torch.rand(2, 3, 3, *SPACES[axes], generator=generator) < 0.3).float()
    masks.flatten(3)[..., 0] = 1
    for sample, side, label in empty:
        masks[side, sample, label] = 0
    return masks.unbind(0)


def theirs(metric, *batch, **call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(*batch, **call)


@pytest.mark.parametrize(("mine", "original", "options"), PAIRS)
@pytest.mark.parametrize("axes", [2, 3])
def test_metrics_on_centers_give_the_numbers_of_monai(mine, original, options, axes):
    contour = {} if options.get("use_subvoxels") else {"contour": "centers"}
    metric, expected = mine(**options, **contour), original(**options)
    per_sample = [[1.0 + b, *SPACINGS[axes][1:]] for b in range(3)]
    for seed, spacing in enumerate((None, 0.7, SPACINGS[axes], np.array(SPACINGS[axes]), per_sample)):
        if options.get("use_subvoxels") and isinstance(spacing, float):
            continue  # refused by MONAI
        batch = noise(axes, seed)
        values = metric(*batch, spacing=spacing)
        torch.testing.assert_close(values, theirs(expected, *batch, spacing=spacing), rtol=1e-5, atol=1e-5)
    for reduction in REDUCTIONS:
        torch.testing.assert_close(
            metric.aggregate(reduction), expected.aggregate(reduction), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(("mine", "original", "options"), PAIRS)
def test_metrics_treat_empty_masks_as_monai_does(mine, original, options):
    contour = {} if options.get("use_subvoxels") else {"contour": "centers"}
    batch = noise(2, 8, empty=[(0, 0, 1), (1, 1, 1), (2, 0, 1), (2, 1, 1), (2, 0, 2)])
    metric, expected = mine(**options, **contour, get_not_nans=True), original(**options, get_not_nans=True)
    values, others = metric(*batch), theirs(expected, *batch)
    assert values[2, 0].isnan()
    assert values[:2, 0].tolist() == [0.0 if mine is SurfaceDiceMetric else torch.inf] * 2
    if "percentile" in options:  # of inf alone: MONAI makes it nan, and a miss leaves the mean
        assert others[:2, 0].isnan().all()
        torch.testing.assert_close(values[values.isfinite()], others[values.isfinite()], rtol=1e-5, atol=1e-5)
        return
    torch.testing.assert_close(values, others, rtol=1e-5, atol=1e-5, equal_nan=True)
    for reduction in REDUCTIONS:
        torch.testing.assert_close(
            metric.aggregate(reduction), expected.aggregate(reduction), rtol=1e-5, atol=1e-5, equal_nan=True
        )


@pytest.mark.parametrize("make", METRICS.values(), ids=METRICS)
def test_metrics_of_nothing_but_empty_masks_are_nan(make):
    metric = make(get_not_nans=True)
    metric(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    for reduction in ("mean", "mean_batch", "mean_channel"):
        value, count = metric.aggregate(reduction)
        assert value.isnan().all() and not count.any()


@pytest.mark.parametrize("contour", ["faces", "surfels"])
def test_metrics_are_those_of_contour_distances(contour):
    prediction, truth = noise(3, 5)
    spacing = SPACINGS[3]
    found = contour_distances(
        prediction.bool(), truth.bool(), spacing=spacing, contour=contour, tolerance=1.3
    )
    options = {"include_background": True, "contour": contour}
    for metric, expected in (
        (HausdorffDistanceMetric(**options), found.hd),
        (HausdorffDistanceMetric(percentile=95, **options), found.hd95),
        (HausdorffDistanceMetric(percentile=95, directed=True, **options), found.hd95_to_truth),
        (SurfaceDistanceMetric(**options), found.prediction_to_truth),
        (SurfaceDistanceMetric(symmetric=True, **options), found.assd),
        (SurfaceDiceMetric([1.3] * 3, **options), found.nsd),
    ):
        assert torch.equal(metric(prediction, truth, spacing=spacing), expected)


@pytest.mark.parametrize("make", METRICS.values(), ids=METRICS)
def test_metrics_take_what_monai_takes(make):
    prediction, truth = (masks[:, :2] for masks in noise(2, 6))
    expected = make()(prediction, truth)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16):
        assert torch.equal(make()(prediction.to(dtype), truth), expected)
    value = make()(MetaTensor(prediction), MetaTensor(truth))
    assert type(value) is torch.Tensor and torch.equal(value, expected)
    spacing = MetaTensor(prediction[0], affine=torch.diag(torch.tensor([2.0, 0.5, 1.0]))).pixdim
    assert torch.equal(
        make()(prediction, truth, spacing=spacing), make()(prediction, truth, spacing=[2.0, 0.5])
    )
    metric = make()
    assert torch.equal(metric(list(prediction), list(truth)), expected)
    metric(prediction, truth)
    assert metric.aggregate().item() == pytest.approx(expected.mean().item())
    metric.reset()
    with pytest.raises(ValueError, match="nothing to aggregate"):
        metric.aggregate()
    alone = make()(prediction[:, 1:], truth[:, 1:])  # an only channel is no background
    assert torch.equal(alone, expected)


@pytest.mark.parametrize("make", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(
    ("error", "message", "prediction", "truth", "options", "call"),
    [
        (ValueError, "must be 0 or 1", torch.full((1, 1, 3, 3), 0.7), torch.ones(1, 1, 3, 3), {}, {}),
        (ValueError, "must be 0 or 1", torch.full((1, 1, 3, 3), torch.nan), torch.ones(1, 1, 3, 3), {}, {}),
        (ValueError, "y must be 0 or 1", torch.ones(1, 1, 3, 3), torch.full((1, 1, 3, 3), 2), {}, {}),
        (ValueError, "one shape", torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 4), {}, {}),
        (ValueError, "hold no sample", torch.ones(0, 1, 3, 3), torch.ones(0, 1, 3, 3), {}, {}),
        (TypeError, "y must be a tensor", torch.ones(1, 1, 3, 3), None, {}, {}),
        (ValueError, "2-D or 3-D", torch.ones(1, 1, 3), torch.ones(1, 1, 3), {}, {}),
        (ValueError, "distance_metric", None, None, {"distance_metric": "taxicab"}, {}),
        (ValueError, "contour must", None, None, {"contour": "pixels"}, {}),
        (ValueError, "median", None, None, {"reduction": "median"}, {}),
        (ValueError, "spacing", torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), {}, {"spacing": [1.0] * 3}),
        (TypeError, "spacings", torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), {}, {"spacings": 2}),
    ],
)
def test_metrics_refuse(make, error, message, prediction, truth, options, call):
    with pytest.raises(error, match=message):
        make(**options)(prediction, truth, **call)


def test_metrics_refuse_options_of_their_own():
    with pytest.raises(ValueError, match="percentile"):
        HausdorffDistanceMetric(percentile=101)
    with pytest.raises(ValueError, match="class_thresholds must have one number for each of the 2 classes"):
        SurfaceDiceMetric([1.0])(*noise(2, 7))


def test_metrics_are_made_from_a_bundle():
    parser = ConfigParser(
        {"hd95": {"_target_": "boundaryloss.integrations.monai.HausdorffDistanceMetric", "percentile": 95}}
    )
    assert parser.get_parsed_content("hd95").percentile == 95


def test_arguments_stand_where_those_of_monai_do():
    for mine, original, _ in PAIRS:
        codes = (make.__init__.__code__ for make in (mine, original))
        names = [code.co_varnames[: code.co_argcount] for code in codes]
        assert all(one == other for one, other in itertools.zip_longest(*names) if other != "ignore_index")
