"""What a command takes for the answer to what it asked of a round: nothing that the round, or somebody else, did meanwhile."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.cli.failures import CannotDo
from headrace.cli.round import answered
from headrace.core.rounds.facts import Action, RoundAsked
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.state import Phase, RoundState
from tests.fakes.round_parts import Rounds, going


def asked(rounds: Rounds, action: Action) -> RoundState:
    """The round after it was asked by somebody."""
    rounds.tell(RoundAsked(action, "lunch", "ada"))
    return rounds.states["r1"]


def moved(state: RoundState, phase: Phase, reason: str = "", **changes: Any) -> RoundState:
    """The round after it went on by itself."""
    return replace(state, phase=phase, reason=reason, transition=state.transition + 1, **changes)


@pytest.mark.parametrize("phase", ["surveying", "thresholds", "refining", "training"])
@pytest.mark.parametrize("action", list(Action))
def test_what_was_asked_for_is_answered_by_the_state_that_it_leads_to(phase: str, action: Action):
    """Not before; whether the round changed anything yet or not."""
    rounds = going(phase)
    if action is Action.RESUME:
        asked(rounds, Action.FREEZE)
    before = rounds.states["r1"]
    assert answered([before], action, before) is None
    after = asked(rounds, action)
    assert answered([after], action, before) is after


@pytest.mark.parametrize("action", [Action.FREEZE, Action.ABORT, Action.REVERT])
def test_a_phase_that_the_round_entered_by_itself_answers_nothing(action: Action):
    """It goes on from phase to phase while the request is on its way."""
    before = going("refining").states["r1"]
    for phase in (Phase.VALIDATING, Phase.COMMITTING, Phase.TRAINING, Phase.EVALUATING):
        assert answered([moved(before, phase)], action, before) is None


@pytest.mark.parametrize("action", [Action.FREEZE, Action.ABORT, Action.REVERT])
def test_a_round_that_was_kept_before_it_was_asked_cannot_be_halted(action: Action):
    """The command says so, as it does of a round that has ended before it looks."""
    before = going("evaluating").states["r1"]
    with pytest.raises(CannotDo, match=rf"round r1 could not {action}: it was kept before it was asked \(held_out_held\)"):
        answered([moved(before, Phase.KEPT, RoundReason.HELD_OUT_HELD)], action, before)


def test_a_round_that_stopped_by_itself_is_undone_still():
    """Its stop is no answer: the request comes behind it, and undoes what was accepted until then."""
    rounds = going("refining")
    before = rounds.states["r1"]
    stopped = moved(before, Phase.STOPPED, RoundReason.CHECKPOINT_REFUSED)
    assert answered([stopped], Action.REVERT, before) is None
    rounds.states["r1"] = stopped
    undoing = asked(rounds, Action.REVERT)
    assert undoing.phase is Phase.REVERTING
    assert answered([undoing], Action.REVERT, before) is undoing
    assert answered([undoing], Action.REVERT, stopped) is undoing
    over = moved(undoing, Phase.STOPPED, RoundReason.CHECKPOINT_REFUSED)
    assert answered([over], Action.REVERT, before) is over


def test_another_round_that_has_begun_keeps_a_stopped_one_from_being_undone():
    """Nobody would answer: one round at a time changes a dataset."""
    before = going("refining").states["r1"]
    stopped = moved(before, Phase.STOPPED, RoundReason.CHECKPOINT_REFUSED)
    other = replace(before, round_id="r2")
    with pytest.raises(CannotDo, match="round r2 runs since"):
        answered([stopped, other], Action.REVERT, before)


def test_a_round_that_ended_before_it_changed_anything_has_nothing_to_undo():
    """Whoever asks is told, instead of being kept waiting."""
    before = going("thresholds").states["r1"]
    with pytest.raises(CannotDo, match="nothing_selected"):
        answered([moved(before, Phase.STOPPED, RoundReason.NOTHING_SELECTED)], Action.REVERT, before)


def test_a_frozen_round_that_somebody_else_ended_was_not_resumed():
    """Aborted or being undone, it did not go on; a guard that stops it again has let it go on."""
    for action in (Action.ABORT, Action.REVERT):
        rounds = going("refining")
        before = asked(rounds, Action.FREEZE)
        with pytest.raises(CannotDo, match="could not resume"):
            answered([asked(rounds, action)], Action.RESUME, before)
    for phase, reason in ((Phase.FROZEN, RoundReason.ROWS_LOST), (Phase.STOPPED, RoundReason.NOTHING_ACCEPTED)):
        after = moved(before, phase, reason)
        assert answered([after], Action.RESUME, before) is after


def test_an_undoing_that_was_resumed_and_came_to_its_end_is_no_other_s_abort():
    """It ends as it was asked to when it began: aborted."""
    rounds = going("refining")
    asked(rounds, Action.REVERT)
    before = asked(rounds, Action.FREEZE)
    after = moved(before, Phase.STOPPED, RoundReason.ABORTED, frozen_in=None)
    assert answered([after], Action.RESUME, before) is after
