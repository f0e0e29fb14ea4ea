from dataclasses import replace

import numpy as np
import pytest
from datasets import block
from scipy import stats

from boundaryloss.report.store import LabelScores
from boundaryloss.scoring import case_metrics, summarise

MASK = np.ones((4, 4), int)


def one(prediction, truth, spacing=1.0, **options):
    (row,) = case_metrics(prediction, truth, {1: (1,)}, spacing=spacing, **options)
    return row


def test_summarise_states_over_how_many_cases():
    empty, full = np.zeros((30, 40), np.uint8), block((30, 40), (3, 6), (3, 6))
    pairs = [(full, full), (empty, full), (empty, empty), (full, empty)]
    (summary,) = summarise(row for p, t in pairs for row in [one(p, t)])
    assert (summary.cases, summary.cases_with_truth) == (4, 2)
    assert (summary.dice, summary.dice_cases) == (1 / 3, 3)
    assert (summary.hd95_mm, summary.hd95_cases) == (0.0, 1)
    assert summary.hd95_penalised_mm == (50 + 50) / 4
    assert (summary.missed, summary.false_alarms, summary.both_empty) == (1, 1, 1)
    assert (summary.lesion_sensitivity, summary.false_lesions_per_image) == (0.5, 0.25)


def test_summarise_of_a_label_that_never_occurs_is_nan_and_says_so():
    empty = np.zeros((4, 4), np.uint8)
    (summary,) = summarise([one(empty, empty)])
    assert np.isnan(summary.dice) and summary.dice_cases == 0 and summary.both_empty == 1
    assert np.isnan(summary.lesion_sensitivity)


@pytest.mark.parametrize("other", [{"contour": "centers"}, {"tolerance": 2.0}])
def test_summarise_never_mixes_contours_or_tolerances(other):
    rows = [one(MASK, MASK), one(MASK, MASK, **other)]
    with pytest.raises(ValueError, match=r"different contours or tolerances: .*faces', 1\.0.*; summarise"):
        summarise(rows)


def test_summarise_boundary_iou_is_nan_where_the_tolerance_reaches_no_voxel():
    fine, coarse, miss = one(MASK, MASK), one(MASK, MASK, (3.0, 3.0)), one(0 * MASK, MASK)
    assert fine.boundary_iou == 1.0 and np.isnan(coarse.boundary_iou) and miss.boundary_iou == 0.0
    assert summarise([fine, miss])[0].boundary_iou == 0.5
    assert np.isnan(summarise([fine, coarse])[0].boundary_iou)


def test_summarise_names_what_it_takes():
    with pytest.raises(TypeError, match="takes the rows of case_metrics, got dict"):
        summarise([{"dice": 1.0}])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="patients has no patient for the case 'b'"):
        summarise(scored([0.5, 0.5], "ab"), patients={"a": "p1"})


def scored(dice, names):
    """Rows of `case_metrics` with another Dice and other names."""
    (row,) = case_metrics(MASK, MASK, spacing=1.0)
    return [replace(row, name=name, dice=float(value)) for name, value in zip(names, dice, strict=True)]


def test_summarise_interval_of_a_mean_is_that_of_scipy():
    dice = np.random.default_rng(0).random(30) ** 2
    (summary,) = summarise(scored(dice, [f"case{i}" for i in range(30)]))
    there = stats.bootstrap(
        (dice,), np.mean, n_resamples=20000, method="percentile", rng=0
    ).confidence_interval
    assert summary.patients == 30 and summary.dice_low < dice.mean() < summary.dice_high
    assert (summary.dice_low, summary.dice_high) == pytest.approx(tuple(there), abs=0.01)
    assert summary == summarise(scored(dice, [f"case{i}" for i in range(30)]))[0]  # drawn from one seed


def test_summarise_draws_whole_patients():
    dice = np.random.default_rng(0).random(12)
    twice = np.repeat(dice, 2)
    slices = [f"p{i}_z{z}" for i in range(12) for z in range(2)]
    (alone,), (by_name,) = (
        summarise(scored(dice, [f"p{i}" for i in range(12)])),
        summarise(scored(twice, slices)),
    )
    assert (by_name.cases, by_name.patients, alone.patients) == (24, 12, 12)
    ends = by_name.dice_low, by_name.dice_high
    assert ends == pytest.approx((alone.dice_low, alone.dice_high))  # the second slices tell nothing new
    (as_told,) = summarise(scored(twice, slices), patients={name: name for name in slices})
    assert as_told.patients == 24 and as_told.dice_high - as_told.dice_low < 0.8 * (ends[1] - ends[0])
    (unnamed,) = summarise(scored(twice, [""] * 24))
    assert unnamed.patients == 24 and unnamed.dice_low == pytest.approx(as_told.dice_low, abs=0.01)


def test_summarise_interval_of_a_share_of_lesions_draws_the_lesions_of_a_case_together():
    truth = np.array([[1, 0, 1, 0, 1, 0]])
    pairs = [(truth, "a"), (0 * truth, "b")]  # three found in one case, three missed in the other
    (summary,) = summarise([r for p, name in pairs for r in case_metrics(p, truth, spacing=1, name=name)])
    ends = summary.lesion_sensitivity_low, summary.lesion_sensitivity_high
    assert (summary.lesion_sensitivity, *ends) == (0.5, 0.0, 1.0)


def test_summarise_of_one_patient_has_no_interval():
    (summary,) = summarise(scored([0.25, 0.75], ["z0", "z1"]), patients={"z0": "p1", "z1": "p1"})
    assert (summary.dice, summary.patients) == (0.5, 1)
    assert all(np.isnan(getattr(summary, name)) for name in vars(summary) if name.endswith(("_low", "_high")))


def test_summarise_says_all_columns():
    documented = LabelScores.__doc__
    plain = [name for name in vars(summarise(scored([1], ["a"]))[0]) if not name.endswith(("_low", "_high"))]
    assert all(f"        {name}: " in documented for name in plain)
