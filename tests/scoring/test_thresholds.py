import numpy as np
import pytest
from scipy import ndimage

from boundaryloss.scoring import THRESHOLDS, operating_points
from boundaryloss.scoring import thresholds as module


def test_operating_points_by_hand():
    truth = np.zeros((6, 9), int)
    truth[1, 1], truth[4, 1:3] = 1, 1  # two lesions
    probability = np.zeros((6, 9))
    probability[1, 1], probability[4, 2], probability[1, 7] = 0.9, 0.4, 0.6  # the last is false
    rows = operating_points(np.stack([1 - probability, probability]), truth, name="a", label_values=(0, 7))
    assert [row.threshold for row in rows] == list(THRESHOLDS) and {row.label for row in rows} == {7}
    counts = {row.threshold: (row.lesions, row.lesions_found, row.false_lesions) for row in rows}
    assert counts[0.2689] == (2, 2, 1)
    assert counts[0.5] == (2, 1, 1)
    assert counts[0.8176] == (2, 1, 0)
    assert counts[0.9526] == (2, 0, 0)
    dice = {row.threshold: row.dice for row in rows}
    assert (dice[0.2689], dice[0.5], dice[0.8176], dice[0.9526]) == (2 * 2 / 6, 2 * 1 / 5, 2 * 1 / 4, 0)


def test_operating_points_of_an_empty_truth_are_all_false():
    probability = np.full((2, 4, 4), 0.6)
    rows = operating_points(probability, np.zeros((4, 4), int), name="a", label_values=(0, 1))
    assert {row.lesions for row in rows} == {0} and all(np.isnan(row.dice) for row in rows)
    assert [row.false_lesions for row in rows] == [int(t < 0.6) for t in THRESHOLDS]


def test_thresholds_rise_through_one_half():
    assert 0.5 in THRESHOLDS and all(np.diff(THRESHOLDS) > 0) and THRESHOLDS[0] > 0 and THRESHOLDS[-1] < 1


@pytest.mark.parametrize("many", [0, 60, 10**6])  # voxels labelled anew at each threshold; some; none
@pytest.mark.parametrize("shape", [(23, 31), (9, 11, 13), (1, 20), (1, 1)])
def test_operating_points_are_those_of_labelling_at_every_threshold(monkeypatch, many, shape):
    monkeypatch.setattr(module, "MANY", many)
    rng, full = np.random.default_rng(0), np.ones((3,) * len(shape))
    for _ in range(3):
        logits = (4 * ndimage.gaussian_filter(rng.standard_normal(shape), rng.random())).round(1)
        probability = (1 / (1 + np.exp(-logits))).astype(np.float32)
        truth = (rng.random(shape) > 0.97).astype(np.uint8)
        both = np.stack([1 - probability, probability])
        peaks = [probability[c].max() for c in map(np.nonzero, _lesions(truth, full))]
        for row in operating_points(both, truth, name="a", label_values=(0, 1)):
            mask = probability > row.threshold
            assert row.false_lesions == sum(not truth[lesion].any() for lesion in _lesions(mask, full))
            assert row.lesions_found == sum(peak > np.float32(row.threshold) for peak in peaks)
            if truth.any():
                assert row.dice == 2 * (mask & (truth > 0)).sum() / (mask.sum() + truth.sum())


def _lesions(mask, full):
    components, count = ndimage.label(mask, full)
    return [components == index for index in range(1, count + 1)]


@pytest.mark.parametrize(
    ("probabilities", "truth", "options", "words"),
    [
        (np.zeros((2, 4, 4)), np.zeros((1, 4, 4)), {}, "without an axis of batch"),
        (np.zeros((1, 4, 4)), np.zeros((4, 4)), {}, "background first"),
        (np.full((2, 4, 4), 3.0), np.zeros((4, 4)), {}, "softmax or sigmoid"),
        (np.full((2, 4, 4), np.nan), np.zeros((4, 4)), {}, "softmax or sigmoid"),
        (np.zeros((2, 4, 4)), np.zeros((4, 4)), {"label_values": (0, 1, 2)}, "3 label_values for 2 classes"),
    ],
)
def test_operating_points_refuses_what_has_none(probabilities, truth, options, words):
    with pytest.raises(ValueError, match=words):
        operating_points(probabilities, truth, **options)
