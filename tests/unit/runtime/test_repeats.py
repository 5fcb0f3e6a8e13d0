"""Repeated complaints of a client become one line now and then."""

import logging

from headrace.runtime.repeats import REPEAT_S, Repeats


def record(name: str, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, message, args, None)


def test_a_storm_becomes_one_line_and_a_count() -> None:
    """The first complaint passes, the storm does not, and the next that passes says how large it was."""
    now = 0.0
    repeats = Repeats("aiokafka", clock=lambda: now)
    assert repeats.filter(record("aiokafka.client", "no node %d", 1))
    assert not any(repeats.filter(record("aiokafka.client", "no node %d", 2)) for _ in range(500))
    assert repeats.filter(record("aiokafka.client", "something else"))
    now = REPEAT_S + 1
    later = record("aiokafka.client", "no node %d", 3)
    assert repeats.filter(later)
    assert later.getMessage() == "no node 3 (500 more like it before)"


def test_our_own_loggers_are_never_cut() -> None:
    """What services say is said as often as they say it."""
    repeats = Repeats("aiokafka")
    assert all(repeats.filter(record("headrace.delivery", "dropped")) for _ in range(10))
