"""How rounds are shown, and which one a command means."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from headrace.adapters.rounds.round_states import RoundStates
from headrace.cli.failures import CannotDo
from headrace.cli.round_reading import bounds_of, chosen, record_of_state
from headrace.cli.round_view import RoundView, drawn, line_of, meaning_of, training_of, undone_of, why_of
from headrace.core.budgets import Spend
from headrace.core.rounds.counts import RewriteCounts
from headrace.core.rounds.facts import Action, Ending, RewriteEnded, RewritesRequested, RoundAsked
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.report.distributions import Frame, HistogramCount
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Awaited, Phase, RoundState
from tests.fakes.bodies import STATE
from tests.fakes.round_parts import Parts, Rounds, started


class Known(RoundStates):
    """States of one dataset, without a topic."""

    def __init__(self, *states: RoundState) -> None:
        self.states = list(states)  # and no reader

    def of_dataset(self, _: str) -> list[RoundState]:
        return self.states


@pytest.fixture
def rounds() -> Rounds:
    """One round that was kept, one that runs, one that could not begin."""
    rounds = Rounds()
    rounds.run(started(round_id="20260101-1"), Parts())
    rounds.take(started(round_id="20260102-1"))
    rounds.take(started(round_id="20260102-2"))
    return rounds


def shown(renderable) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_a_command_means_the_running_round_or_the_latest(rounds):
    """A beginning of an id names one; what never began is not meant by default."""
    known = Known(*rounds.states.values())
    assert chosen(known, "arithmetic").round_id == "20260102-1"
    assert chosen(known, "arithmetic", "20260101").round_id == "20260101-1"
    rounds.tell(RoundAsked(Action.ABORT, "", "ada"), "20260102-1")
    assert chosen(Known(*rounds.states.values()), "arithmetic").round_id == "20260102-1"
    for name, states, words in (("20260102", known, "several"), ("x", known, "no round"), ("", Known(), "round start")):
        with pytest.raises(CannotDo, match=words):
            chosen(states, "arithmetic", name)


def test_a_round_in_one_line(rounds):
    """What it measured, what it made, and how it ended, with the meaning of the code."""
    kept, running, refused = rounds.states.values()
    assert line_of(kept).endswith("version 5 by signals 2 -> version 6  kept  held_out_held")
    assert line_of(running).endswith("surveying")
    assert "not begun" in line_of(refused)
    assert meaning_of(kept).startswith("kept: ")
    assert meaning_of(running) == ""


def test_a_round_s_view_tells_phase_counts_and_reason(rounds):
    """A running one says what it waits for, a frozen one why it froze."""
    kept, running, _ = rounds.states.values()
    for state, words in ((running, "waits for rows"), (kept, "held-out loss 1.5000 to 1.4000"), (STATE, "0.6 of 100 rows")):
        view = RoundView()
        view.take(state)
        text = shown(view.render({}, {}))
        assert words in text
        assert "measured" in text
    assert "accepted" in text
    assert meaning_of(STATE).startswith("frozen: ")
    assert RoundReason(STATE.reason)


def test_what_was_spent_is_shown_by_role():
    """As far as it is known; in JSON with what is charged to budgets and was allowed."""
    view = RoundView()
    view.take(STATE)
    text = " ".join(shown(view.render({}, {})).split())
    assert "spent 9,000 tokens, 0.125 in money by answerer 60 tokens, 0.25 in money by refiner 30 tokens" in text
    rewrites = json.loads(json.dumps(record_of_state(STATE)))["rewrites"]
    assert rewrites["roles_charged"] == [{"tokens": 300, "money": 0.5, "role": "answerer"}]
    unknown = replace(STATE, rewrites=RewriteCounts(roles_spent=(Spend(None, None, "judge"),)))
    view.take(unknown)
    assert "by judge  tokens unknown" in shown(view.render({}, {}))


def test_a_round_says_why_rewrites_were_not_made():
    """By reason, the commonest first, each with one example that is text and nothing else; and what was never begun."""
    refused = "404: the model `default` [red]does not exist[/red]"
    ends = [
        *[RewriteEnded(Axis.HARD, f"a{n}", Ending.NOT_MADE, "invalid", 1, 9, None, detail=f"no prompt in {n}") for n in range(2)],
        *[RewriteEnded(Axis.HARD, f"b{n}", Ending.NOT_MADE, "refused", 1, 0, None, detail=refused) for n in range(3)],
        RewriteEnded(Axis.HARD, "c", Ending.REJECTED, "not_better", 2, 9, None, detail="loss is 2, and should be < 1.9"),
    ]
    rounds = Rounds()
    waiting = list(rounds.take(started()))
    parts = Parts(selected=(6, 0, 0))
    while rounds.states["r1"].phase != "refining":
        for fact in parts.answer(waiting.pop(0)):
            waiting += rounds.tell(fact)
    rounds.tell(RewritesRequested(6, complete=True))
    for end in ends:
        rounds.tell(end)
    state = rounds.states["r1"]
    assert why_of(state) == [
        f"not made: 3 refused ({refused}), 2 invalid (no prompt in 0)", "rejected: 1 not_better (loss is 2, and should be < 1.9)"
    ]  # fmt: skip
    view = RoundView()
    view.take(state)
    assert refused in shown(view.render({}, {}))
    assert "never begun: 3 rows of the selection" in why_of(STATE)


def test_a_round_that_waits_for_a_checkpoint_names_the_command_that_makes_it():
    """The very command; nothing in other phases."""
    rounds = Rounds()
    state = rounds.run(started(), Parts(trains=False))
    (told,) = training_of(state)
    assert "`headrace train arithmetic --version 6`" in told
    assert "`headrace train arithmetic --versions`" in told
    view = RoundView()
    view.take(state)
    assert "headrace train arithmetic --version 6" in shown(view.render({}, {}))
    assert training_of(replace(state, phase=Phase.EVALUATING)) == []


def test_a_round_that_began_all_the_same_says_so():
    """In its head, in the words with which the command refused at first."""
    rounds = Rounds()
    rounds.take(started())
    state = rounds.states["r1"]
    state = replace(state, begun=replace(state.begun, trained_otherwise="nobody knows what measures was trained on"))
    view = RoundView()
    view.take(state)
    assert "begun all the same: nobody knows what measures was trained on" in shown(view.render({}, {}))


def test_a_histogram_marks_its_threshold():
    """The mark stands below the bar in which the threshold lies; one out of the frame is told in words."""
    count = HistogramCount(Frame(0.0, 10.0), bins=10)
    count.add(np.array([1.5, 1.5, 1.5, 7.2]), np.zeros(4, dtype=bool))
    lines = drawn("quality", count.histogram(), 7.5).plain.splitlines()
    assert lines[1:] == ["quality, 0 to 10, 4 rows", " █     ▃  ", "       ^ 7.5", "0           10"]
    assert "threshold 12" in drawn("quality", count.histogram(), 12.0).plain


def test_a_state_is_json_all_the_way():
    """Rules and thresholds are objects; bounds are told by column."""
    record = json.loads(json.dumps(record_of_state(STATE)))
    assert record["begun"]["rules"] == {}
    assert record["selected"]["thresholds"] == {"hard": {}}
    assert bounds_of(STATE) == {}


def test_an_undoing_is_shown_while_it_goes_on():
    """What is waited for, then how many rows are back; afterwards the detail says it."""
    state = replace(STATE, phase=Phase.REVERTING, frozen_in=None, awaits=Awaited.REWRITES, rewrites=RewriteCounts(5))
    assert undone_of(state) == ["undoing it: 5 rewrites under way are waited for"]
    going_on = replace(state, awaits=Awaited.RESTORED)
    told = "undoing it: 4 of 7 rows are back, 2 that were added were asked to leave, 1 stay as others have them"
    assert undone_of(going_on) == [f"{told}, 1 are among the dead letters"]
    view = RoundView()
    view.take(going_on)
    assert "evaluating > reverting" in shown(view.render({}, {}))
    assert undone_of(replace(going_on, phase=Phase.STOPPED)) == []


def test_an_aborted_round_says_what_stays():
    """And what takes it back."""
    state = replace(STATE, phase=Phase.STOPPED, reason="aborted", revert=None)
    assert undone_of(state) == [
        "its 3 accepted rewrites stay in the dataset: `headrace round abort arithmetic --revert` takes them back"
    ]
    assert undone_of(replace(state, rewrites=RewriteCounts())) == []
