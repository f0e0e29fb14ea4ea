"""Every difference between a method and its baseline, tested, and said in words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from boundaryloss.report.results import MEASURES, Measure, Method, Results
from boundaryloss.report.statistics import (
    BLOCKS,
    RESAMPLES,
    SIGNIFICANT,
    Difference,
    by_unit,
    difference,
    holm,
    interval,
    resample,
)

OPERATING_POINT = 0.5
FEWEST_REPETITIONS = 3  # seeds; folds where there are no seeds
FEWEST_UNITS = 6  # with 5, even the same sign throughout has p = 2 / 2^5 > 0.05
EQUAL = Measure(
    "false_lesions_at_equal_sensitivity",
    "false lesions at equal sensitivity",
    -1,
    2,
    lambda c: (c.false_lesions, c.false_lesions),  # never asked: it comes from the curve
)


@dataclass(frozen=True)
class Finding:
    """One measure of one class, of a method against its baseline."""

    label: int
    baseline: str
    method: str
    measure: Measure
    difference: Difference
    p: float  # after Holm's correction over all findings of the report
    repetitions: int  # seeds, or folds where there are no seeds

    @property
    def verdict(self) -> str:
        """Return `better`, `worse`, `not significant`; or `not judged`, with few repetitions or units."""
        if self.repetitions < FEWEST_REPETITIONS or self.difference.units < FEWEST_UNITS:
            return "not judged"
        if not self.difference.is_significant(self.p):
            return "not significant"
        return "better" if self.difference.mean * self.measure.better > 0 else "worse"

    @property
    def against(self) -> str:
        """Name the test that alone says that this may be chance; empty if both do, or none."""
        low, high = self.difference.low, self.difference.high
        if self.verdict != "not significant" or (self.p < SIGNIFICANT) is not (low <= 0 <= high):
            return ""
        return "interval includes 0" if self.p < SIGNIFICANT else f"p ≥ {SIGNIFICANT:g}"


def find_all(results: Results) -> list[Finding]:
    """Test all classes, pairs and measures, with p-values corrected for their number."""
    findings: list[Finding] = []

    def add(label: int, pair: tuple[Method, Method], measure: Measure, found: Difference) -> None:
        names = pair[0].name, pair[1].name
        findings.append(Finding(label, *names, measure, found, float("nan"), results.repetitions))

    for label in results.facts.labels:
        for pair in results.pairs:
            for measure in MEASURES:
                terms = (by_unit(measure.of(one.columns[label]), results.units) for one in pair)
                add(label, pair, measure, difference(*terms))
            if len(results.thresholds) > 1:  # with one alone nothing can be moved
                add(label, pair, EQUAL, equal_sensitivity(results, *pair, label))
    corrected = holm([finding.difference.p for finding in findings])
    return [replace(finding, p=p) for finding, p in zip(findings, corrected, strict=True)]


def curve(results: Results, method: Method, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Return lesion sensitivity and false lesions per case: (threshold, seed) both."""
    lesions, found, false = method.points[label].sum(axis=-1)
    return found / np.maximum(lesions, 1), false / len(results.cases)


def equal_sensitivity(results: Results, baseline: Method, method: Method, label: int) -> Difference:
    """Compare false lesions per case where the method is as sensitive as its baseline is at 0.5.

    The method's threshold is moved until both find as many lesions, seed by seed, and resample by resample.
    """
    first, second = (by_unit(one.points[label], results.units) for one in (baseline, method))
    cases = by_unit(np.ones(len(results.cases)), results.units)
    at = int(np.abs(results.thresholds - OPERATING_POINT).argmin())
    seeds, units = resample(first.shape[2], first.shape[3])

    def by_seed(weights: np.ndarray) -> np.ndarray:
        """Return (seed, resample) of units drawn `weights` (resample, unit) times."""
        lesions, found, false = first[:, at] @ weights.T
        target, count = found / np.maximum(lesions, 1), weights @ cases
        lesions, moved, moved_false = second @ weights.T
        # At low thresholds false lesions flow together and their number falls again; as if it did not.
        moved_false = np.maximum.accumulate(moved_false[::-1])[::-1]
        return at_sensitivity(moved / np.maximum(lesions, 1), moved_false / count, target) - false / count

    blocks = (slice(start, start + RESAMPLES // BLOCKS) for start in range(0, RESAMPLES, RESAMPLES // BLOCKS))
    values = np.concatenate([np.einsum("rs,sr->r", seeds[block], by_seed(units[block])) for block in blocks])
    finite = values[np.isfinite(values)]
    tail = min((finite <= 0).mean(), (finite >= 0).mean()) if len(finite) else 1.0
    ones = np.ones((1, first.shape[3]))
    return Difference(
        tuple(by_seed(ones)[:, 0].tolist()),
        *interval(values),
        float(np.clip(2 * tail, 1 / RESAMPLES, 1)),
        first.shape[3],
    )


def at_sensitivity(sensitivity: np.ndarray, values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the values (threshold, ...) where the falling sensitivity meets the target (...), or nan."""
    reached = sensitivity >= target
    last = np.where(reached.any(axis=0), reached.shape[0] - 1 - reached[::-1].argmax(axis=0), 0)
    following = np.minimum(last + 1, len(sensitivity) - 1)
    at = [
        np.take_along_axis(series, i[None], 0)[0]
        for series in (sensitivity, values)
        for i in (last, following)
    ]
    step = at[0] - at[1]
    share = np.where(step > 0, (at[0] - target) / np.where(step > 0, step, 1), 0)
    return np.where(reached.any(axis=0), at[2] + share * (at[3] - at[2]), np.nan)


def sentences(findings: Sequence[Finding], repeated: str = "seed") -> list[str]:
    """Say what is known of one method against its baseline for one class, from its findings."""
    few = f"fewer than {FEWEST_REPETITIONS} {repeated}s or {FEWEST_UNITS} cases or patients"
    words = {
        "better": "Significantly better",
        "worse": "Significantly worse",
        "not significant": "No significant difference",
        "not judged": f"Not judged, with {few}",
    }
    said = []
    for verdict, text in words.items():
        if found := [f for f in findings if f.verdict == verdict]:
            said.append(f"{text}: {'; '.join(map(_described, found))}.")
    verdicts = {f.measure.key: f.verdict for f in findings}
    equal = verdicts.get(EQUAL.key)
    if verdicts.get("false_lesions_per_case") == "better" and equal != "better":
        moved = "with its threshold moved until it finds as many lesions as the baseline, it has "
        amount = "more of them" if equal == "worse" else "not significantly fewer"
        found = f"{moved}{amount}" if equal else "without probabilities, nobody can tell"
        said.append(f"Fewer false lesions may only mean that less is predicted: {found}.")
    return said


def _described(finding: Finding) -> str:
    if finding.verdict not in ("better", "worse"):
        return finding.measure.title
    return f"{finding.measure.title} ({signed(finding.difference.mean, finding.measure.digits)})"


def number(value: float, digits: int) -> str:
    """Write a number, or a dash where there is none."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "\N{EN DASH}"


def many(count: int, what: str) -> str:
    """Return a number of things: `1 seed`, `2 seeds`."""
    return f"{count} {what}{'s' * (count != 1)}"


def signed(value: float, digits: int) -> str:
    """Write a number with its sign and a real minus; what rounds to nothing has neither."""
    if not np.isfinite(value):
        return number(value, digits)
    text = f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text if text.strip("+0.") else text[1:]


def spread(values: np.ndarray) -> float:
    """Return the standard deviation over seeds; 0 of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
