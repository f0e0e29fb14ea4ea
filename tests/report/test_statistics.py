import numpy as np
import pytest
from scipy import stats

from boundaryloss.report.statistics import by_unit, difference, holm, intervals, ratio, wilcoxon


def terms(values):
    """A mean: every unit counts once."""
    return np.stack([values, np.ones_like(values)])


def test_ratio_by_hand():
    found, lesions = np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([[2.0, 2.0], [1.0, 5.0]])
    np.testing.assert_allclose(ratio(np.stack([found, lesions])), [3 / 4, 3 / 6])
    assert np.isnan(ratio(np.zeros((2, 1, 3)))).all()


def test_intervals_of_equal_units_are_the_value_and_of_one_unit_nothing():
    terms = np.ones((2, 3, 5))
    terms[0, 1] = 0.5
    terms[1, 2] = 0  # nothing to divide by
    (same, half, none), single = intervals(terms), intervals(terms[..., :1])
    assert same == (1, 1) and half == (0.5, 0.5) and np.isnan(none).all() and np.isnan(single).all()


def test_by_unit_adds_the_cases_of_a_patient():
    added = by_unit(np.array([[[1.0, 2.0, 4.0]], [[1.0, 1.0, 1.0]]]), ["b", "a", "b"])
    np.testing.assert_array_equal(added, [[[2, 5]], [[1, 2]]])


def test_difference_of_equal_methods_is_nothing():
    values = np.random.default_rng(0).random((3, 20))
    found = difference(terms(values), terms(values))
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert not found.is_significant(found.p)


def test_difference_finds_a_clear_gain():
    rng = np.random.default_rng(0)
    values = rng.random((3, 20))
    found = difference(terms(values), terms(values + 0.1 + 0.02 * rng.standard_normal((3, 20))))
    assert found.low < found.mean < found.high and found.mean == pytest.approx(0.1, abs=0.01)
    assert found.units == 20 and found.is_significant(found.p)


def test_difference_of_chance_is_rarely_significant():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        found = difference(terms(np.zeros((3, 15))), terms(rng.standard_normal((3, 15))))
        hits += found.is_significant(found.p)
    assert hits <= 10


def test_difference_widens_with_the_spread_of_the_seeds():
    base, spread = np.zeros((3, 40)), np.array([[-0.1], [0.1], [0.3]])
    narrow = difference(terms(base), terms(base + 0.1))
    wide = difference(terms(base), terms(base + spread))
    assert narrow.mean == pytest.approx(wide.mean)
    assert narrow.high - narrow.low < 1e-9 and wide.low < 0 < wide.high


def test_difference_of_few_units_cannot_be_significant():
    found = difference(terms(np.zeros((3, 3))), terms(np.full((3, 3), 0.5) + np.arange(3) / 100))
    assert found.p >= 0.25


def test_wilcoxon_agrees_with_scipy_where_it_is_exact():
    differences = np.array([0.3, -0.1, 0.7, 0.4, -0.2, 0.9, 1.1])
    assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert wilcoxon(np.arange(1.0, 7)) == pytest.approx(2 / 2**6)


@pytest.mark.parametrize("differences", [[], [0.0, 0.0], [1.0], [1.0, 0.0, 0.0]])
def test_wilcoxon_of_next_to_nothing_says_so(differences):
    assert wilcoxon(np.array(differences)) > 0.1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1] and holm([]) == []
