"""Every row and every rewrite counts once, whatever is told first of it: that it is lost, or what became of it after all."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.adapters.wire.events import encode
from headrace.core.rounds.counting import NAMES_BYTES_MAX, is_full
from headrace.core.rounds.facts import (
    Action,
    Ending,
    Fact,
    RewriteEnded,
    RewritesRequested,
    RoundAsked,
    RowLost,
    RowsMeasured,
    RowsSent,
)
from headrace.core.rounds.guards import prospect
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Phase
from headrace.core.rounds.surveys import Purpose
from headrace.runtime.settings import DeliverySettings
from tests.fakes.round_parts import Parts, Rounds, started

ROWS = 6


@given(
    fates=st.lists(st.sampled_from(["measured", "lost", "returned"]), min_size=ROWS, max_size=ROWS), seed=st.integers(0, 2**32)
)
@settings(max_examples=200)
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


FATES = {
    "ended": ("end",),
    "lost": ("letter", "letter"),
    "returned": ("letter", "letter of a later topic", "end after all", "end after all"),
}
"""What is told of a rewrite, in any order: letters are read again at every start, and a letter may be sent back once more."""


def _told_of(number: int, said: str, ending: Ending) -> Fact:
    if said.startswith("letter"):
        return RowLost(None, f"problem-{number}", 0, "scoring" if said == "letter" else "admission", "gone", Axis.HARD)
    return RewriteEnded(Axis.HARD, f"problem-{number}", ending, "so", 1, 10, sent_back=said == "end after all", row=number)


@given(
    fates=st.lists(st.sampled_from(sorted(FATES)), min_size=ROWS, max_size=ROWS),
    endings=st.lists(st.sampled_from(list(Ending)), min_size=ROWS, max_size=ROWS),
    data=st.data(),
)
@settings(max_examples=200)
def test_a_rewrite_that_comes_back_counts_once_in_any_order(fates, endings, data):
    """As many are under way as nothing was told of; in the end each is lost or has ended, and no order changes the sums."""
    facts = [(number, said) for number, fate in enumerate(fates) for said in FATES[fate]]
    rounds = _refining()
    open_rewrites = set(range(ROWS))
    for number, said in data.draw(st.permutations(facts)):
        rounds.tell(_told_of(number, said, endings[number]))
        open_rewrites.discard(number)
        assert rounds.states["r1"].rewrites.under_way == len(open_rewrites)
        assert (rounds.states["r1"].phase not in {Phase.REFINING, Phase.VALIDATING}) == (not open_rewrites)
        if not open_rewrites:
            break
    counts = rounds.states["r1"].rewrites
    assert counts.ended == ROWS
    assert (counts.tokens, counts.attempts) == (10 * (ROWS - len(counts.lost)), ROWS - len(counts.lost))
    assert len({*counts.lost, *counts.returned}) == len(counts.lost) + len(counts.returned)


@given(order=st.permutations(FATES["returned"]))
@settings(max_examples=50)
def test_every_order_of_letters_and_ends_leaves_one_end(order):
    """Another rewrite keeps the round open; the one that came back is no more lost than any that never was away."""
    rounds = _refining()
    for said in order:
        rounds.tell(_told_of(1, said, Ending.ACCEPTED))
    counts = rounds.states["r1"].rewrites
    assert (counts.ended, counts.accepted, counts.lost, counts.returned) == (1, {"hard": 1}, (), ("problem-1/hard",))
    assert (counts.tokens, counts.attempts, counts.under_way) == (10, 1, ROWS - 1)


@pytest.mark.parametrize("phase", [Phase.SURVEYING, Phase.REFINING, Phase.REVERTING])
def test_however_many_are_lost_a_round_that_is_frozen_does_not_outgrow_its_topic(phase):
    """With ids as long as they may be: it stays a record that is read where it lies, and stops once it is resumed."""
    rounds = _refining()
    purpose, axis = (Purpose.ROUND, None) if phase is Phase.SURVEYING else (None, Axis.LOW_QUALITY)
    if phase is Phase.SURVEYING:
        rounds = Rounds()
        rounds.take(started(rows=10_000))
    if phase is Phase.REVERTING:
        rounds.tell(RoundAsked(Action.REVERT, "no", "ada"))
    rounds.tell(RoundAsked(Action.FREEZE, "lunch", "ada"))
    for number in range(2_000):
        name = f"{number:0>128}"
        rounds.tell(RowLost(purpose, name, 2**31 - 1, "scoring", "gone", axis))
        if number % 2 and axis is not None:
            rounds.tell(RewriteEnded(axis, f"{name[::-1]}", Ending.NOT_MADE, "gone", 1, 10, sent_back=True))
    state = rounds.states["r1"]
    assert is_full(state)
    assert 0.98 * NAMES_BYTES_MAX < len(encode(state)) < 0.8 * DeliverySettings().claim_bytes_min
    rounds.tell(RoundAsked(Action.RESUME, "", "ada"))
    if phase is not Phase.REVERTING:  # which waits for its deadline, and then for a person
        assert (rounds.states["r1"].phase, rounds.states["r1"].reason) == (Phase.STOPPED, RoundReason.TOO_MANY_LOST)


def _refining() -> Rounds:
    """A round whose rewrites are all on their way."""
    rounds = Rounds()
    rounds.take(started(RoundPolicy.model_validate({"sparse": {"enabled": False}}), rows=ROWS))
    rounds.tell(RowsSent(Purpose.ROUND, ROWS, complete=True))
    rounds.tell(RowsMeasured(Purpose.ROUND, ROWS, 0, 50, 0.5))
    rounds.tell(Parts(selected=(ROWS, 0, 0)).selection(Purpose.ROUND))
    rounds.tell(RewritesRequested(ROWS, complete=True))
    return rounds


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
