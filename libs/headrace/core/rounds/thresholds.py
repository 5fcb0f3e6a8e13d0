"""Thresholds of a round, from every row of its signal table.

    hard          loss_pre > mean + m std  and  loss_post > mean + m std     population deviation
    sparse        density  < mean - m std                                    population deviation
    low_quality   quality  < mean - m std                                    sample deviation

All comparisons are strict, and exact: see `Moments.bound`. What both modes share ends here:

- HEADRACE leaves rows without a number, and rows that were not measured, out of the moments, and says how many.
- MIDDO_COMPAT lets one row without a number poison the moments of its axis, so that nothing is selected; counts an unread
  score as 0; and takes m = 1 on the hard axis whatever was asked for. A row that was not measured is no exception there, but
  it is never selected itself.

A row that was retracted after the survey stays in the moments, as part of what was surveyed: when somebody takes a sample back
does not move the thresholds of the others. It is not selected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.core.rounds.moments import Floats, Moments, moments_of
from headrace.core.rounds.rules import Axis, Mode, SelectionRules
from headrace.core.rounds.signal_rows import Flags, SignalRows, columns_of
from headrace.core.rounds.target_share import Solution, exceeding, solved

_SIGN = {Axis.HARD: 1.0, Axis.SPARSE: -1.0, Axis.LOW_QUALITY: -1.0}
"""Lower tails are computed as the upper tails of the negated numbers: one rule for all axes."""

_DDOF = {Axis.HARD: 0, Axis.SPARSE: 0, Axis.LOW_QUALITY: 1}


class TooManyRows(Exception):
    """The table has more rows than a choice of rules allows to hold; the message names the setting and the way around it."""


@dataclass(frozen=True, slots=True)
class ColumnBound:
    """One column's part in a threshold: a row lies beyond it where its number is `operator` `bound`, strictly.

    `mean` and `std` are correctly rounded. `bound` is None where nothing can be compared: too few rows for a deviation,
    poisoned moments, or no m to be had.
    """

    column: str
    mean: float | None
    std: float | None
    ddof: int
    operator: str
    bound: float | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """An axis' threshold: a row lies beyond it where it lies beyond every one of the bounds.

    `m` is given, or solved for `target_share`, and None where there is none. `share_above` is the next larger share there is
    beside the one attained, where one was aimed at. `rows_measured` entered the moments; `rows_left_out` have no number, or
    were not measured. `poisoned`: mode MIDDO_COMPAT met such a row, and selects nothing.
    """

    axis: Axis
    bounds: tuple[ColumnBound, ...]
    m: float | None
    target_share: float | None
    share_above: float | None
    rows_measured: int
    rows_left_out: int
    poisoned: bool

    def beyond(self, rows: SignalRows) -> Flags:
        """Which rows lie beyond the threshold and may be selected."""
        sign = _SIGN[self.axis]
        values = sign * rows.measurements([each.column for each in self.bounds])
        bounds = [None if each.bound is None else sign * each.bound for each in self.bounds]
        return rows.selectable & exceeding(values, bounds)


class AxisSurvey:
    """Gathers one axis over the table, stretch by stretch, and tells its threshold.

    Only where a target share is to be solved are values held: of `rows_held_max` rows at most, 8 bytes for each column and
    several times that while m is sought.
    """

    def __init__(self, axis: Axis, rules: SelectionRules, rows_held_max: int) -> None:
        rule = rules.rule_of(axis)
        if rule is None:
            raise ValueError(f"the {axis} axis is off")
        self._axis = axis
        self._rule = rule
        self._mode = rules.mode
        self._columns = columns_of(axis, has_base=rules.has_base)
        self._moments = [Moments() for _ in self._columns]
        self._rows_left_out = 0
        self._rows_held_max = rows_held_max
        self._held: list[Floats] = []
        self._rows_held = 0

    def add(self, rows: SignalRows) -> None:
        """Take a stretch of the table. Raises TooManyRows where a target share would have to hold more than it may."""
        values = _SIGN[self._axis] * rows.measurements(self._columns)
        measured = ~np.isnan(values).any(axis=1)
        if self._mode is Mode.HEADRACE:
            measured &= ~rows.not_made
        self._rows_left_out += len(rows) - int(np.count_nonzero(measured))
        for column in range(len(self._columns)):
            self._moments[column] += moments_of(values[measured, column])
        if self._rule.target_share is not None:
            self._hold(values[measured & rows.selectable])

    def threshold(self) -> Threshold:
        """The threshold over everything gathered."""
        poisoned = self._mode is Mode.MIDDO_COMPAT and self._rows_left_out > 0
        solution = self._solution() if not poisoned else Solution(self._rule.m, None)
        return Threshold(
            axis=self._axis,
            bounds=tuple(
                self._bound(column, moments, None if poisoned else solution.m)
                for column, moments in zip(self._columns, self._moments, strict=True)
            ),
            m=solution.m,
            target_share=self._rule.target_share,
            share_above=solution.share_above,
            rows_measured=self._moments[0].count,
            rows_left_out=self._rows_left_out,
            poisoned=poisoned,
        )

    def _solution(self) -> Solution:
        if self._rule.target_share is None:
            return Solution(self._rule.m, None)
        values = np.concatenate([np.empty((0, len(self._columns))), *self._held])
        return solved(values, self._moments, _DDOF[self._axis], self._moments[0].count, self._rule.target_share)

    def _bound(self, column: str, moments: Moments, m: float | None) -> ColumnBound:
        sign, ddof = _SIGN[self._axis], _DDOF[self._axis]
        bound = None if m is None else moments.bound(m, ddof)
        return ColumnBound(
            column=column,
            mean=None if moments.mean is None else sign * moments.mean + 0.0,  # not -0.0
            std=moments.std(ddof),
            ddof=ddof,
            operator=">" if sign > 0 else "<",
            bound=None if bound is None else sign * bound + 0.0,
        )

    def _hold(self, values: Floats) -> None:
        self._rows_held += len(values)
        if self._rows_held > self._rows_held_max:
            raise TooManyRows(
                f"a target share of the {self._axis} axis is solved over at most {self._rows_held_max:,} rows (rows_held_max), "
                "and the table has more: raise it, or give the axis a fixed m"
            )
        self._held.append(values)


def surveys_of(rules: SelectionRules, rows_held_max: int) -> Sequence[AxisSurvey]:
    """A survey for each axis that is on."""
    return [AxisSurvey(axis, rules, rows_held_max) for axis in Axis if rules.rule_of(axis) is not None]
