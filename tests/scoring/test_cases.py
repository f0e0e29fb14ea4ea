import csv
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from datasets import block
from scipy import ndimage

from boundaryloss.files.write import write_csv
from boundaryloss.metrics import contour_distances
from boundaryloss.metrics.distances import MetricContour
from boundaryloss.scoring import case_metrics, objects_of


def one(prediction, truth, spacing=None, **options):
    spacing = spacing or (1.0,) * truth.ndim
    prediction, truth = (np.asarray(array, np.uint8) for array in (prediction, truth))
    (row,) = case_metrics(prediction, truth, {1: (1,)}, spacing=spacing, name="x", **options)
    return row


def test_case_metrics_perfect_prediction():
    truth = block((10, 12), (2, 5), (3, 7))
    row = one(truth, truth, (2.0, 0.5))
    assert (row.dice, row.hd95_mm, row.hd95_penalised_mm) == (1.0, 0.0, 0.0)
    assert (row.lesions, row.lesions_found, row.false_lesions, row.missed) == (1, 1, 0, 0)
    assert row.truth_mm2 == row.prediction_mm2 == 12.0


def test_case_metrics_one_column_beside_the_other_is_as_far_as_the_spacing():
    truth, prediction = block((9, 20), (2, 7), (3, 4)), block((9, 20), (2, 7), (9, 10))
    assert one(prediction, truth).hd95_mm == 6.0
    assert one(prediction, truth, (1.0, 0.5)).hd95_mm == 3.0
    assert one(prediction.T, truth.T, (2.5, 1.0)).hd95_mm == 15.0


def test_case_metrics_hd95_is_a_percentile_of_each_direction():
    # A pixel far off is 4 of the 46 sides of the prediction, and 4 of 88 of both: above and below 5 %.
    truth = block((15, 20), (0, 1), (0, 20))
    prediction = truth | block((15, 20), (10, 11), (4, 5))
    for row in (one(prediction, truth), one(truth, prediction)):
        assert row.hd95_mm == 9.5 and row.hd95_pooled_mm == 0.0
    centers = one(prediction, truth, contour="centers")  # there it is one of 21 voxels
    assert centers.hd95_mm == pytest.approx(np.percentile([0.0] * 20 + [10.0], 95))
    assert centers.hd95_pooled_mm == pytest.approx(np.percentile([0.0] * 40 + [10.0], 95))


@pytest.mark.parametrize("contour", get_args(MetricContour))
@pytest.mark.parametrize("spacing", [(0.7, 2.0), (3.0, 1.0, 0.5)])
def test_case_metrics_distances_are_those_of_contour_distances(contour, spacing):
    rng = np.random.default_rng(0)
    shape = rng.integers(9, 15, len(spacing))
    p, t = (ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > 0.08 for _ in range(2))
    (row,) = case_metrics(p, t, spacing=spacing, tolerance=1.3, contour=contour)
    masks = (torch.from_numpy(mask)[None, None] for mask in (p, t))
    found = contour_distances(*masks, spacing=spacing, tolerance=1.3, contour=contour)
    for column in ("hd95_mm", "hd95_pooled_mm", "assd_mm", "nsd", "boundary_iou"):
        assert getattr(row, column) == getattr(found, column.removesuffix("_mm")).item()
    assert row.hd95_penalised_mm == row.hd95_mm > 0
    assert (row.tolerance_mm, row.contour) == (1.3, contour)


def test_case_metrics_contour_goes_along_the_edge_of_the_image():
    # The plate of 9 x 3 fills the image; the other one ends a row before it, 1 away but for its corners.
    whole, part = block((9, 3), (0, 9), (0, 3)), block((9, 3), (0, 8), (0, 3))
    row = one(whole, part)
    assert row.hd95_mm == 1.0
    sides, ends = 2 * 0.5, 3 + 2
    assert row.assd_mm == pytest.approx((sides + ends) / (24 + 22))
    assert one(part, part).nsd == 1.0


def test_case_metrics_of_one_voxel_has_a_contour_of_its_size():
    lesion, beside = block((5, 5), (2, 3), (2, 3)), block((5, 5), (2, 3), (3, 4))
    row = one(beside, lesion, (2.0, 0.5))
    assert row.hd95_mm == 0.5 and row.dice == 0.0
    assert one(lesion, lesion, (2.0, 0.5)).assd_mm == 0.0


def test_case_metrics_3d_anisotropic():
    truth, prediction = block((12, 6, 6), (1, 3), (2, 4), (2, 4)), block((12, 6, 6), (5, 7), (2, 4), (2, 4))
    row = one(prediction, truth, (3.0, 1.0, 1.0))
    assert row.hd95_mm == 12.0  # layers 1 and 2 against 5 and 6: the far faces are 4 layers apart
    assert (row.dice, row.false_lesions, row.lesions_found) == (0.0, 1, 0)
    assert row.truth_mm3 == 24.0


def test_case_metrics_dice_by_hand():
    truth, prediction = block((8, 8), (0, 2), (0, 4)), block((8, 8), (1, 3), (0, 3))
    assert one(prediction, truth).dice == 2 * 3 / (8 + 6)


def test_case_metrics_miss_false_alarm_and_both_empty():
    empty, full = np.zeros((30, 40), np.uint8), block((30, 40), (3, 6), (3, 6))
    diagonal = 100.0  # of 60 x 80 mm
    miss, alarm, both = (one(p, t, (2.0, 2.0)) for p, t in ((empty, full), (full, empty), (empty, empty)))
    assert (miss.missed, alarm.false_alarm, both.both_empty) == (1, 1, 1)
    assert sum(row.missed + row.false_alarm + row.both_empty for row in (miss, alarm, both)) == 3
    assert (miss.dice, alarm.dice) == (0, 0) and np.isnan(both.dice)
    assert all(np.isnan(row.hd95_mm) for row in (miss, alarm, both))
    assert [row.hd95_penalised_mm for row in (miss, alarm, both)] == [diagonal, diagonal, 0.0]
    assert (miss.lesions, miss.lesions_found, alarm.false_lesions) == (1, 0, 1)


