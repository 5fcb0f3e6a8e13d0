"""What a fact changes in a round's counts, and no more: facts of a phase that is over, or not begun, change nothing. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from headrace.core.budgets import Spend, lacking, of_role
from headrace.core.rounds.counts import PutOff, ReasonCount, RewriteCounts, RowCounts
from headrace.core.rounds.facts import (
    CheckpointMeasures,
    Cut,
    DensitiesMade,
    Ending,
    Fact,
    RewriteEnded,
    RewritesRequested,
    RoundCommitted,
    RowLost,
    RowsEvicted,
    RowsMeasured,
    RowsSelected,
    RowsSent,
)
from headrace.core.rounds.guards import REPLACING, is_near_duplicate
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Awaited, HeldOutMeasured, Phase, RoundState
from headrace.core.rounds.surveys import Purpose

NAMES_BYTES_MAX = 150_000
"""How many bytes the names of rows and rewrites may take in a state that are, or were, among the dead letters.

A round stops where there are more. Whoever reads states reads them from the topic: none may grow so large that its body would
have to lie in the object store.
"""
REASONS_MAX = 50
"""How many reasons a round tells apart; further ones count together, as `OTHER_REASONS`."""
OTHER_REASONS = "other"

_NAME_BYTES_MAX = 160
"""More than the longest name takes: an id of 128 characters with a revision or an axis."""
_FRAMING_BYTES = 3

_REWRITING = frozenset({Phase.REFINING, Phase.VALIDATING, Phase.REVERTING})
_REQUESTING = frozenset({Phase.REFINING, Phase.REVERTING})
_COMMITTING = frozenset({Phase.COMMITTING, Phase.TRAINING})

Amount = TypeVar("Amount", int, float)


def named_in(state: RoundState) -> int:
    """How many rows and rewrites the state names: lost, or sent back since."""
    return sum(len(names) for names in _names(state))


def is_full(state: RoundState) -> bool:
    """Whether it names more than it may: it names no more then, in whatever phase, and goes on to nothing but its end."""
    if named_in(state) * _NAME_BYTES_MAX <= NAMES_BYTES_MAX:
        return False
    return sum(sum(map(len, names)) + len(names) * _FRAMING_BYTES for names in _names(state)) > NAMES_BYTES_MAX


def _names(state: RoundState) -> list[tuple[str, ...]]:
    counts = (state.rows, state.held_out_rows, state.rewrites, *((state.revert,) if state.revert else ()))
    return [names for each in counts for names in (each.lost, each.returned)]


def counted(state: RoundState, fact: Fact, rules: RoundPolicy) -> RoundState:
    """The state with the fact in its counts; the very same state where it says nothing there."""
    phase = state.working_in
    match fact:
        case RowsSent() | RowsMeasured():
            return _surveyed(state, fact, phase)
        case RowLost():
            return _lost(state, fact, phase)
        case DensitiesMade(complete=True) if state.awaits is Awaited.DENSITIES:
            return replace(state, densities_made=True)
        case RowsSelected():
            return _selected(state, fact)
        case RewritesRequested() if phase in _REQUESTING:
            return replace(state, rewrites=_requested(state.rewrites, fact))
        case RewriteEnded() if phase in _REWRITING:
            return replace(state, rewrites=_ended(state, fact, rules))
        case RowsEvicted() if state.awaits is Awaited.EVICTION:
            return replace(state, evicted=fact.rows, awaits=Awaited.CUT)
        case RoundCommitted(cut=Cut.MADE) if state.awaits is Awaited.VERSION and state.committed is None:
            return replace(state, committed=fact)
        case CheckpointMeasures() if phase in _COMMITTING:
            return _checkpoint(state, fact)
    return state


def _surveyed(state: RoundState, fact: RowsSent | RowsMeasured, phase: Phase) -> RoundState:
    if fact.purpose is Purpose.ROUND and phase is Phase.SURVEYING:
        return replace(state, rows=_rows(state.rows, fact, state))
    if fact.purpose is Purpose.EVALUATION and phase is Phase.EVALUATING:
        return replace(state, held_out_rows=_rows(state.held_out_rows, fact, state))
    return state


def _rows(counts: RowCounts, fact: RowsSent | RowsMeasured, state: RoundState) -> RowCounts:
    if isinstance(fact, RowsSent):
        return replace(counts, sent=counts.sent + fact.rows, all_sent=counts.all_sent or fact.complete)
    if fact.sent_back and fact.sent_back in counts.returned:
        return counts
    if fact.sent_back:
        lost, returned = _back(counts, fact.sent_back, state)
        counts = replace(counts, lost=lost, returned=returned)
    return replace(
        counts,
        measured=counts.measured + fact.rows,
        not_made=counts.not_made + fact.not_made,
        tokens=counts.tokens + fact.tokens,
        seconds=counts.seconds + fact.seconds,
    )


def _back(counts: RowCounts | RewriteCounts, name: str, state: RoundState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who is lost, and who came back, once this one did."""
    if name not in counts.lost and is_full(state):
        return counts.lost, counts.returned
    return tuple(each for each in counts.lost if each != name), (*counts.returned, name)


