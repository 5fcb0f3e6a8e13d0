"""How well a score tells two kinds of samples apart: the area under the ROC curve, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_DRAWS = 2_000
_DRAWN_VALUES = 4_000_000
"""How many numbers of a bootstrap are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Separation:
    """An area, 0 to 1, its 95% interval, and how many of each kind there were."""

    area: float
    low: float
    high: float
    positive: int
    negative: int


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The probability that a right answer scores above a wrong one, ties counting half; None without both kinds.

    The area under the ROC curve by the Mann-Whitney rank sum.
    """
    positive = np.asarray([s for s, r in zip(scores, right, strict=True) if r], dtype=np.float64)
    negative = np.asarray([s for s, r in zip(scores, right, strict=True) if not r], dtype=np.float64)
    if not len(positive) or not len(negative):
        return None
    return float(_above(positive, negative).mean())


def separation(positive: Floats, negative: Floats, seed: int) -> Separation | None:
    """The area with a percentile interval of a bootstrap: both kinds are drawn anew, each from itself.

    None without both kinds. Numbers that are not finite have no place here: leave them out.
    """
    if not len(positive) or not len(negative):
        return None
    above = _above(positive, negative)
    random = np.random.default_rng(seed)
    part = max(1, _DRAWN_VALUES // (len(positive) + len(negative)))
    areas = []
    for start in range(0, _DRAWS, part):
        draws = min(part, _DRAWS - start)
        of_positive, of_negative = (
            random.multinomial(count, np.full(count, 1 / count), size=draws) / count for count in above.shape
        )
        areas.append(((of_positive @ above) * of_negative).sum(axis=1))
    low, high = np.quantile(np.concatenate(areas), (0.025, 0.975))
    return Separation(float(above.mean()), float(low), float(high), len(positive), len(negative))


def _above(positive: Floats, negative: Floats) -> Floats:
    """For each pair 1 where the positive is above, 0.5 where they are equal, else 0."""
    difference = positive[:, None] - negative[None, :]
    return np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0))
