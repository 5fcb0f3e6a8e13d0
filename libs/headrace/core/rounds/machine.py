"""A round as a state machine: which state a fact leads to, and what is to be asked for then. Pure.

    planned → surveying → thresholds → refining → validating → committing → training → evaluating → kept
                                                                                           └→ reverting → rolled_back

It may stop in every phase, and freeze; a frozen round counts what it is told, and goes on from there when it is resumed. Whoever
aborts it may have it undone: it passes through reverting, too, and so may one that has stopped already. All that a state depends
on comes as facts in one order, so the same facts lead to the same state, whoever takes them in.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from headrace.core.events import Send
from headrace.core.rounds import reverting
from headrace.core.rounds.counting import counted
from headrace.core.rounds.facts import Action, DeadlinePassed, Fact, RoundAsked, RoundProgressed, RoundStarted
from headrace.core.rounds.moves import LIMITS, REVERTING_REASONS, Limits, Moved, entered, halted, moved_on, timer
from headrace.core.rounds.planning import with_base_from
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.state import Awaited, Phase, RoundState
from headrace.core.rounds.surveys import SurveyRequested

DEAD_LETTERS_NAMED_MAX = 100
"""How many dead letters that froze it a round remembers; each of them freezes it once."""

_DEADLINES = {
    Phase.SURVEYING: RoundReason.DEADLINE_SURVEYING,
    Phase.THRESHOLDS: RoundReason.DEADLINE_THRESHOLDS,
    Phase.COMMITTING: RoundReason.DEADLINE_COMMITTING,
    Phase.TRAINING: RoundReason.DEADLINE_TRAINING,
    Phase.EVALUATING: RoundReason.DEADLINE_EVALUATING,
}
_WAIVABLE = REVERTING_REASONS | {
    RoundReason.ROWS_LOST, RoundReason.MODEL_WRITTEN_SHARE, RoundReason.HUMAN_ROWS, RoundReason.NEAR_DUPLICATE_SHARE,
    RoundReason.HELD_OUT_LOSS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Advance:
    """The state that a fact leads to, None while there is no round, and what is to be sent with it."""

    state: RoundState | None
    sends: tuple[Send, ...] = ()


def advance(
    state: RoundState | None,
    progressed: RoundProgressed,
    now: float,
    others: Iterable[RoundState] = (),
    limits: Limits = LIMITS,
) -> Advance:
    """Take in one fact; the very same state comes back where it changes nothing.

    `others` are the dataset's rounds as they stand, `now` is Unix seconds. A fact about another round, or about a phase that is
    over, changes nothing.
    """
    fact = progressed.fact
    if state is None:
        return _begun(progressed, fact, others, now, limits) if isinstance(fact, RoundStarted) else Advance(None)
    if (progressed.dataset_id, progressed.round_id) != (state.dataset_id, state.round_id):
        return Advance(state)
    if not state.running and not _may_be_undone(state, fact, others):
        return Advance(state)
    rules = RoundPolicy.model_validate_json(state.begun.rules_json)
    if isinstance(fact, RoundAsked):
        moved = _asked(state, fact, rules, now, limits)
    elif isinstance(fact, DeadlinePassed):
        moved = _deadline(state, fact, rules, now, limits)
    else:
        moved = _on(Moved(reverting.taken_back(counted(state, fact, rules), fact)), rules, now, limits)
    if moved.state == state and not moved.sends:
        return Advance(state)
    return Advance(replace(moved.state, updated_at=now), moved.sends)


def _begun(
    progressed: RoundProgressed, started: RoundStarted, others: Iterable[RoundState], now: float, limits: Limits
) -> Advance:
    """A round that cannot begin is answered by a state of its own, too; it has no place in the count of rounds."""
    rounds = [each for each in others if each.dataset_id == progressed.dataset_id and each.round_id != progressed.round_id]
    running = next((each for each in rounds if each.running), None)
    started = with_base_from(started, rounds)
    ordinal = 0 if running else 1 + max((each.ordinal for each in rounds), default=0)
    planned = RoundState(
        progressed.dataset_id, progressed.round_id, ordinal, Phase.PLANNED, started, transition=0, phase_since=now, updated_at=now
    )
    if running is not None:
        moved = halted(
            planned, Phase.STOPPED, RoundReason.ANOTHER_ROUND_RUNS, f"round {running.round_id} is {running.phase}", now
        )
    else:
        moved = _first(planned, started, now, limits)
    return Advance(moved.state, moved.sends)


def _first(planned: RoundState, started: RoundStarted, now: float, limits: Limits) -> Moved:
    survey = started.survey
    if (survey.dataset_id, survey.round_id) != (planned.dataset_id, planned.round_id):
        told = f"its survey is of round {survey.round_id} of dataset {survey.dataset_id}"
        return halted(replace(planned, ordinal=0), Phase.STOPPED, RoundReason.BAD_RULES, told, now)
    try:
        rules = RoundPolicy.model_validate_json(started.rules_json)
        rules.selection(has_base=bool(survey.base_model))
    except ValueError as error:
        return halted(replace(planned, ordinal=0), Phase.STOPPED, RoundReason.BAD_RULES, str(error)[:1_000], now)
    if started.rows == 0:
        return halted(planned, Phase.STOPPED, RoundReason.NO_ROWS, f"version {started.version_sequence} is empty", now)
    step = SurveyRequested(survey)
    return entered(planned, Phase.SURVEYING, Awaited.ROWS, rules, now, limits, step)


def _on(moved: Moved, rules: RoundPolicy, now: float, limits: Limits) -> Moved:
    """As far as the round goes by itself."""
    return reverting.moved_on(moved_on(moved, rules, now, limits), now)


def _may_be_undone(state: RoundState, fact: Fact, others: Iterable[RoundState]) -> bool:
    """Of rounds that have ended only what they changed may be taken back, and only while no other one changes the dataset."""
    is_asked = isinstance(fact, RoundAsked) and fact.action is Action.REVERT
    return is_asked and bool(state.ordinal) and not any(each.running for each in others if each.dataset_id == state.dataset_id)


def _asked(state: RoundState, fact: RoundAsked, rules: RoundPolicy, now: float, limits: Limits) -> Moved:
    told = f"{fact.reason[:1_000]} ({fact.requested_by[:200]})"
    match fact.action:
        case Action.ABORT:
            return halted(state, Phase.STOPPED, RoundReason.ABORTED, told, now)
        case Action.REVERT:
            return _on(reverting.asked(state, told, rules, now, limits), rules, now, limits)
        case Action.FREEZE:
            return _frozen_by(state, fact, told, now)
        case Action.RESUME if state.phase is Phase.FROZEN and state.frozen_in is not None:
            return _resumed(state, state.frozen_in, rules, now, limits)
    return Moved(state)


def _frozen_by(state: RoundState, fact: RoundAsked, told: str, now: float) -> Moved:
    """A dead letter freezes once: whoever resumed the round knew of it."""
    letter = fact.dead_letter_id
    if letter and (letter in state.dead_letters or len(state.dead_letters) >= DEAD_LETTERS_NAMED_MAX):
        return Moved(state)
    if letter:
        state = replace(state, dead_letters=(*state.dead_letters, letter))
    if state.phase is Phase.FROZEN:
        return Moved(state)
    return halted(state, Phase.FROZEN, RoundReason.STEP_FAILED if letter else RoundReason.ASKED, told, now)


def _resumed(state: RoundState, phase: Phase, rules: RoundPolicy, now: float, limits: Limits) -> Moved:
    """Goes on with what it has counted meanwhile, and with the whole time of its phase ahead of it."""
    waived = (*state.waived, state.reason) if state.reason in _WAIVABLE and state.reason not in state.waived else state.waived
    state = replace(state, waived=waived, reason="", detail="", frozen_in=None)
    return _on(entered(state, phase, state.awaits, rules, now, limits), rules, now, limits)


def _deadline(state: RoundState, fact: DeadlinePassed, rules: RoundPolicy, now: float, limits: Limits) -> Moved:
    if fact.transition != state.transition or state.deadline is None:
        return Moved(state)
    if now < state.deadline:  # the clock was ahead when the timer came
        return Moved(state, (timer(state, now, limits),))
    if state.phase in {Phase.REFINING, Phase.VALIDATING}:
        told = f"{state.rewrites.under_way} rewrites were under way at the deadline and are left out"
        left = replace(state, detail=told, awaits=Awaited.GUARDS)
        if state.phase is Phase.REFINING:
            passed = state.with_this_phase_passed
            left = replace(left, phase=Phase.VALIDATING, transition=left.transition + 1, phase_since=now, passed=passed)
        return moved_on(Moved(left), rules, now, limits)
    told = f"{state.phase} waited for {state.awaits.replace('_', ' ')} since {now - state.phase_since:.0f} s"
    if state.phase is Phase.REVERTING:
        return halted(state, Phase.FROZEN, RoundReason.DEADLINE_REVERTING, told, now)
    return halted(state, Phase.STOPPED, _DEADLINES[state.phase], told, now)
