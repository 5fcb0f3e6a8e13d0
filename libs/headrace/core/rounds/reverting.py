"""How a round is undone: what it changed in the dataset is taken back, and the round ends as was decided before. Pure.

    rewrites under way end → a version tells what stands → rows come back, added ones leave, page by page
                                      ↑______________________________________________↓ until nothing of the round stands

Rows come back as revisions of their own, through the ordinary flow, so whoever reads the dataset sees them in order; what others
sent meanwhile stands. Doing it again changes nothing more: a row that is back is none that the round changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from headrace.core.rounds.counting import is_full
from headrace.core.rounds.facts import Cut, Fact, RestorationEnded, RoundCommitted, RowLost, RowsEvicted, RowsReverted
from headrace.core.rounds.moves import Limits, Moved, entered, halted, request_cut, step_requested, undone
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.state import Awaited, Phase, RevertCounts, RoundState
from headrace.core.rounds.surveys import RevertRequested

REVERTIBLE = frozenset({Phase.STOPPED, Phase.ROLLED_BACK})
"""Ends after which a round may be undone still. One that was kept was found better: its data is built upon."""


def asked(state: RoundState, told: str, rules: RoundPolicy, now: float, limits: Limits) -> Moved:
    """Someone wants the round to be undone. It stops then; one that has ended ends again as it did.

    Where nothing was asked to be mended nothing was changed, and nothing is to be undone.
    """
    if state.revert is not None and state.running:
        return Moved(state)
    if not state.rewrites.rows_asked:
        return halted(state, Phase.STOPPED, RoundReason.ABORTED, told, now) if state.running else Moved(state)
    if state.running:
        begun = undone(state, Phase.STOPPED, RoundReason.ABORTED, told)
        return entered(begun, Phase.REVERTING, Awaited.REWRITES, rules, now, limits)
    if state.phase not in REVERTIBLE:
        return Moved(state)
    begun = undone(state, state.phase, RoundReason(state.reason), state.detail)
    # What it counted of rewrites under way ended with it: nobody can tell whether they ended since.
    moved = entered(begun, Phase.REVERTING, Awaited.REWRITES, rules, now, limits)
    further = _standing(moved.state)
    return Moved(further.state, (*moved.sends, *further.sends))


def taken_back(state: RoundState, fact: Fact) -> RoundState:
    """The state with a fact of its undoing in its counts; the very same state where it says nothing there."""
    revert = state.revert
    if revert is None or state.working_in is not Phase.REVERTING:
        return state
    if isinstance(fact, RowLost) and is_full(state):
        return state
    known = _counted(revert, fact, state.awaits)
    return state if known is revert else replace(state, revert=known)


def moved_on(moved: Moved, now: float) -> Moved:
    """As far as the undoing can go with what is known; of a round that is not undone nothing."""
    state, sends = moved.state, moved.sends
    while state.phase is Phase.REVERTING and state.revert is not None:
        further = _MOVES[state.awaits](state, state.revert, now)
        if further is None:
            break
        state, sends = further.state, (*sends, *further.sends)
    return Moved(state, sends)


def _counted(revert: RevertCounts, fact: Fact, awaits: Awaited) -> RevertCounts:
    match fact:
        case RowsEvicted() if revert.evicting:
            return replace(revert, evicting=False)
        case RoundCommitted(cut=Cut.STANDING) if awaits is Awaited.STANDING and revert.standing is None:
            return replace(revert, standing=fact)
        case RowsReverted() if awaits is Awaited.RESTORED and not revert.all_found:
            return replace(
                revert,
                restoring=revert.restoring + fact.restoring,
                retracted=revert.retracted + fact.retracted,
                found=revert.found + fact.restoring + fact.retracted,
                all_found=fact.complete,
            )
        case RestorationEnded():
            return _ended(revert, fact)
        case RowLost(axis=None, purpose=None):
            name = f"{fact.sample_id}/{fact.revision}"
            return revert if name in (*revert.lost, *revert.returned) else replace(revert, lost=(*revert.lost, name))
        case RoundCommitted(cut=Cut.REVERTED) if awaits is Awaited.VERSION and revert.version is None:
            return replace(revert, version=fact)
    return revert


def _ended(revert: RevertCounts, fact: RestorationEnded) -> RevertCounts:
    name = f"{fact.sample_id}/{fact.revision}"
    if name in revert.lost:
        left = tuple(each for each in revert.lost if each != name)
        revert = replace(revert, lost=left, returned=(*revert.returned, name))
    if fact.accepted:
        return replace(revert, restored=revert.restored + 1)
    refused = {**revert.refused, fact.reason: revert.refused.get(fact.reason, 0) + 1}
    return replace(revert, refused=dict(sorted(refused.items())))


def _after_rewrites(state: RoundState, revert: RevertCounts, _: float) -> Moved | None:
    """A rewrite that is accepted after the last comparison stays: those under way are waited for, unless a person waives it."""
    rewrites = state.rewrites
    page_is_out = not rewrites.all_requested and rewrites.requested < rewrites.rows_asked
    if (page_is_out or rewrites.under_way or revert.evicting) and RoundReason.DEADLINE_REVERTING not in state.waived:
        return None
    return _standing(state)


def _standing(state: RoundState) -> Moved:
    revert = None if state.revert is None else replace(state.revert, standing=None, found=0, all_found=False)
    return Moved(replace(state, awaits=Awaited.STANDING, revert=revert), (request_cut(state, Cut.STANDING),))


def _after_standing(state: RoundState, revert: RevertCounts, _: float) -> Moved | None:
    if revert.standing is None:
        return None
    step = RevertRequested(state.begun.survey, revert.standing.version)
    return Moved(replace(state, awaits=Awaited.RESTORED), (step_requested(step),))


def _after_restored(state: RoundState, revert: RevertCounts, now: float) -> Moved | None:
    if not revert.all_found or revert.under_way:
        return None
    if revert.lost and RoundReason.ROWS_NOT_BACK not in state.waived:
        told = f"{len(revert.lost)} of {revert.restoring} rows are among the dead letters: send them back, then resume"
        return halted(state, Phase.FROZEN, RoundReason.ROWS_NOT_BACK, told, now)
    if not revert.found:
        return _finished(state, revert, now)
    if not revert.lost:
        return _standing(state)
    return Moved(replace(state, awaits=Awaited.VERSION), (request_cut(state, Cut.REVERTED),))


def _after_version(state: RoundState, revert: RevertCounts, now: float) -> Moved | None:
    return None if revert.version is None else _finished(state, revert, now)


def _finished(state: RoundState, revert: RevertCounts, now: float) -> Moved:
    told = "; ".join(part for part in (revert.detail, told_of(revert)) if part)
    return halted(state, revert.ending, RoundReason(revert.reason), told, now)


def told_of(revert: RevertCounts) -> str:
    """What an undoing came to, in words."""
    version = revert.version or revert.standing
    if not revert.restoring and not revert.retracted:
        done = "nothing of the round stood"
    else:
        done = f"{revert.restored} rows are as they were, {revert.retracted} that were added have left"
    if revert.refused:
        why = ", ".join(f"{count} {reason}" for reason, count in revert.refused.items())
        done += f", {sum(revert.refused.values())} were left as others had them by then ({why})"
    if revert.lost:
        done += f", {len(revert.lost)} are among the dead letters"
    return f"undone: {done}" + (f"; version {version.version_sequence} is the one to train on" if version else "")


_MOVES: Mapping[Awaited, Callable[[RoundState, RevertCounts, float], Moved | None]] = {
    Awaited.REWRITES: _after_rewrites,
    Awaited.STANDING: _after_standing,
    Awaited.RESTORED: _after_restored,
    Awaited.VERSION: _after_version,
}
