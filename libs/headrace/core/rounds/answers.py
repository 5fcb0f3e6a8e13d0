"""Whether a round's state answers what someone asked of it: a round also moves by itself, and for others. Pure.

A state does not name the requests that led to it, so what is looked for is the state that the request leads to. What only
somebody else's request, or the round's own end, can have led to says that this one came too late.
"""

from enum import Enum, auto

from headrace.core.rounds.facts import Action
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.reverting import REVERTIBLE
from headrace.core.rounds.state import Phase, RoundState


class Answer(Enum):
    """PENDING: the request was not taken in yet, as far as can be told. TOO_LATE: it was, and could change nothing."""

    PENDING = auto()
    DONE = auto()
    TOO_LATE = auto()


def answer_in(state: RoundState, action: Action, before: RoundState) -> Answer:
    """What the round as it stands now says to a request that was made of it as it stood `before`."""
    if state.transition <= before.transition:
        return Answer.PENDING
    match action:
        case Action.FREEZE:
            return _among(is_done=state.phase is Phase.FROZEN, is_late=not state.running)
        case Action.RESUME:
            is_late = before.revert is None and state.reason == RoundReason.ABORTED
            return Answer.TOO_LATE if is_late else Answer.DONE  # a guard may freeze it again at once: it was resumed all the same
        case Action.ABORT:
            is_done = not state.running and state.reason == RoundReason.ABORTED
            return _among(is_done=is_done, is_late=not state.running)
        case Action.REVERT:
            return _revert(state)


def _revert(state: RoundState) -> Answer:
    """One that stopped by itself meanwhile is undone still, unless it had changed nothing."""
    if state.running:
        return _among(is_done=state.working_in is Phase.REVERTING, is_late=False)
    if state.revert is not None or (not state.rewrites.rows_asked and state.reason == RoundReason.ABORTED):
        return Answer.DONE
    return _among(is_done=False, is_late=state.phase not in REVERTIBLE or not state.rewrites.rows_asked)


def _among(*, is_done: bool, is_late: bool) -> Answer:
    if is_done:
        return Answer.DONE
    return Answer.TOO_LATE if is_late else Answer.PENDING