def _lost(state: RoundState, fact: RowLost, phase: Phase) -> RoundState:
    """Each is named once, however often its dead letter is read; and not at all where it was measured since."""
    if is_full(state):
        return state
    if fact.axis is not None:
        name, counts = f"{fact.sample_id}/{fact.axis}", state.rewrites
        if phase not in _REWRITING or name in (*counts.lost, *counts.returned):
            return state
        charged = _charged(counts, ())
        return replace(state, rewrites=replace(charged, lost=(*counts.lost, name)))
    name = f"{fact.sample_id}/{fact.revision}"
    if fact.purpose is Purpose.ROUND and phase is Phase.SURVEYING:
        return replace(state, rows=_with_lost(state.rows, name))
    if fact.purpose is Purpose.EVALUATION and phase is Phase.EVALUATING:
        return replace(state, held_out_rows=_with_lost(state.held_out_rows, name))
    return state


def _with_lost(counts: RowCounts, name: str) -> RowCounts:
    return counts if name in (*counts.lost, *counts.returned) else replace(counts, lost=(*counts.lost, name))


def _selected(state: RoundState, fact: RowsSelected) -> RoundState:
    if fact.purpose is Purpose.ROUND and state.awaits is Awaited.SELECTION and state.selected is None:
        return replace(state, selected=fact)
    if fact.purpose is Purpose.EVALUATION and state.awaits is Awaited.HELD_OUT_LOSS:
        before, after = fact.held_out_loss_before, fact.held_out_loss
        found = None if before is None or after is None else HeldOutMeasured(before, after, fact.held_out_rows)
        return replace(state, held_out=found, awaits=Awaited.VERDICT)
    return state


def _requested(counts: RewriteCounts, fact: RewritesRequested) -> RewriteCounts:
    return replace(counts, requested=counts.requested + fact.rows, all_requested=counts.all_requested or fact.complete)


def _ended(state: RoundState, fact: RewriteEnded, rules: RoundPolicy) -> RewriteCounts:
    """One that was sent back from the dead letters is named, so that its letter, read late, or another end say nothing more."""
    counts, name = state.rewrites, f"{fact.parent_id}/{fact.axis}"
    if name in counts.returned:
        return counts
    is_lost = name in counts.lost
    came_back = is_lost or fact.sent_back
    if not came_back and (put_off := _put_off(counts, fact)):
        return replace(counts, put_off=tuple(sorted((*counts.put_off, put_off), key=lambda each: each.row)))
    if came_back:
        lost, returned = _back(counts, name, state)
        counts = replace(counts, lost=lost, returned=returned)
    called = fact.attempts > 0
    if called and not is_lost:  # else it was charged when it was lost
        counts = _charged(counts, fact.spent)
    is_unknown = called and (fact.tokens is None or not all(_is_known(limit, fact) for limit in rules.budget.limits()))
    counts = replace(
        counts,
        attempts=counts.attempts + fact.attempts,
        tokens=counts.tokens + (fact.tokens or 0),
        money=counts.money + (fact.money or 0.0),
        roles_spent=_by_role((*counts.roles_spent, *fact.roles_spent)),
        cost_unknown=counts.cost_unknown + is_unknown,
        near_duplicates=counts.near_duplicates + is_near_duplicate(fact),
    )
    return _ending(counts, fact)


