"""The coefficient m for a target share: as many rows as possible beyond the bounds, and never more than the target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.core.rounds.moments import Floats, Moments
from headrace.core.rounds.signal_rows import Flags


@dataclass(frozen=True, slots=True)
class Solution:
    """The m found, and the next larger share there is: with tied values the shares between the two do not exist."""

    m: float | None
    share_above: float | None


def exceeding(values: Floats, bounds: Sequence[float | None]) -> Flags:
    """Which rows exceed the bound of every column; none where a bound is None, and never a row without a number."""
    found = np.ones(len(values), dtype=np.bool_)
    for column, bound in enumerate(bounds):
        found &= values[:, column] > bound if bound is not None else np.False_
    return found


def solved(values: Floats, moments: Sequence[Moments], ddof: int, rows_measured: int, target: float) -> Solution:
    """The m whose share of the rows measured is the largest not above the target.

    `values` are those of the rows that may be selected, a column per condition, `moments` those of all rows measured. A row
    lies beyond for every m below the least of its standardised values, so the shares there are end at these: m is sought
    by bisection between them, and each share is counted with the exact bounds of its m, as the selection will count it. Of a
    column without spread nothing exceeds any bound, and there is no m. Standardised values are doubles: what differs by less
    than their rounding counts as tied.
    """
    spreads = [each.std(ddof) for each in moments]
    if not all(spreads):
        return Solution(None, None)
    candidates = _candidates(values, moments, spreads)
    if not candidates:
        return Solution(None, None)
    shares: dict[int, float] = {}

    def share(place: int) -> float:
        if place not in shares:
            bounds = [each.bound(candidates[place], ddof) for each in moments]
            shares[place] = np.count_nonzero(exceeding(values, bounds)) / rows_measured
        return shares[place]

    low, high = -1, len(candidates) - 1  # the share at `high` is not above the target, that at `low` is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if share(middle) > target else (low, middle)
    return Solution(candidates[high], share(low) if low >= 0 else None)


def _candidates(values: Floats, moments: Sequence[Moments], spreads: Sequence[float | None]) -> list[float]:
    """An m for each share there is, rising: below all standardised values, between neighbours, above all; none of no rows."""
    with np.errstate(over="ignore", invalid="ignore"):
        standard = np.column_stack(
            [(values[:, column] - (each.mean or 0.0)) / (spread or 1.0)
             for column, (each, spread) in enumerate(zip(moments, spreads, strict=True))]
        ).min(axis=1)  # fmt: skip
    steps = np.unique(standard[np.isfinite(standard)])
    if not len(steps):
        return []
    between = (steps[:-1] + steps[1:]) / 2
    return [float(steps[0]) - 1.0, *between.tolist(), float(steps[-1]) + 1.0]
