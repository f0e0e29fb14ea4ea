"""Lesions by their true size: what each method finds of the small ones and of the large ones.

These numbers are there to explore. None of them is tested, and none counts as better or worse.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boundaryloss.report.findings import FEWEST_UNITS
from boundaryloss.report.lesions import Lesions
from boundaryloss.report.results import Results
from boundaryloss.report.statistics import interval, ratio, resampled

THIRDS = 3
MEASURED = ("sensitivity", "dice")  # of lesions: share found; mean Dice, 0 for a miss


@dataclass(frozen=True)
class SizeFinding:
    """Hold one measure of the lesions of one size, of a method and its baseline."""

    label: int
    baseline: str
    method: str
    measure: str
    size: str
    lesions: int
    units: int  # patients, or cases, that have such lesions
    before: float  # the baseline, mean of the seeds
    after: float
    difference: float
    low: float  # of the difference; nan with too few units
    high: float


def size_groups(sizes: np.ndarray, count: int) -> list[np.ndarray]:
    """Divide lesions by size into groups of about as many, the smallest first; return which each holds.

    Lesions of the same size stay together: those at a cut belong to the smaller ones. So with many of one
    size there are fewer groups.
    """
    if not len(sizes):
        return []
    cuts = np.quantile(sizes, np.arange(1, count) / count, method="inverted_cdf")
    group = np.searchsorted(np.unique(cuts), sizes)
    return [np.flatnonzero(group == index) for index in np.unique(group)]


def compare_by_size(results: Results) -> list[SizeFinding]:
    """Compare every pair on the smallest third of the true lesions, the middle one, and the largest."""
    findings = []
    _, units = np.unique(results.units, return_inverse=True)
    for label, lesions in results.lesions.items():
        groups = size_groups(lesions.size, THIRDS)
        for pair in results.pairs:
            for title, group in zip(titles(lesions, groups), groups, strict=True):
                for index, measure in enumerate(MEASURED):
                    unit = units[lesions.case[group]]
                    terms = [_terms(m.lesions[label][index][:, group], unit, units.max() + 1) for m in pair]
                    many = len(np.unique(unit))
                    low, high = interval(resampled(*terms)) if many >= FEWEST_UNITS else (np.nan, np.nan)
                    before, after = (float(ratio(of_method).mean()) for of_method in terms)
                    names = pair[0].name, pair[1].name, measure, title
                    findings.append(
                        SizeFinding(label, *names, len(group), many, before, after, after - before, low, high)
                    )
    return findings


def titles(lesions: Lesions, groups: Sequence[np.ndarray]) -> list[str]:
    """Name groups by the sizes of their lesions: `up to 12 mm²`, `12 to 40 mm²`, `above 40 mm²`."""
    if len(groups) < 2:
        return ["all"] * len(groups)
    cuts = [size_text(lesions.size[group].max()) for group in groups[:-1]]
    between = (f"{low} to {high}" for low, high in itertools.pairwise(cuts))
    return [f"{name} {lesions.unit}" for name in (f"up to {cuts[0]}", *between, f"above {cuts[-1]}")]


def size_text(size: float) -> str:
    """Write a size with three digits, or as a whole number."""
    return f"{size:.0f}" if size >= 1000 else f"{size:.3g}"


def _terms(values: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
    """Return sums and numbers of values (seed, lesion) by unit: (2, seed, unit)."""
    sums = np.stack([np.bincount(unit, of_seed, units) for of_seed in values])
    return np.stack([sums, np.broadcast_to(np.bincount(unit, minlength=units), sums.shape)])
