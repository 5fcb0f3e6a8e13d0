"""A round that is undone: when, in which order, what it waits for, and how it ends."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.checkpoints import RollbackRequested
from headrace.core.dossiers import DatasetCutRequested
from headrace.core.rounds.facts import (
    Action,
    Cut,
    Ending,
    RestorationEnded,
    RewriteEnded,
    RewritesRequested,
    RoundAsked,
    RoundCommitted,
    RowLost,
    RowsEvicted,
    RowsReverted,
)
from headrace.core.rounds.moves import cut_asked_for
from headrace.core.rounds.planning import bound_versions
from headrace.core.rounds.policy import Guards, RoundPolicy
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Awaited, Phase
from headrace.core.rounds.surveys import EvictionRequested, RefiningRequested, RevertRequested
from tests.fakes.certain import certain
from tests.fakes.round_parts import SURVEY, Parts, Rounds, started, steps_of

UNDO = RoundAsked(Action.REVERT, "not good enough", "ada")
STANDING = RoundCommitted("7d" * 32, 7, 10, Cut.STANDING)


def on(rounds, sends, parts):
    """As far as it goes, everything answered."""
    waiting = list(sends)
    while waiting:
        for fact in parts.answer(waiting.pop(0)):
            waiting += rounds.tell(fact)
    return rounds.states["r1"]


def until(step, parts=None, rules=None):
    """A round that has asked for such a step, unanswered, and that step's event."""
    rounds, parts = Rounds(), parts or Parts()
    waiting = list(rounds.take(started(rules)))
    while True:
        found = next((send for send in waiting if any(isinstance(each, step) for each in steps_of([send]))), None)
        if found is not None:
            return rounds, found
        for fact in parts.answer(waiting.pop(0)):
            waiting += rounds.tell(fact)


def test_a_risen_held_out_loss_undoes_the_round():
    """The model goes back first; then versions are compared until nothing of the round stands."""
    rounds = Rounds()
    state = rounds.run(started(), Parts(held_out_after=1.6))
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, RoundReason.HELD_OUT_ROSE)
    assert rounds.passed[-3:] == ["evaluating", "reverting", "rolled_back"]
    last = rounds.steps()[-5:]
    assert [type(each) for each in last] == [
        RollbackRequested, DatasetCutRequested, RevertRequested, DatasetCutRequested, RevertRequested,
    ]  # fmt: skip
    assert last[2] == RevertRequested(SURVEY, "7d" * 32)
    assert "2 rows are as they were, 0 that were added have left; version 7 is the one to train on" in state.detail
    assert certain(state.revert).restored == 2


def test_data_is_kept_where_the_policy_says_so():
    """Only the model goes back then, and the detail says that the data stays."""
    rounds = Rounds()
    state = rounds.run(started(RoundPolicy(on_worse="keep_data")), Parts(held_out_after=1.6))
    assert (state.phase, rounds.passed[-1], state.revert) == (Phase.ROLLED_BACK, "rolled_back", None)
    assert "version 5 is the one to train on, and what the round changed stays in the dataset" in state.detail


def test_a_round_that_changed_nothing_just_stops():
    """Before the first rewrite was asked for there is nothing to undo."""
    rounds = Rounds()
    rounds.take(started())
    assert not steps_of(rounds.tell(UNDO))
    assert (rounds.states["r1"].phase, rounds.states["r1"].reason) == (Phase.STOPPED, RoundReason.ABORTED)


def test_rewrites_under_way_are_waited_for():
    """One that is accepted behind the last comparison would stay: also those of a page that is still to be cut."""
    rounds, _ = until(RefiningRequested)
    rounds.tell(UNDO)
    state = rounds.states["r1"]
    assert (state.phase, state.awaits, state.reason) == (Phase.REVERTING, Awaited.REWRITES, RoundReason.ABORTED)
    assert bound_versions([state], "signals") == {1, 2}
    assert not steps_of(rounds.tell(RewritesRequested(2, complete=True)))
    assert not steps_of(rounds.tell(RewriteEnded(Axis.HARD, "problem-0", Ending.ACCEPTED, "accepted", 1)))
    asked = rounds.tell(RowLost(None, "problem-1", 0, "refinement", "gone", Axis.HARD))
    assert [cut_asked_for(each.request_id) for each in steps_of(asked)] == [("r1", Cut.STANDING)]


def test_rows_that_are_just_being_evicted_are_waited_for():
    """They would leave behind the comparison otherwise."""
    rounds, _ = until(EvictionRequested)
    assert not steps_of(rounds.tell(UNDO))
    assert len(steps_of(rounds.tell(RowsEvicted(1)))) == 1


def test_a_frozen_round_is_undone_without_being_resumed():
    """A guard that froze it does not freeze its undoing."""
    parts = Parts(lost=1)
    rounds, rules = Rounds(), RoundPolicy(guards=Guards(human_rows_min=9, lost_rows_max=1))
    rounds.run(started(rules), parts)
    assert rounds.states["r1"].phase is Phase.FROZEN
    state = on(rounds, rounds.tell(UNDO), parts)
    assert (state.phase, state.reason) == (Phase.STOPPED, RoundReason.ABORTED)
    assert state.detail.startswith("not good enough (ada); undone: 2 rows are as they were")


