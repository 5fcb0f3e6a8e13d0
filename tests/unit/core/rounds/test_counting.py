"""Every row of a survey counts once, whatever is told first of it: that it is lost, or that it was measured after all."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.rounds.guards import prospect
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.progress import (
    Ending,
    Fact,
    Phase,
    RewriteEnded,
    RewritesRequested,
    RowLost,
    RowsMeasured,
    RowsSent,
)
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import Purpose
from tests.fakes.round_parts import Parts, Rounds, started

ROWS = 6


@given(
    fates=st.lists(st.sampled_from(["measured", "lost", "returned"]), min_size=ROWS, max_size=ROWS), seed=st.integers(0, 2**32)
)
@settings(max_examples=200, deadline=None)
def test_a_row_that_comes_back_counts_once_in_any_order(fates, seed):
    """Letters are read late, and more than once; the barrier opens with the last row and not with one that is told of twice."""
    draw = random.Random(seed)
    rounds = Rounds()
    rounds.take(started(RoundPolicy.model_validate({"sparse": {"enabled": False}}), rows=ROWS))
    rounds.tell(RowsSent(Purpose.ROUND, ROWS, complete=True))
    facts: list[tuple[str, Fact]] = []
    open_rows = {}
    for number, fate in enumerate(fates):
        name = f"problem-{number}/0"
        lost = RowLost(Purpose.ROUND, f"problem-{number}", 0, "scoring", "gone")
        back = RowsMeasured(Purpose.ROUND, 1, 0, 50, 0.5, name)
        told: dict[str, list[Fact]] = {
            "measured": [replace(back, sent_back="")],
            "lost": [lost, lost],
            "returned": [lost, back, lost, back],
        }
        facts += [(name, fact) for fact in told[fate]]
        open_rows[name] = fate
    draw.shuffle(facts)
    for name, fact in facts:
        rounds.tell(fact)
        open_rows.pop(name, None)
        assert (rounds.states["r1"].phase is not Phase.SURVEYING) == (not open_rows)
    counts = rounds.states["r1"].rows
    assert counts.measured + len(counts.lost) == ROWS
    assert counts.measured >= fates.count("measured")


def test_a_lost_row_that_was_sent_back_is_measured_and_lost_no_more():
    """The counts say so, and the round asks for as many rows as there are."""
    rounds = Rounds()
    rounds.take(started(rows=2))
    rounds.tell(RowsSent(Purpose.ROUND, 2, complete=True))
    lost = RowLost(Purpose.ROUND, "problem-1", 0, "scoring", "gone")
    rounds.tell(lost)
    rounds.tell(RowsMeasured(Purpose.ROUND, 1, 1, 50, 0.5, "problem-1/0"))
    rounds.tell(lost)
    counts = rounds.states["r1"].rows
    assert (counts.measured, counts.lost, counts.returned, counts.not_made) == (1, (), ("problem-1/0",), 1)
    assert rounds.states["r1"].phase is Phase.SURVEYING
    rounds.tell(RowsMeasured(Purpose.ROUND, 1, 0, 50, 0.5))
    assert rounds.steps()[-1].rows == 2


def test_in_mode_middo_compat_nothing_pays_for_additions_and_what_collapsed_leaves():
    """A rewrite that adds replaces nobody; the rows asked to leave are those that share a merge key."""
    rules = RoundPolicy.model_validate({"mode": "middo_compat", "sparse": {"enabled": False}})
    rounds = Rounds()
    rounds.take(started(rules, rows=2))
    rounds.tell(RowsSent(Purpose.ROUND, 2, complete=True))
    rounds.tell(RowsMeasured(Purpose.ROUND, 2, 0, 50, 0.5))
    rounds.tell(replace(Parts(selected=(1, 0, 1)).selection(Purpose.ROUND), collapsed=3))
    rounds.tell(RewritesRequested(2, complete=True))
    rounds.tell(RewriteEnded(Axis.HARD, "problem-1", Ending.ACCEPTED, "accepted", 1, 10, adds=True))
    rounds.tell(RewriteEnded(Axis.LOW_QUALITY, "problem-1", Ending.ACCEPTED, "accepted", 1, 10))
    state = rounds.states["r1"]
    assert (state.rewrites.beside, state.rewrites.human_replaced) == (1, 1)
    assert (state.phase, rounds.steps()[-1].rows) == (Phase.COMMITTING, 3)
    assert prospect(state, rules).rows == 0
