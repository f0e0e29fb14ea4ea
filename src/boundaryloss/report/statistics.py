"""What two methods differ by, and how sure one may be.

A measure is a ratio of two sums over cases, such as lesions found / lesions. Its terms are arrays
(2, seed, unit): numerator and denominator of every unit, where a unit is what may be thought of as drawn
independently: the patient if a patient has several cases, else the case.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES, BLOCKS = 4000, 40
LEVEL = 0.95
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Difference:
    """Second method minus first: by seed, their mean, its interval, and the p-value of no difference."""

    by_seed: tuple[float, ...]
    low: float
    high: float
    p: float
    units: int

    @property
    def mean(self) -> float:
        """Return the mean of the seeds."""
        return float(np.mean(self.by_seed))

    def is_significant(self, p: float) -> bool:
        """Return whether the corrected `p` and the interval both exclude chance."""
        return np.isfinite(self.mean) and p < SIGNIFICANT and (self.low > 0 or self.high < 0)


def by_unit(terms: np.ndarray, units: Sequence[str]) -> np.ndarray:
    """Add the cases (last axis) that belong to the same unit."""
    _, index = np.unique(units, return_inverse=True)
    sums = np.zeros((index.max() + 1, *terms.shape[:-1]))
    np.add.at(sums, index, np.moveaxis(terms, -1, 0))
    return np.moveaxis(sums, 0, -1)


def ratio(terms: np.ndarray) -> np.ndarray:
    """Return the measure of each seed; nan where there is nothing to divide by."""
    numerator, denominator = terms.sum(axis=-1)
    return _divide(numerator, denominator)


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two methods over the same seeds and units.

    The interval is a percentile bootstrap that draws seeds and units anew; the p-value is Wilcoxon's
    signed-rank test over the units, each with the mean of its seeds.

    Args:
        first: terms (2, seed, unit) of the method to compare with.
        second: of the method in question.
    """
    per_unit = (_divide(*second) - _divide(*first)).mean(axis=0)
    per_unit = per_unit[np.isfinite(per_unit)]
    return Difference(
        tuple((ratio(second) - ratio(first)).tolist()),
        *interval(resampled(first, second)),
        wilcoxon(per_unit),
        len(per_unit),
    )


def resampled(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return second minus first (resample), seeds and units drawn anew; arguments as in `difference`."""
    seeds, units = resample(*first.shape[1:])
    values = [np.einsum("rs,sr->r", seeds, _divide(*(terms @ units.T))) for terms in (first, second)]
    return values[1] - values[0]


@functools.lru_cache(maxsize=2)
def resample(seeds: int, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw how often each seed (as a share) and each unit (as a count) counts: (resample, n) both."""
    random = np.random.default_rng(0)
    draws = (random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) for n in (seeds, units))
    shares, counts = draws
    return shares / seeds, counts.astype(float)


def intervals(terms: np.ndarray) -> list[tuple[float, float]]:
    """Return the interval of each measure of one method: a percentile bootstrap that draws units anew.

    Args:
        terms: (2, measure, unit).

    Returns:
        Low and high; nan of a single unit.
    """
    units = terms.shape[-1]
    if units < 2:
        return [(float("nan"), float("nan"))] * terms.shape[1]
    random, values = np.random.default_rng(0), []
    for _ in range(BLOCKS):  # not all at once: there may be thousands of units
        counts = random.multinomial(units, np.full(units, 1 / units), size=RESAMPLES // BLOCKS)
        values.append(_divide(*(terms @ counts.T)))
    return [interval(of_measure) for of_measure in np.concatenate(values, axis=-1)]


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the central share `LEVEL` of resampled values; nan if there are none."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def wilcoxon(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the signed-rank test; 1 if nothing differs, or for a single unit."""
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    few = len(differences) <= 12  # with ties the normal approximation is poor: all signs are tried instead
    method: Any = stats.PermutationMethod() if few else "approx"
    return float(stats.wilcoxon(differences, zero_method="pratt", method=method).pvalue)  # pyright: ignore


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for their number, by Holm."""
    values = np.asarray(p, float)
    order = np.argsort(values)
    scaled = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected.tolist()


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
