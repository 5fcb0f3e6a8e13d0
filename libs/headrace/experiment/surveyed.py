"""A round's survey of measured rows: densities over the closed set, thresholds, and how far beyond them each row lies."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headrace.core.rounds.densities import Neighbourhoods, nearest
from headrace.core.rounds.moments import Floats
from headrace.core.rounds.rules import Axis, SelectionRules
from headrace.core.rounds.selection import beyond_bits, is_beyond, owned
from headrace.core.rounds.signal_rows import Flags, SignalRows
from headrace.core.rounds.thresholds import Threshold, surveys_of
from headrace.experiment.model_side import Measured


@dataclass(frozen=True, slots=True)
class Surveyed:
    """Signals, thresholds and selection of some rows, all in their order.

    `beyond` are the rows past an axis' threshold, `selected` those that the axis owns. `neighbours` are rows too, -1 where a row
    has none.
    """

    rows: SignalRows
    thresholds: Mapping[Axis, Threshold]
    neighbours: Neighbourhoods
    beyond: Mapping[Axis, Flags]
    selected: Mapping[Axis, Flags]

    def tail(self, axis: Axis) -> Floats:
        """How far each row lies on the axis' side of the mean, in deviations; NaN where it has no number.

        Of the hard axis, which compares two losses and wants both to be high, it is the lesser of the two.
        """
        threshold = self.thresholds[axis]
        values = self.rows.measurements([each.column for each in threshold.bounds])
        signs = np.array([1.0 if each.operator == ">" else -1.0 for each in threshold.bounds])
        means = np.array([np.nan if each.mean is None else each.mean for each in threshold.bounds])
        spreads = np.array([each.std or np.nan for each in threshold.bounds])
        standardised: Floats = (signs * (values - means) / spreads).min(axis=1)
        return standardised

    def furthest(self) -> Floats:
        """The greatest of the tails: the score of the combined decision."""
        tails = np.column_stack([self.tail(axis) for axis in self.thresholds])
        greatest = np.where(np.isnan(tails), -np.inf, tails).max(axis=1)
        return np.where(np.isfinite(greatest), greatest, np.nan)

    @property
    def selected_by_any(self) -> Flags:
        """Rows beyond at least one threshold."""
        flags: Flags = np.logical_or.reduce(list(self.beyond.values()))
        return flags


def surveyed(base: Measured, current: Measured, rules: SelectionRules) -> Surveyed:
    """The survey of rows measured under the base and under the current model, the latter as judge too.

    Raises:
        ValueError: fewer rows could be measured than a density needs.
    """
    neighbours = _neighbours(current, rules.k)
    rows = SignalRows(
        loss_post=current.loss,
        loss_pre=base.loss,
        density=neighbours.densities,
        quality=current.quality,
        not_made=np.array([bool(one or other) for one, other in zip(base.errors, current.errors, strict=True)]),
        retracted=np.zeros(len(current.loss), dtype=np.bool_),
    )
    thresholds = []
    for gathering in surveys_of(rules, len(rows)):
        gathering.add(rows)
        thresholds.append(gathering.threshold())
    bits = beyond_bits(rows, thresholds)
    by_axis = {threshold.axis: threshold for threshold in thresholds}
    return Surveyed(rows, by_axis, neighbours, {axis: is_beyond(bits, axis) for axis in by_axis}, owned(bits, rules))


def _neighbours(current: Measured, k: int) -> Neighbourhoods:
    """Those of each row among the rows with an embedding; a row without one has none: -1, and NaN."""
    there = np.flatnonzero(current.prompts.any(axis=1))
    found = nearest(current.prompts[there], 0, len(there), k)
    if found is None:
        raise ValueError(f"{len(there)} rows could be measured: a density over {k} neighbours needs more; raise --tokens-max")
    rows = np.full((len(current.prompts), k), -1, dtype=np.int64)
    cosines = np.full((len(current.prompts), k), np.nan)
    rows[there], cosines[there] = there[found.rows], found.cosines
    return Neighbourhoods(rows, cosines)
