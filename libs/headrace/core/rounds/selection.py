"""Who is selected for what: owners and overlaps, the authors' merge, and how large the next version can become.

HEADRACE selects a sample for one axis, the first of OWNERS beyond whose threshold it lies. MIDDO_COMPAT selects it for each axis
on its own, so that a sample that is both hard and of low quality leaves once and comes back twice: its rewrite for quality takes
its place, the one that is to be easier stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from headrace.core.rounds.rules import OWNERS, Axis, Mode, SelectionRules
from headrace.core.rounds.signal_rows import Flags, SignalRows
from headrace.core.rounds.thresholds import Threshold

Keys = npt.NDArray[np.uint64]
"""Merge keys, a row of two numbers each: the first 128 bits of the hash."""

_BIT = {axis: 1 << place for place, axis in enumerate(Axis)}

COMBINATIONS = {"+".join(each): sum(_BIT[axis] for axis in each) for size in (1, 2, 3) for each in combinations(Axis, size)}
"""The seven ways to lie beyond thresholds, as sums of bits: `hard`, ..., `hard+sparse`, ..., `hard+sparse+low_quality`."""


def beyond_bits(rows: SignalRows, thresholds: Sequence[Threshold]) -> npt.NDArray[np.uint8]:
    """For each row the axes beyond whose thresholds it lies, as a sum of bits: see COMBINATIONS."""
    bits = np.zeros(len(rows), dtype=np.uint8)
    for threshold in thresholds:
        bits |= np.where(threshold.beyond(rows), np.uint8(_BIT[threshold.axis]), np.uint8(0))
    return bits


def owned(bits: npt.NDArray[np.uint8], rules: SelectionRules) -> Mapping[Axis, Flags]:
    """For each axis the rows selected for it: by its owner alone in mode HEADRACE, by every axis in mode MIDDO_COMPAT."""
    selected: dict[Axis, Flags] = {}
    free = np.ones(len(bits), dtype=np.bool_)
    for axis in OWNERS:
        selected[axis] = is_beyond(bits, axis) & free
        if rules.mode is Mode.HEADRACE:
            free &= ~selected[axis]
    return {axis: selected[axis] for axis in Axis}


def is_beyond(bits: npt.NDArray[np.uint8], axis: Axis) -> Flags:
    """Which rows lie beyond the axis' threshold."""
    found: Flags = (bits & _BIT[axis]) != 0
    return found


def beside(bits: npt.NDArray[np.uint8], axis: Axis) -> Flags:
    """Of rows selected for the axis those whose rewrite leaves the parent's place to another axis' rewrite."""
    return is_beyond(bits, Axis.LOW_QUALITY) if axis is Axis.HARD else np.zeros(len(bits), dtype=np.bool_)


def merged(keys: Keys, bits: npt.NDArray[np.uint8]) -> Flags:
    """Which rows stay as they are in the authors' merge: of each merge key that stays, one.

    A key stays where some row of it is not hard and some row of it, the same or another, is not of low quality. Rows of one
    key are one row after the merge; which one the authors keep depends on the order of a set, here it is the first that is
    neither, or else the first. (A row that is hard and one that is of low quality can hold each other in: both are replaced,
    and one stays as well.)
    """
    hard, low_quality = is_beyond(bits, Axis.HARD), is_beyond(bits, Axis.LOW_QUALITY)
    if not len(keys):
        return np.zeros(0, dtype=np.bool_)
    order = np.lexsort((hard | low_quality, keys[:, 1], keys[:, 0]))
    in_order = keys[order]
    starts = np.flatnonzero(np.r_[True, (in_order[1:] != in_order[:-1]).any(axis=1)])
    stays = np.logical_or.reduceat(~hard[order], starts) & np.logical_or.reduceat(~low_quality[order], starts)
    kept = np.zeros(len(keys), dtype=np.bool_)
    kept[order[starts[stays]]] = True
    return kept


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows of a version and what a round does to their number, if each rewrite is accepted.

    `replaced` leave and come back rewritten; `both` of them are replaced twice (MIDDO_COMPAT alone); `added` are new beside
    sparse points; `collapsed` leave because they share a merge key with another row (MIDDO_COMPAT alone; below zero where rows
    of one key hold each other in, see `merged`).
    """

    rows: int
    replaced: int
    both: int
    added: int
    collapsed: int = 0

    def after(self, *, scale_held: bool) -> int:
        """Rows of the next version; with the scale held, what is added is paid for by what is evicted.

        MIDDO_COMPAT asks with `scale_held=False`: |D'| = |D| + |hard and low_quality| + |sparse| - collapsed.
        """
        return self.rows + self.both - self.collapsed + (0 if scale_held else self.added)


def sizes(rules: SelectionRules, overlaps: Mapping[str, int], rows: int, collapsed: int = 0) -> Sizes:
    """The size law: from the counts of the seven combinations; `collapsed` as in Sizes."""
    hard, low_quality, sparse = (_BIT[axis] for axis in (Axis.HARD, Axis.LOW_QUALITY, Axis.SPARSE))
    replaced = both = added = 0
    for name, count in overlaps.items():
        bits = COMBINATIONS[name]
        replaced += count * bool(bits & (hard | low_quality))
        if rules.mode is Mode.MIDDO_COMPAT:
            both += count * bool(bits & hard and bits & low_quality)
            added += count * bool(bits & sparse)
        else:
            added += count * (bits == sparse)
    return Sizes(rows, replaced, both, added, collapsed)