def test_case_metrics_counts_lesions_with_diagonal_neighbours_as_one():
    truth = np.zeros((12, 12), np.uint8)
    truth[1, 1] = truth[2, 2] = 1  # one lesion
    truth[8:10, 1:3] = 1  # missed
    prediction = np.zeros_like(truth)
    prediction[2, 2] = 1  # touches the first
    prediction[5, 8] = prediction[6, 9] = 1  # one false lesion
    prediction[10, 10] = 1  # another
    row = one(prediction, truth)
    assert (row.lesions, row.lesions_found, row.false_lesions) == (2, 1, 2)


def test_case_metrics_one_prediction_over_two_lesions_finds_both():
    truth = np.zeros((5, 9), np.uint8)
    truth[2, 1] = truth[2, 7] = 1
    row = one(block((5, 9), (2, 3), (1, 8)), truth)
    assert (row.lesions, row.lesions_found, row.false_lesions) == (2, 2, 0)


def test_case_metrics_has_a_row_for_every_class_by_its_file_value():
    truth = np.array([[0, 1, 2], [0, 1, 0]])
    rows = case_metrics(truth, truth, objects_of((0, 7, 3, 9)), spacing=(1, 1), name="x")
    assert [(row.label, row.dice) for row in rows[:2]] == [(7, 1.0), (3, 1.0)]
    assert (rows[2].label, rows[2].both_empty) == (9, 1)


def test_case_metrics_judges_regions_by_what_they_hold():
    truth, prediction = np.array([[0, 0, 1, 1, 2, 3]]), np.array([[0, 1, 1, 2, 2, 0]])
    objects = objects_of((0, 10, 20, 30), regions=((1, 2, 3), (2, 3)), painted=(1, 2))
    assert objects == {10: (1, 2, 3), 20: (2, 3)}
    whole, core = case_metrics(prediction, truth, objects, spacing=(1, 1), name="x")
    assert (whole.label, whole.dice) == (10, 2 * 3 / 8) and (core.label, core.dice) == (20, 0.5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 2.0), (3.0, 1.0, 0.5)])
def test_case_metrics_of_many_labels_are_those_of_each_alone(spacing):
    rng = np.random.default_rng(0)
    for _ in range(2):
        shape = rng.integers(5, 15, len(spacing))
        p, t = (rng.integers(0, 4, shape) * (rng.random(shape) > 0.6) for _ in range(2))
        objects = objects_of(range(0, 50, 10))
        for row in case_metrics(p, t, objects, spacing=spacing, name="x"):
            index = row.label // 10
            alone = one(p == index, t == index, spacing)  # in the whole image
            assert repr(replace(row, label=1)) == repr(alone)


def test_write_csv_reads_back_and_leaves_the_old_file_on_failure(tmp_path):
    path = tmp_path / "rows.csv"
    write_csv(path, [{"a": 1, "b": float("nan")}])
    with path.open() as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": "nan"}]
    with pytest.raises(ValueError, match="fields"):
        write_csv(path, [{"a": 1}, {"c": 2}])
    assert path.read_text() == "a,b\n1,nan\n"
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_case_metrics_takes_tensors_and_judges_every_label_it_finds():
    truth, prediction = torch.tensor([[0, 2, 2, 5]]), torch.tensor([[0, 2, 7, 0]])
    rows = case_metrics(prediction, truth, spacing=1)
    assert [(row.label, row.missed, row.false_alarm) for row in rows] == [(2, 0, 0), (5, 1, 0), (7, 0, 1)]
    masks = case_metrics(prediction == 2, truth == 2, spacing=(1.0, 1.0))
    assert masks == [replace(rows[0], label=1)]


def test_case_metrics_leaves_out_what_nobody_labelled():
    truth, prediction = np.array([[1, 1, 0, 9, 9]]), np.array([[1, 1, 0, 1, 0]])
    assert case_metrics(prediction, truth, spacing=1, ignore=9)[0].dice == 1.0
    assert case_metrics(prediction, truth, {1: (1,)}, spacing=1)[0].dice == 0.8


MASK = np.ones((4, 4), int)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((MASK, MASK[:3]), {}, r"shape \(4, 4\), truth \(3, 4\)"),
        ((MASK[None, None], MASK[None, None]), {}, "one case at a time"),
        ((MASK[:0], MASK[:0]), {}, "not empty"),
        ((MASK, -MASK), {}, "truth: labels count from 0"),
        ((MASK, MASK), {"spacing": (1, 1, 1)}, "give 2 positive numbers"),
        ((MASK, MASK), {"spacing": 0}, "give 2 positive numbers"),
        ((MASK, MASK), {"tolerance": float("nan")}, "a distance in mm"),
        ((MASK, MASK), {"contour": "faces "}, "contour must be 'faces', 'centers' or 'surfels'"),
    ],
)
def test_case_metrics_refuses_what_has_no_score(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        case_metrics(*arguments, **{"spacing": 1.0, **options})


def test_case_metrics_names_what_it_takes():
    with pytest.raises(TypeError, match="prediction: labels are integers or booleans, got float64"):
        case_metrics(MASK / 2, MASK, spacing=1.0)