def _put_off(counts: RewriteCounts, fact: RewriteEnded) -> PutOff | None:
    """What a rewrite that was not begun would need, where that is more than it was allowed."""
    if fact.attempts or fact.tokens_needed is None:
        return None
    put_off = PutOff(fact.row, fact.axis, fact.tokens_needed, fact.money_needed, fact.roles_needed)
    return put_off if lacking(counts.allowed_each, put_off.needed) else None


def _ending(counts: RewriteCounts, fact: RewriteEnded) -> RewriteCounts:
    replacing, by_people = fact.axis in REPLACING and not fact.adds, not fact.parent_model_written
    match fact.ending:
        case Ending.ACCEPTED:
            human = counts.human_replaced + (replacing and by_people)
            return replace(
                counts, accepted=_one_more(counts.accepted, fact.axis), human_replaced=human, beside=counts.beside + fact.adds
            )
        case Ending.REJECTED:
            return replace(
                tallied(counts, fact.axis, fact.ending, fact.reason, fact.detail),
                human_unmended=counts.human_unmended + (replacing and by_people),
                model_unmended=counts.model_unmended + (replacing and not by_people),
            )
        case Ending.NOT_MADE:
            return tallied(counts, fact.axis, fact.ending, fact.reason, fact.detail)


def tallied(counts: RewriteCounts, axis: Axis, ending: Ending, reason: str, example: str) -> RewriteCounts:
    """One more rewrite that was rejected or not made, and why; the first example of a reason stays."""
    known = [(each.ending, each.reason) for each in counts.reasons]
    name = reason if (ending, reason) in known or len(known) < REASONS_MAX else OTHER_REASONS
    before = next((each for each in counts.reasons if (each.ending, each.reason) == (ending, name)), None)
    now = ReasonCount(ending, name, 1, example) if before is None else replace(before, count=before.count + 1)
    if not now.example:
        now = replace(now, example=example)
    reasons = tuple(sorted((*(each for each in counts.reasons if each is not before), now), key=lambda r: (r.ending, r.reason)))
    if ending is Ending.REJECTED:
        return replace(counts, reasons=reasons, rejected=_one_more(counts.rejected, axis))
    return replace(counts, reasons=reasons, not_made=_one_more(counts.not_made, axis))


def _charged(counts: RewriteCounts, spent: tuple[Spend, ...]) -> RewriteCounts:
    """What is not known counts as all that was allowed: a budget is not to be overrun because an endpoint does not tell."""
    total, *roles = (_charge(allowed, of_role(spent, allowed.role)) for allowed in counts.allowed_each)
    return replace(
        counts,
        tokens_charged=counts.tokens_charged + (total.tokens or 0),
        money_charged=counts.money_charged + (total.money or 0.0),
        roles_charged=_by_role((*counts.roles_charged, *roles)),
    )


def _charge(allowed: Spend, spent: Spend | None) -> Spend:
    told = spent or Spend(None, None)
    tokens = told.tokens if told.tokens is not None else allowed.tokens
    return Spend(tokens, told.money if told.money is not None else allowed.money, allowed.role)


def _is_known(limit: Spend, fact: RewriteEnded) -> bool:
    """Whether it is known what was spent of a limited amount."""
    told = of_role(fact.spent, limit.role) or Spend(None, None)
    return (limit.tokens is None or told.tokens is not None) and (limit.money is None or told.money is not None)


def _by_role(spends: Iterable[Spend]) -> tuple[Spend, ...]:
    """One for each role, by name: the sum of what is known, None where nothing is."""
    sums: dict[str, Spend] = {}
    for each in spends:
        before = sums.get(each.role, Spend(None, None))
        sums[each.role] = Spend(_known(before.tokens, each.tokens), _known(before.money, each.money), each.role)
    return tuple(sums[role] for role in sorted(sums))


def _known(amount: Amount | None, more: Amount | None) -> Amount | None:
    return more if amount is None else amount + (more or 0)


def _one_more(tally: Mapping[str, int], axis: str) -> Mapping[str, int]:
    return dict(sorted({**tally, str(axis): tally.get(axis, 0) + 1}.items()))


def _checkpoint(state: RoundState, fact: CheckpointMeasures) -> RoundState:
    """One that was trained on another version says nothing; which version is ours may be learned after the checkpoint came."""
    if fact.version == state.begun.survey.version or (state.committed and fact.version != state.committed.version):
        return state
    if state.checkpoint is not None and state.committed is not None:
        return state
    return replace(state, checkpoint=fact)
