"""A clock that goes on evenly, whatever is done to the machine's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.steady_clock import SLEWED_S_MAX, SteadyClock

BEGAN = 1_700_000_000.0


class Machine:
    """Its two clocks: time passes on both, and the wall clock may be set besides."""

    def __init__(self) -> None:
        self.wall, self.monotonic = BEGAN, 321.5

    def passes(self, seconds: float, drift: float = 0.0) -> None:
        self.wall += seconds + drift
        self.monotonic += seconds

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.monotonic)


@pytest.mark.parametrize("jump", [3_600.0, -3_600.0, SLEWED_S_MAX + 1, -SLEWED_S_MAX - 1])
def test_a_jump_is_logged_once_and_ignored(jump, caplog):
    """Forward and back: seconds go on as they pass, until a new clock takes the machine's time as it is."""
    machine = Machine()
    clock = machine.clock()
    machine.passes(10.0)
    machine.wall += jump
    assert clock() == pytest.approx(BEGAN + 10.0)
    machine.passes(60.0)
    assert clock() == pytest.approx(BEGAN + 70.0)
    assert [f"jumped by {jump:+.0f} s" in record.getMessage() for record in caplog.records] == [True]
    assert machine.clock()() == machine.wall


def test_a_clock_that_is_set_right_again_is_followed_again(caplog):
    """And the next jump is told of as the first one was."""
    machine = Machine()
    clock = machine.clock()
    for jump in (3_600.0, -3_599.0, -3_600.0):
        machine.wall += jump
        clock()
    assert clock() == pytest.approx(BEGAN + 1.0)
    assert len(caplog.records) == 2


def test_slow_drift_is_followed(caplog):
    """What a time server corrects little by little adds up to more than a jump, and is the machine's time all the while."""
    machine = Machine()
    clock = machine.clock()
    for _ in range(100):
        machine.passes(60.0, drift=0.5)
        assert clock() == pytest.approx(machine.wall)
    assert not caplog.records


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6).filter(lambda jump: abs(jump) > 2 * SLEWED_S_MAX))))
def test_time_never_runs_by_more_than_what_passed(steps):
    """Whatever the jumps are, they move the clock by no more than what counts as drift."""
    machine = Machine()
    clock, before = machine.clock(), BEGAN
    for seconds, jump in steps:
        machine.wall += jump
        machine.passes(seconds)
        now = clock()
        assert abs(now - before - seconds) <= SLEWED_S_MAX + 1e-3
        before = now
