import itertools
from dataclasses import astuple, fields

import numpy as np
import pytest
import torch
from masks import gallery
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance

from boundaryloss.metrics import ContourDistances, contour_distances

CONTOURS = ("faces", "centers", "surfels")
SPACINGS = {2: (0.7, 1.9), 3: (2.5, 0.8, 1.1)}
DIRECTED = {"hd95_to_truth": "hd95_to_prediction", "prediction_to_truth": "truth_to_prediction"}
DISTANCES = ("hd", "hd95", "hd95_pooled", *DIRECTED, *DIRECTED.values(), "assd", "masd")


def compare(prediction, truth, **options):
    """Metrics of two masks `(*space)` as numbers."""
    found = contour_distances(*(torch.as_tensor(m)[None, None] for m in (prediction, truth)), **options)
    return {field.name: getattr(found, field.name).item() for field in fields(found)}


def pairs():
    """Two masks each, neither empty: shapes of the gallery, shifted or beside one another; and noise."""
    for name, mask in gallery().items():
        if mask.any() and mask.numel() < 900:
            yield pytest.param(mask, mask.roll(1, -1) | mask.roll(2, 0), id=name)
    generator = torch.Generator().manual_seed(3)
    for space in ((6, 7), (4, 5, 3), (1, 1, 6)):
        for share in (0.1, 0.5):
            noise = torch.rand(2, *space, generator=generator) < share
            noise[:, ..., 0] = True
            yield pytest.param(*noise, id=f"noise of {share} in {space}")


PAIRS = list(pairs())


# ---- faces


def rectangles(mask, spacing):
    """Every face of a mask: its lowest and its highest corner."""
    padded, steps = np.pad(mask, 1), np.array(spacing)
    lows, highs = [], []
    for axis in range(mask.ndim):
        edges = np.argwhere(np.diff(padded.astype(int), axis=axis))  # before them, in padded voxels
        lows.append(edges + np.eye(mask.ndim)[axis] - 1)
        highs.append(edges)
    return np.concatenate(lows) * steps, np.concatenate(highs) * steps


def samples(mask, spacing):
    """Points on every face, none shared, and the area of each by the trapezoid rule."""
    for low, high in zip(*rectangles(mask, spacing), strict=True):
        extent = high - low
        normal = int(np.argmin(extent))
        area = np.prod(np.delete(extent, normal))
        for place in itertools.product((0, 1, 2), repeat=mask.ndim - 1):
            at = np.insert(np.array(place, float), normal, 0) / 2
            yield low + at * extent, area * np.prod([(1, 2, 1)[i] / 4 for i in place])


def by_hand(one, other, spacing):
    """Distances from points of one contour to the rectangles of the other; and the areas."""
    points, areas = map(np.array, zip(*samples(one, spacing), strict=True))
    low, high = rectangles(other, spacing)
    gap = np.maximum(np.maximum(low - points[:, None], points[:, None] - high), 0)
    return np.sqrt((gap**2).sum(-1)).min(1), areas


def weighted_percentile(distances, areas, percentile):
    order = np.argsort(distances)
    covered = np.cumsum(areas[order]) / areas.sum()
    return distances[order][np.searchsorted(covered, percentile / 100 - 1e-9)]


