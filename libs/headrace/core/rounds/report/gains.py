"""What rewrites gained on the axis they were made for, with an interval that says how sure that is."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from headrace.core.rounds.moments import Floats
from headrace.core.rounds.rules import Axis

RESAMPLES = 2_000
CONFIDENCE = 0.95
_SEED = 20_250_901
_LEAST = 2
"""Of a single value nothing can be said about its spread."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with the ends of its interval at CONFIDENCE, None where too few values were there to tell."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class AxisGains:
    """Mean gains on one axis, positive for the better, in the axis' own unit; None where there is nothing to average.

    `accepted` and `rejected` are of so many rewrites; `difference` is accepted less rejected.
    """

    axis: Axis
    accepted: Estimate | None
    accepted_rows: int
    rejected: Estimate | None
    rejected_rows: int
    difference: Estimate | None


def gain_of(axis: Axis, parent: float | None, rewrite: float | None) -> float | None:
    """By how much the rewrite beats its parent: a lower loss, a denser neighbourhood, a higher quality."""
    if parent is None or rewrite is None:
        return None
    return parent - rewrite if axis is Axis.HARD else rewrite - parent


def gains_on(axis: Axis, accepted: Iterable[float], rejected: Iterable[float]) -> AxisGains:
    """Means and their difference, with percentile bootstrap intervals; the same gains give the same intervals."""
    better, worse = (np.sort(np.fromiter(gains, dtype=np.float64)) for gains in (accepted, rejected))
    better_means, worse_means = _resampled(better, 0), _resampled(worse, 1)
    difference = None
    if len(better) and len(worse):
        spread = better_means - worse_means if len(better_means) and len(worse_means) else better_means[:0]
        difference = _estimate(float(better.mean() - worse.mean()), spread)
    return AxisGains(
        axis=axis,
        accepted=_estimate(float(better.mean()), better_means) if len(better) else None,
        accepted_rows=len(better),
        rejected=_estimate(float(worse.mean()), worse_means) if len(worse) else None,
        rejected_rows=len(worse),
        difference=difference,
    )


def _resampled(values: Floats, stream: int) -> Floats:
    """Means of as many values drawn with replacement, over and over; none of too few. Streams are independent."""
    if len(values) < _LEAST:
        return np.empty(0)
    chance = np.random.default_rng([_SEED, stream])
    return np.array([values[chance.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])


def _estimate(mean: float, resampled: Floats) -> Estimate:
    if not len(resampled):
        return Estimate(mean, None, None)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(each) for each in np.quantile(resampled, [tail, 1 - tail]))
    return Estimate(mean, low, high)
