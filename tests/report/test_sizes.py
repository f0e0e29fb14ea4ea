from dataclasses import replace

import numpy as np
import pytest
from comparisons import found_in, write_made

from boundaryloss.report.lesion_plots import dice_by_size, sensitivity_by_size
from boundaryloss.report.lesions import Lesions
from boundaryloss.report.sizes import compare_by_size, size_groups, titles


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return found_in(write_made(tmp_path_factory.mktemp("sizes") / "out", cases=6))[0]


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([5, 1, 4, 2, 6, 3], [[1, 3], [2, 5], [0, 4]]),
        ([1, 1, 1, 1, 2, 3], [[0, 1, 2, 3], [4, 5]]),  # what is of one size stays together
        ([7, 7, 7], [[0, 1, 2]]),
        ([7], [[0]]),
        ([], []),
    ],
)
def test_size_groups_are_thirds_by_hand(sizes, groups):
    assert [group.tolist() for group in size_groups(np.array(sizes), 3)] == groups


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ([1, 10, 2000], ["up to 1 mm²", "1 to 10 mm²", "above 10 mm²"]),
        ([1, 1, 12345.6], ["up to 1 mm²", "above 1 mm²"]),
        ([3.14159, 1, 12345.6], ["up to 1 mm²", "1 to 3.14 mm²", "above 3.14 mm²"]),
        ([7], ["all"]),
        ([], []),
    ],
)
def test_titles_name_the_cuts(sizes, named):
    sizes = np.array(sizes, float)
    assert titles(Lesions(sizes, sizes, sizes, "mm²"), size_groups(sizes, 3)) == named


def test_compare_by_size_by_hand(results):
    found = compare_by_size(results)
    assert [(f.size, f.measure) for f in found] == [
        (size, measure)
        for size in ("up to 1 mm²", "1 to 10 mm²", "above 10 mm²")
        for measure in ("sensitivity", "dice")
    ]
    assert [(f.before, f.after) for f in found[::2]] == [(0, 0), (1, 1), (1, 1)]
    small, *_, large = found[1::2]
    assert (small.before, small.after, small.lesions, small.units) == (0, 0, 6, 6)
    for value in (large.difference, large.low, large.high):  # every lesion gains as much
        assert value == pytest.approx(0.1)


def test_compare_by_size_has_no_interval_of_few_patients(results):
    few = replace(results, units=["a", "b", "c", "d", "e", "e"])
    assert all(np.isnan(f.low) and f.units == 5 for f in compare_by_size(few))


def test_compare_by_size_draws_patients_and_not_lesions(results):
    """Of two patients' lesions the gains differ: the interval is that of the patients."""
    scores = results.methods[1].lesions[1].copy()
    scores[1, :, : 3 * 3] += 0.3  # the first three cases gain more
    better = replace(results.methods[1], lesions={1: scores})
    alike = replace(results, methods=[results.methods[0], better])
    low, high = (compare_by_size(alike)[-1].low, compare_by_size(alike)[-1].high)
    assert low == pytest.approx(0.1, abs=0.06) and high == pytest.approx(0.4, abs=0.06)


def test_figures_by_size_show_every_lesion_and_group(results):
    pair = results.pairs[0]
    curve, changes = sensitivity_by_size(results, pair, 1), dice_by_size(results, pair, 1)
    assert curve.count("<title>") == 2 * 3 and "GDL + boundary: 1.000 of 6 lesions, 10 mm²" in curve
    assert changes.count("<title>") == 3 * 6
    assert "case0, 100 mm²: 0.500, 0.600" in changes
