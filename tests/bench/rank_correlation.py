"""Spearman's rank correlation, and how sure it is."""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_DECIMALS = 6
"""What differs by less says the same."""


def rank_correlation(first: Numbers, second: Numbers) -> float:
    """From -1 to 1; ties share their mean rank. NaN where one of the two says the same of everything."""
    ranks = _ranks(first), _ranks(second)
    if min(map(np.ptp, ranks)) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def bootstrap_interval(first: Numbers, second: Numbers, *, draws: int = 2_000, seed: int = 0) -> tuple[float, float]:
    """The middle 95% of the correlations of samples drawn with replacement; NaN where hardly any draw has one."""
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(first), size=len(first)) for _ in range(draws))
    found = np.array([rank_correlation(first[rows], second[rows]) for rows in drawn])
    found = found[np.isfinite(found)]
    if 2 * len(found) < draws:
        return float("nan"), float("nan")
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def _ranks(values: Numbers) -> Numbers:
    _, places, counts = np.unique(values.round(_DECIMALS), return_inverse=True, return_counts=True)
    ranks: Numbers = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