@pytest.mark.parametrize(("prediction", "truth"), PAIRS)
@pytest.mark.parametrize("isotropic", [True, False])
def test_faces_are_measured_as_rectangles(prediction, truth, isotropic):
    spacing = (1.0,) * prediction.ndim if isotropic else SPACINGS[prediction.ndim]
    found = compare(prediction, truth, spacing=spacing, tolerance=1.3, percentile=80)
    sides = [
        by_hand(*pair, spacing)
        for pair in ((prediction.numpy(), truth.numpy()), (truth.numpy(), prediction.numpy()))
    ]
    means = [np.average(distances, weights=areas) for distances, areas in sides]
    distances, areas = (np.concatenate(both) for both in zip(*sides, strict=True))
    expected = {
        "hd": distances.max(),
        "hd95": max(weighted_percentile(*side, 80) for side in sides),
        "hd95_pooled": weighted_percentile(distances, areas, 80),
        "hd95_to_truth": weighted_percentile(*sides[0], 80),
        "hd95_to_prediction": weighted_percentile(*sides[1], 80),
        "prediction_to_truth": means[0],
        "truth_to_prediction": means[1],
        "assd": np.average(distances, weights=areas),
        "masd": sum(means) / 2,
        "nsd": areas[distances <= 1.3 + 1e-6].sum() / areas.sum(),
        "prediction_area": sides[0][1].sum(),
        "truth_area": sides[1][1].sum(),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_counterexample_of_distorch_is_exact():
    found = contour_distances(torch.tensor([[[[True, False]]]]), torch.tensor([[[[True, True]]]]))
    assert found.prediction_to_truth.item() == 1 / 16
    assert found.truth_to_prediction == torch.tensor(1 / 3)
    assert found.assd == torch.tensor(9 / 40)


@pytest.mark.parametrize("steps", [1, 3])
def test_faces_of_moved_planes_are_as_far_apart_as_they_moved(steps):
    truth = torch.zeros(12, 40, 40, dtype=torch.bool)
    truth[:6] = True
    prediction = truth.roll(steps, 0) | truth
    found = compare(prediction, truth, spacing=(2, 1, 1), percentile=50)
    assert found["hd"] == 2 * steps
    assert found["truth_area"] == 2 * 40 * 40 + 4 * 40 * 12


def test_percentile_is_the_smallest_distance_that_covers_the_share():
    square, longer = torch.zeros(2, 1, 9, dtype=torch.bool)
    square[:, :4], longer[:, :8] = True, True
    shares = [compare(square, longer, percentile=p)["hd95"] for p in (0, 50, 100)]
    assert shares[0] == 0 and shares[2] == 4
    assert shares == sorted(shares)


# ---- as others


@pytest.mark.parametrize(("prediction", "truth"), PAIRS)
@pytest.mark.parametrize("percentile", [95, 40])
@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore:single channel prediction", "ignore::DeprecationWarning"
)
def test_centers_and_surfels_give_the_numbers_of_monai(prediction, truth, percentile):
    spacing = SPACINGS[prediction.ndim]
    p, t = prediction[None, None], truth[None, None]
    options = {"include_background": True, "spacing": list(spacing)}
    found = compare(
        prediction, truth, spacing=spacing, tolerance=1.3, percentile=percentile, contour="centers"
    )
    expected = {
        "hd": compute_hausdorff_distance(p, t, **options).item(),
        "hd95": compute_hausdorff_distance(p, t, percentile=percentile, **options).item(),
        "prediction_to_truth": compute_average_surface_distance(p, t, **options).item(),
        "truth_to_prediction": compute_average_surface_distance(t, p, **options).item(),
        "assd": compute_average_surface_distance(p, t, symmetric=True, **options).item(),
        "nsd": compute_surface_dice(p, t, class_thresholds=[1.3], **options).item(),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    surfels = compare(prediction, truth, spacing=spacing, tolerance=1.3, contour="surfels")
    nsd = compute_surface_dice(p, t, class_thresholds=[1.3], use_subvoxels=True, **options)
    assert surfels["nsd"] == pytest.approx(nsd.item(), abs=1e-5)


def test_centers_pool_the_percentile_as_medpy_does():
    row = torch.arange(12)
    found = compare((row < 3)[None], (row < 12)[None], contour="centers", percentile=70)
    both = [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert found["hd95_pooled"] == pytest.approx(np.percentile(both, 70))
    assert found["hd95"] == pytest.approx(np.percentile(both[3:], 70))


def test_surfels_weigh_by_the_length_through_a_corner():
    found = compare([[True, False]], [[True, True]], contour="surfels", percentile=50)
    root = 2**0.5
    assert found["prediction_area"] == pytest.approx(2 * root)
    assert found["truth_area"] == pytest.approx(2 * root + 2)
    assert found["truth_to_prediction"] == pytest.approx(root / (2 * root + 2))
    assert (found["hd95"], found["hd"]) == (0, 1)


# ---- all of them


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize("name", [name for name, mask in gallery().items() if mask.any()])
def test_identical_masks_have_no_distance(contour, name):
    mask = gallery()[name]
    found = compare(mask, mask.clone(), contour=contour, tolerance=0.5)
    assert [found[name] for name in DISTANCES] == [0] * 9
    assert (found["nsd"], found["boundary_iou"]) == (1, 1)
    assert found["prediction_area"] == found["truth_area"] > 0


@pytest.mark.parametrize("contour", CONTOURS)
def test_empty_masks_are_nan_and_counted(contour):
    mask = torch.zeros(4, 1, 5, 6, dtype=torch.bool)
    prediction, truth = mask.clone(), mask.clone()
    prediction[:2, :, 2, 3] = True
    truth[[0, 2], :, 1, 3] = True
    found = contour_distances(prediction, truth, contour=contour)
    for name in DISTANCES:
        assert getattr(found, name).isnan().flatten().tolist() == [False, True, True, True]
    for name in ("nsd", "boundary_iou"):
        assert getattr(found, name)[1:3].eq(0).all() and getattr(found, name)[3].isnan()
    assert found.prediction_area.gt(0).flatten().tolist() == [True, True, False, False]
    assert found.truth_area.gt(0).flatten().tolist() == [True, False, True, False]
    assert found.false_alarm.flatten().tolist() == [0, 1, 0, 0]
    assert found.missed.flatten().tolist() == [0, 0, 1, 0]
    assert found.both_empty.flatten().tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("contour", CONTOURS)
def test_the_image_ends_a_contour_as_background_does(contour):
    generator = torch.Generator().manual_seed(4)
    prediction, truth = torch.rand(2, 5, 6, 4, generator=generator) < 0.6
    options = {"contour": contour, "spacing": SPACINGS[3], "tolerance": 1.3}
    wider = [torch.nn.functional.pad(mask, (3, 1, 2, 2, 0, 4)) for mask in (prediction, truth)]
    assert compare(prediction, truth, **options) == pytest.approx(compare(*wider, **options))


@pytest.mark.parametrize("contour", CONTOURS)
def test_labels_masks_and_single_images_agree(contour):
    generator = torch.Generator().manual_seed(5)
    prediction, truth = torch.randint(0, 4, (2, 2, 7, 8, 5), generator=generator)
    prediction[1][prediction[1] == 2] = 0
    options = {"contour": contour, "spacing": SPACINGS[3], "tolerance": 0.9, "percentile": 90}
    found = contour_distances(
        prediction.byte(), truth.transpose(2, 3).contiguous().transpose(2, 3), num_classes=4, **options
    )
    masks = [torch.stack([maps == label for label in (1, 2, 3)], 1) for maps in (prediction, truth)]
    assert found.hd.shape == (2, 3) and found.hd.dtype == torch.float32
    for other, one in zip(astuple(contour_distances(*masks, **options)), astuple(found), strict=True):
        torch.testing.assert_close(other, one, equal_nan=True)
    alone = compare(prediction[1] == 3, truth[1] == 3, **options)
    assert alone == pytest.approx({name: getattr(found, name)[1, 2].item() for name in alone})


@pytest.mark.parametrize("contour", CONTOURS)
def test_prediction_and_truth_change_places(contour):
    generator = torch.Generator().manual_seed(6)
    prediction, truth = torch.rand(2, 9, 8, generator=generator) < 0.3
    forth, back = (compare(*pair, contour=contour) for pair in ((prediction, truth), (truth, prediction)))
    for one, other in {**DIRECTED, "prediction_area": "truth_area"}.items():
        back[one], back[other] = back[other], back[one]
    assert forth == pytest.approx(back)


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize("axes", [2, 3])
def test_distances_scale_with_the_spacing(contour, axes):
    generator = torch.Generator().manual_seed(7)
    prediction, truth = torch.rand(2, *(7, 6, 8)[:axes], generator=generator) < 0.3
    small = compare(prediction, truth, contour=contour, spacing=0.5, tolerance=1)
    large = compare(prediction, truth, contour=contour, spacing=(4,) * axes, tolerance=8)
    assert [large[name] for name in DISTANCES] == pytest.approx([8 * small[name] for name in DISTANCES])
    assert [large[name] for name in ("nsd", "boundary_iou")] == pytest.approx(
        [small["nsd"], small["boundary_iou"]]
    )


def test_a_distance_equal_to_the_tolerance_is_within_it():
    prediction, truth = torch.zeros(2, 1, 20, dtype=torch.bool)
    prediction[:, :4], truth[:, :7] = True, True
    assert compare(prediction, truth, spacing=0.1, tolerance=0.3)["nsd"] == 1
    assert compare(prediction, truth, spacing=0.1, tolerance=0.2999)["nsd"] < 1


def test_boundary_iou_compares_the_bands_along_the_contours():
    truth = torch.zeros(12, 12, dtype=torch.bool)
    truth[1:11, 1:11] = True
    prediction = truth.clone()
    prediction[3:9, 3:9] = False
    assert compare(prediction, truth, tolerance=0.5)["boundary_iou"] == pytest.approx(36 / (36 + 24))
    assert compare(prediction, truth, tolerance=1.5)["boundary_iou"] == 1
    assert (
        compare(prediction, truth, tolerance=0.4)["boundary_iou"]
        != compare(prediction, truth)["boundary_iou"]
    )


# ---- finer and finer voxels

CENTRE = (0.013, -0.021, 0.008)  # of nothing in the grid
TURN = {
    2: torch.tensor([[4.0, 3.0], [-3.0, 4.0]]) / 5,
    3: torch.tensor([[2.0, -1.0, 2.0], [2.0, 2.0, -1.0], [-1.0, 2.0, 2.0]]) / 3,
}


def shells(shape, axes, size, radii):
    """Concentric balls, or turned cubes of these half widths, in [-1, 1]; and the size of a voxel."""
    along = (torch.arange(size) + 0.5) * (2 / size) - 1
    places = torch.stack(torch.meshgrid(*[along] * axes, indexing="ij"))
    places -= torch.tensor(CENTRE[:axes]).view(-1, *[1] * axes)
    turned = torch.tensordot(TURN[axes], places, 1)
    radius = turned.norm(dim=0) if shape == "balls" else turned.abs().amax(0)
    return *(radius < limit for limit in radii), 2 / size


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize("shape", ["balls", "cubes"])
@pytest.mark.parametrize("axes", [2, 3])
def test_distances_converge_with_the_size_of_a_voxel(contour, shape, axes):
    farthest = 0.15 if shape == "balls" else 0.15 * axes**0.5
    errors = []
    for size in (16, 64) if axes == 3 else (32, 128):
        inner, outer, step = shells(shape, axes, size, (0.35, 0.5))
        found = compare(inner, outer, spacing=step, contour=contour)
        assert abs(found["hd"] - farthest) < step
        assert abs(found["hd95_to_truth"] - 0.15) < step
        errors.append(abs(found["prediction_to_truth"] - 0.15))
        assert errors[-1] < 0.75 * step
    if contour != "centers":  # which begins with an error next to 0
        assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize(
    ("contour", "axes", "bias"),
    [("faces", 2, 4 / np.pi), ("faces", 3, 1.5), ("surfels", 2, 1.055), ("surfels", 3, 1.089)],
)
def test_areas_keep_the_bias_of_their_steps(contour, axes, bias):
    for size in (32, 64):
        ball, _, step = shells("balls", axes, size, (0.7, 0.9))
        true = 2 * np.pi * 0.7 if axes == 2 else 4 * np.pi * 0.7**2
        found = compare(ball, ball, spacing=step, contour=contour)
        assert found["truth_area"] / true == pytest.approx(bias, rel=0.02)


# ---- wrong input

MASK = torch.ones(1, 1, 3, 4, dtype=torch.bool)
LABELS = torch.ones(1, 3, 4, dtype=torch.long)


@pytest.mark.parametrize(
    ("error", "message", "prediction", "truth", "options"),
    [
        (TypeError, "prediction must be a tensor", MASK.numpy(), MASK, {}),
        (
            TypeError,
            "truth must be integer or bool, got torch.float32; use truth.long",
            MASK,
            MASK.float(),
            {},
        ),
        (ValueError, "both be labels or both be masks", MASK, LABELS, {}),
        (ValueError, "must have one shape", MASK, MASK[..., 1:], {}),
        (ValueError, "one channel per class", MASK, MASK, {"num_classes": 2}),
        (ValueError, "need num_classes", LABELS, LABELS, {}),
        (ValueError, "prediction has the label 7, outside 0..1", 7 * LABELS, LABELS, {"num_classes": 2}),
        (ValueError, "truth has the label -1", LABELS, -LABELS, {"num_classes": 2}),
        (ValueError, "2-D or 3-D", MASK[0, 0], MASK[0, 0], {}),
        (ValueError, "at least one voxel", MASK[..., :0], MASK[..., :0], {}),
        (ValueError, "spacing must have one number", MASK, MASK, {"spacing": (1, 1, 1)}),
        (ValueError, "spacing must be positive", MASK, MASK, {"spacing": 0}),
        (ValueError, "tolerance must be", MASK, MASK, {"tolerance": -1}),
        (ValueError, "tolerance must be", MASK, MASK, {"tolerance": float("nan")}),
        (TypeError, "tolerance must be a number", MASK, MASK, {"tolerance": "1"}),
        (ValueError, "percentile must", MASK, MASK, {"percentile": 101}),
        (TypeError, "percentile must be a number", MASK, MASK, {"percentile": None}),
        (ValueError, "contour must be 'faces', 'centers' or 'surfels'", MASK, MASK, {"contour": "mesh"}),
    ],
)
def test_contour_distances_refuses(error, message, prediction, truth, options):
    with pytest.raises(error, match=message):
        contour_distances(prediction, truth, **options)


def test_no_images_and_no_classes_have_no_metrics():
    assert contour_distances(MASK[:0], MASK[:0]).hd.shape == (0, 1)
    assert contour_distances(MASK[:, :0], MASK[:, :0]).assd.shape == (1, 0)
    assert isinstance(contour_distances(LABELS[:0], LABELS[:0], num_classes=3), ContourDistances)