def test_an_ended_round_may_be_undone_later():
    """It ends again as it did; not where another round runs, nor one that was kept, nor one that never began."""
    rounds, parts = Rounds(), Parts(refused="golden: too high")
    assert rounds.run(started(), parts).phase is Phase.STOPPED
    state = on(rounds, rounds.tell(UNDO), parts)
    assert (state.phase, state.reason, rounds.passed[-2:]) == (
        Phase.STOPPED, RoundReason.CHECKPOINT_REFUSED, ["reverting", "stopped"],
    )  # fmt: skip
    rounds.take(started(round_id="r2"))
    assert rounds.tell(UNDO) == ()
    kept = Rounds()
    kept.run(started(), Parts())
    assert kept.tell(UNDO) == ()


def test_another_round_waits_for_the_end_of_the_undoing():
    """It would begin from data that is half the one and half the other."""
    rounds, _ = until(RefiningRequested)
    rounds.tell(UNDO)
    rounds.take(started(round_id="r2"))
    assert rounds.states["r2"].reason == RoundReason.ANOTHER_ROUND_RUNS


def test_a_row_that_is_lost_on_its_way_back_freezes_the_round():
    """It is named; whoever resumes without sending it back has the others, and a version of them."""
    parts = Parts(held_out_after=1.6, undoes={"problem-0": True, "problem-1": False})
    rounds = Rounds()
    state = rounds.run(started(), parts)
    assert (state.phase, state.reason, certain(state.revert).lost) == (Phase.FROZEN, "rows_not_back", ("problem-1/34",))
    state = on(rounds, rounds.tell(RoundAsked(Action.RESUME, "", "ada")), parts)
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, RoundReason.HELD_OUT_ROSE)
    assert "1 are among the dead letters; version 7" in state.detail
    assert certain(certain(state.revert).version).cut is Cut.REVERTED


def test_a_lost_row_that_was_sent_back_counts_once():
    """It stands in the end, and the round looks again whether anything is left."""
    parts = Parts(held_out_after=1.6, undoes={"problem-1": False})
    rounds = Rounds()
    rounds.run(started(), parts)
    rounds.tell(RestorationEnded("problem-1", 34, accepted=True, reason="accepted"))
    assert rounds.tell(RowLost(None, "problem-1", 34, "scoring", "gone")) == ()
    state = on(rounds, rounds.tell(RoundAsked(Action.RESUME, "", "ada")), parts)
    revert = certain(state.revert)
    assert (state.phase, revert.restored, revert.lost, revert.returned) == (Phase.ROLLED_BACK, 1, (), ("problem-1/34",))


def test_a_deadline_freezes_and_a_resumed_round_goes_on_without_the_rewrites():
    """Half undone is no state to begin another round from; a person may say that the rest will never come."""
    rounds, _ = until(RefiningRequested)
    rounds.tell(UNDO)
    rounds.deadline()
    state = rounds.states["r1"]
    assert (state.phase, state.reason, state.frozen_in) == (Phase.FROZEN, RoundReason.DEADLINE_REVERTING, Phase.REVERTING)
    state = on(rounds, rounds.tell(RoundAsked(Action.RESUME, "", "ada")), Parts())
    assert (state.phase, state.reason) == (Phase.STOPPED, RoundReason.ABORTED)


def test_a_person_may_give_up_undoing():
    """The round stops where it is; it may be asked for again."""
    rounds, _ = until(RefiningRequested)
    rounds.tell(UNDO)
    assert rounds.tell(UNDO) == ()
    rounds.tell(RoundAsked(Action.ABORT, "", "ada"))
    assert rounds.states["r1"].phase is Phase.STOPPED
    assert on(rounds, rounds.tell(UNDO), Parts()).phase is Phase.STOPPED
    assert rounds.passed[-2:] == ["reverting", "stopped"]


@pytest.mark.parametrize(
    "fact", [STANDING, RowsReverted(1, 1, complete=True), RestorationEnded("a", 1, accepted=True, reason="")]
)
def test_a_round_that_is_not_undone_hears_nothing_of_it(fact):
    """Facts of another undoing change nothing."""
    rounds, _ = until(RefiningRequested)
    before = rounds.states["r1"]
    assert rounds.tell(fact) == ()
    assert rounds.states["r1"] == before


def test_a_late_version_of_the_round_s_own_does_not_count_as_the_undoing_s():
    """It was asked for before, and may hold what is to be undone."""
    rounds, _ = until(DatasetCutRequested)
    rounds.tell(UNDO)
    assert steps_of(rounds.tell(RoundCommitted("8e" * 32, 6, 10))) == []
    assert rounds.states["r1"].awaits is Awaited.STANDING


@given(st.permutations([*("end-" + str(n) for n in range(4)), "page"]))
def test_rows_may_end_before_their_page_is_known(order):
    """Their ends and their page come by topics of their own: whatever comes first, the next comparison follows the last."""
    rounds, _ = until(EvictionRequested)
    rounds.tell(UNDO)
    rounds.tell(RowsEvicted(1))
    rounds.tell(STANDING)
    for place, each in enumerate(order):
        ended = RestorationEnded(each, 1, accepted=each != "end-2", reason="stale_revision")
        sends = rounds.tell(RowsReverted(4, 1, complete=True) if each == "page" else ended)
        assert len(steps_of(sends)) == (place == len(order) - 1)
    revert = certain(rounds.states["r1"].revert)
    assert (revert.restored, dict(revert.refused), revert.retracted) == (3, {"stale_revision": 1}, 1)
    assert replace(revert, found=0).standing is None
