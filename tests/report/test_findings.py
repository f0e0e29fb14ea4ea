import csv
import dataclasses

import numpy as np
import pytest

from boundaryloss.report.findings import EQUAL, Finding, equal_sensitivity, find_all, sentences
from boundaryloss.report.results import MEASURES, read_results
from boundaryloss.report.statistics import Difference


@pytest.fixture(scope="module")
def results(comparison):
    return read_results(comparison)


def with_points(results, index, found, false):
    """The results with one case of ten lesions, and the same curve for every seed."""
    points = np.zeros((3, 3, 2, 1))
    points[0], points[1, :, :, 0], points[2, :, :, 0] = 10, np.c_[found, found], np.c_[false, false]
    return dataclasses.replace(results.methods[index], points={3: points})


def test_read_results_agrees_with_the_files(comparison, results):
    with (comparison / "runs/gdl-boundary-fold1-seed1/cases.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    columns, case = results.method("GDL + boundary").columns[3], results.cases.index(row["name"])
    assert columns.hd95_penalised_mm[1, case] == float(row["hd95_penalised_mm"])
    assert columns.lesions.shape == (2, 14) and np.isfinite(columns.lesions).all()


def test_find_all_tests_every_measure_of_every_pair(results):
    findings = find_all(results)
    assert [finding.measure.key for finding in findings] == [m.key for m in (*MEASURES, EQUAL)]
    assert all(f.p >= f.difference.p and f.difference.units == 7 for f in findings)


def test_equal_sensitivity_moves_the_threshold_by_hand(results):
    results = dataclasses.replace(results, thresholds=np.array([0.1, 0.5, 0.9]), cases=["a"], units=["a"])
    baseline = with_points(results, 0, [9, 6, 3], [9, 4, 1])  # at 0.5: 6 lesions found, 4 false
    bolder = with_points(results, 1, [10, 9, 6], [20, 9, 4])  # the same curve, shifted
    better = with_points(results, 1, [8, 4, 2], [3, 1, 0])  # between 0.1 and 0.5: 6 found, 2 false
    never = with_points(results, 1, [5, 4, 2], [3, 1, 0])
    assert equal_sensitivity(results, baseline, bolder, 3).by_seed == (0, 0)
    assert equal_sensitivity(results, baseline, better, 3).by_seed == (-2, -2)
    assert np.isnan(equal_sensitivity(results, baseline, never, 3).mean)


def test_equal_sensitivity_is_not_fooled_by_lesions_that_flow_together(results):
    results = dataclasses.replace(results, thresholds=np.array([0.1, 0.5, 0.9]), cases=["a"], units=["a"])
    baseline = with_points(results, 0, [9, 6, 3], [9, 4, 1])
    blob = with_points(results, 1, [10, 5, 3], [0, 8, 1])  # at 0.1 all is one region: nothing false
    assert equal_sensitivity(results, baseline, blob, 3).mean >= 8 - 4


def finding(measure, mean, p=0.001, seeds=3, units=20):
    found = Difference((mean,) * seeds, mean - 0.01, mean + 0.01, p, units)
    return Finding(3, "A", "B", measure, found, p, seeds)


def test_verdict_needs_six_units():
    assert finding(EQUAL, 1.0, units=5).verdict == "not judged"
    assert finding(EQUAL, 1.0, units=6).verdict == "worse"


@pytest.mark.parametrize(
    ("mean", "p", "seeds", "verdict"),
    [
        (-0.5, 0.001, 3, "better"),
        (0.5, 0.001, 3, "worse"),
        (0.5, 0.06, 3, "not significant"),
        (0.005, 0.001, 3, "not significant"),
        (0.5, 0.001, 2, "not judged"),
        (float("nan"), 0.001, 3, "not significant"),
    ],
)
def test_verdict_knows_which_way_is_better(mean, p, seeds, verdict):
    fewer_is_better = next(m for m in MEASURES if m.key == "false_lesions_per_case")
    assert finding(fewer_is_better, mean, p, seeds).verdict == verdict


@pytest.mark.parametrize(
    ("mean", "p", "against"),
    [
        (0.5, 0.001, ""),
        (0.005, 0.5, ""),
        (0.5, 0.06, "p ≥ 0.05"),
        (0.005, 0.001, "interval includes 0"),
    ],
)
def test_finding_says_which_test_alone_failed(mean, p, against):
    assert finding(EQUAL, mean, p).against == against


def test_sentences_call_a_shift_a_shift():
    false = next(m for m in MEASURES if m.key == "false_lesions_per_case")
    said = sentences([finding(false, -0.5), finding(EQUAL, 0.0)])
    assert said[0] == "Significantly better: false lesions per case (\N{MINUS SIGN}0.50)."
    assert said[-1].endswith("not significantly fewer.")
    assert sentences([finding(false, -0.5), finding(EQUAL, 0.4)])[-1].endswith("more of them.")
    assert len(sentences([finding(false, -0.5), finding(EQUAL, -0.4)])) == 1
