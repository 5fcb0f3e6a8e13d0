"""The selection of a round by its formulas, row by row in plain NumPy over exact fractions: slow, and written for itself.

Nothing of the code under test is used here. A table is a mapping from column names to arrays, `scores` with six columns.
"""

from fractions import Fraction

import numpy as np

LARGEST = 1e100
COUNT_OF_SCORES = 6


def fractions(values) -> np.ndarray:
    return np.array([Fraction(float(value)) for value in values], dtype=object)


def is_number(values) -> np.ndarray:
    return np.array([bool(np.isfinite(value)) and abs(value) <= LARGEST for value in values], dtype=bool)


def exceeds(distance: Fraction, m: float, variance: Fraction) -> bool:
    """Whether distance > m * sqrt(variance), without a root."""
    reach = Fraction(m) ** 2 * variance
    if m >= 0:
        return distance > 0 and distance**2 > reach
    return not (distance <= 0 and distance**2 >= reach)


def upper_tail(values, within, m: float, ddof: int) -> np.ndarray:
    """Which values lie above mean + m std, both taken over those `within`."""
    count = int(within.sum())
    if count <= ddof:
        return np.zeros(len(values), dtype=bool)
    inside = fractions(np.asarray(values)[within])
    mean = inside.sum() / count
    variance = ((inside - mean) ** 2).sum() / (count - ddof)
    return np.array([bool(known) and exceeds(Fraction(float(value)) - mean, m, variance)
                     for value, known in zip(values, is_number(values), strict=True)], dtype=bool)  # fmt: skip


def judged(scores) -> np.ndarray:
    """q_d = (prompt_d + response_d) / 2 and their mean, an unread score being 0, in doubles."""
    read = np.where(np.isnan(scores), 0.0, scores)
    return np.array([((a + d) / 2 + (b + e) / 2 + (c + f) / 2) / 3 for a, b, c, d, e, f in read], dtype=float)


def beyond(table, m: dict[str, float], *, compat: bool, has_base: bool = True) -> dict[str, np.ndarray]:
    """For each axis with an m the rows beyond its threshold."""
    rows = len(table["not_made"])
    may = ~table["not_made"] & ~table["retracted"]
    quality = judged(table["scores"]) if compat else table["quality"]
    hard = [table["loss_pre"], table["loss_post"]] if has_base else [table["loss_post"]]
    axes = {"hard": (hard, 0), "sparse": ([-table["density"]], 0), "low_quality": ([-quality], 1)}
    found = {}
    for axis, asked in m.items():
        columns, ddof = axes[axis]
        coefficient = 1.0 if compat and axis == "hard" else asked
        within = np.ones(rows, dtype=bool)
        for values in columns:
            within &= is_number(values)
        poisoned = compat and not within.all()
        if not compat:
            within &= ~table["not_made"]
        mask = may & within & (not poisoned)
        for values in columns:
            mask &= upper_tail(values, within, coefficient, ddof)
        found[axis] = mask
    return found


def owners(found: dict[str, np.ndarray], *, compat: bool) -> list[tuple[int, str]]:
    """(row, axis) of everything selected, in the order of the rows."""
    selected: list[tuple[int, str]] = []
    for row in range(len(next(iter(found.values()))) if found else 0):
        here = [axis for axis in ("low_quality", "hard", "sparse") if axis in found and found[axis][row]]
        if compat:
            selected += [(row, axis) for axis in ("hard", "sparse", "low_quality") if axis in here]
        elif here:
            selected.append((row, here[0]))
    return selected


def paper_next_size(pairs: list[tuple[str, str]], found: dict[str, np.ndarray]) -> int:
    """|D'| by doing it: D without the hard, D without the poor, what both have as a set of pairs, and all rewrites after it."""
    none = np.zeros(len(pairs), dtype=bool)
    hard, sparse, poor = (found.get(axis, none) for axis in ("hard", "sparse", "low_quality"))
    remain = {pair for pair, out in zip(pairs, hard, strict=True) if not out}
    remain &= {pair for pair, out in zip(pairs, poor, strict=True) if not out}
    return len(remain) + int(hard.sum()) + int(sparse.sum()) + int(poor.sum())
