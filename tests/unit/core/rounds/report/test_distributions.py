"""Histograms: every row is counted once, whatever the stretches, and wild values do not stretch the frame."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.rounds.report.distributions import Frame, HistogramCount, frame_of

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(np.nan), max_size=60)


@given(VALUES, st.integers(1, 20), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.randoms())
def test_every_number_is_counted_once(values, stretch, low, width, chance):
    """Bins, what lies below and what lies above add up to the rows that have a number, in stretches or at once."""
    column = np.array(values, dtype=float)
    chosen = np.array([chance.random() < 0.5 for _ in values], dtype=bool)
    frame = Frame(low, low + width)
    whole, parts = HistogramCount(frame), HistogramCount(frame)
    whole.add(column, chosen)
    for start in range(0, len(column), stretch):
        parts.add(column[start : start + stretch], chosen[start : start + stretch])
    found = whole.histogram()
    assert found == parts.histogram()
    assert sum(found.counts) + found.below + found.above == found.rows == np.count_nonzero(~np.isnan(column))
    assert all(0 <= part <= count for part, count in zip(found.chosen, found.counts, strict=True))


@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=60), st.lists(st.floats(-1e100, 1e100), max_size=2))
def test_a_frame_has_a_width_and_holds_the_middle(values, marks):
    """Whatever the values, the frame is finite, has a width, and holds the median."""
    column = np.array(values)
    frame = frame_of(column, column.min(), column.max(), marks)
    assert frame is not None
    assert np.isfinite([frame.low, frame.high]).all()
    assert frame.low < frame.high
    assert frame.low <= np.median(column) <= frame.high


def test_frames_keep_marks_that_are_near_and_leave_wild_values_outside():
    """One value of a million does not squeeze the rest; a threshold beside the values is shown, one far away is not."""
    column = np.r_[np.linspace(0, 1, 1_000), 1e6]
    frame = frame_of(column, 0.0, 1e6, [1.8])
    assert frame is not None
    assert 1.8 <= frame.high < 3
    far = frame_of(column, 0.0, 1e6, [500.0])
    assert far is not None
    assert far.high < 3
    assert frame_of(np.empty(0), np.inf, -np.inf) is None
