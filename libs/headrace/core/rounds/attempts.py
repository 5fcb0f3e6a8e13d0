"""What follows from the decision on a rewrite: the end of its way, or another attempt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headrace.core.budgets import Spend
from headrace.core.dossiers import Comparison, Cost, Decision, Dossier, Rewrite, Verdict
from headrace.core.policies import Policy
from headrace.core.reasons import Reason
from headrace.core.retractions import RetractionReason, RetractionRequested
from headrace.core.rounds.acceptance import gate_of
from headrace.core.rounds.facts import Ending, RewriteEnded, RoundProgressed
from headrace.core.rounds.revisions import ATTEMPTS_MAX, stands_beside
from headrace.core.rounds.rewrite_costs import BUDGET, spent_by_role, spent_so_far, summed, tokens_of
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import RefinementRequested
from headrace.core.samples import OriginKind

FAILURE_CHARS_MAX = 1_000
DETAIL_CHARS_MAX = 300
"""How much of what the reason alone does not say a round is told."""

_SETTLED_ELSEWHERE = frozenset({Reason.REVISION_CONFLICT, Reason.STALE_REVISION, Reason.RETRACTED})
"""Somebody else has said what becomes of this sample: another attempt would end the same way."""


@dataclass(frozen=True, slots=True)
class Consequences:
    """What is to be sent beside the decision; of `again` and `ended` one at most."""

    again: RefinementRequested | None = None
    ended: RoundProgressed | None = None
    retraction: RetractionRequested | None = None


def consequences_of(decided: Dossier, policy: Policy, requested_by: str) -> Consequences:
    """What follows from the last decision of a dossier; nothing where it is no rewrite, or is not decided for good.

    Nothing either for a revision that was admitted before with the same content: its end was told then.
    """
    rewrite = decided.rewrite
    if rewrite is None or not decided.decisions:
        return Consequences()
    decision = decided.decisions[-1]
    if decision.verdict is Verdict.ACCEPTED:
        return Consequences(ended=ended(rewrite, Ending.ACCEPTED, decision.reason, spent_so_far(decided)))
    if decision.verdict is not Verdict.REJECTED or decision.reason == Reason.ALREADY_ADMITTED:
        return Consequences()
    if not is_last(rewrite, decision):
        return Consequences(again=RefinementRequested(_next_attempt(rewrite, decision, spent_so_far(decided))))
    gone = ended(rewrite, Ending.REJECTED, decision.reason, spent_so_far(decided), _numbers(decision))
    if decision.reason in _SETTLED_ELSEWHERE:
        return Consequences(ended=gone)
    return Consequences(ended=gone, retraction=_unmended(rewrite, policy, requested_by))


def is_last(rewrite: Rewrite, decision: Decision) -> bool:
    """Whether no attempt follows upon this one, which was accepted or rejected."""
    no_more = rewrite.attempt >= min(rewrite.attempts_max, ATTEMPTS_MAX)
    return decision.verdict is Verdict.ACCEPTED or decision.reason in _SETTLED_ELSEWHERE or no_more


def ended(rewrite: Rewrite, ending: Ending, reason: str, spent: tuple[Cost, ...], detail: str = "") -> RoundProgressed:
    """The end of a rewrite's way, with what all its attempts cost, and a detail for people, cut short."""
    total = summed(spent)
    fact = RewriteEnded(
        Axis(rewrite.axis), rewrite.parent.id, ending, str(reason), rewrite.attempt, tokens_of(total), total.money,
        parent_model_written=rewrite.parent.origin.kind is not OriginKind.INGESTED, detail=_shown(detail), row=rewrite.row,
        adds=rewrite.adds, sent_back=rewrite.sent_back, roles_spent=spent_by_role(rewrite, spent),
    )  # fmt: skip
    return RoundProgressed(rewrite.parent.dataset_id, rewrite.round_id, fact)


def not_begun(rewrite: Rewrite, needed: Sequence[Spend], detail: str) -> RoundProgressed:
    """What is told of a rewrite that spent nothing, since it was allowed less than `needed`, in all and in limited roles.

    It may be asked for again.
    """
    total, *roles = needed
    fact = RewriteEnded(
        Axis(rewrite.axis), rewrite.parent.id, Ending.NOT_MADE, BUDGET, 0, 0, 0.0,
        parent_model_written=rewrite.parent.origin.kind is not OriginKind.INGESTED, detail=_shown(detail), row=rewrite.row,
        tokens_needed=total.tokens, money_needed=total.money, sent_back=rewrite.sent_back, roles_needed=tuple(roles),
    )  # fmt: skip
    return RoundProgressed(rewrite.parent.dataset_id, rewrite.round_id, fact)


def _shown(text: str) -> str:
    """As one short line: it may hold an endpoint's words."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * DETAIL_CHARS_MAX]).split())
    return line if len(line) <= DETAIL_CHARS_MAX else f"{line[:DETAIL_CHARS_MAX]} \u2026"


def _next_attempt(rewrite: Rewrite, decision: Decision, spent: tuple[Cost, ...]) -> Rewrite:
    """The allowances are what this attempt has left of them: refinement took off what it spent. Its parent stays as judged."""
    judged = replace(rewrite.judged, quality=None) if rewrite.judged is not None else None
    failure = _failure(decision)
    return replace(rewrite, attempt=rewrite.attempt + 1, previous_failure=failure, spent=spent, judged=judged)


def _failure(decision: Decision) -> str:
    """The reason and the numbers, in words that a refiner is shown."""
    return "; ".join([str(decision.reason), *filter(None, [_numbers(decision)])])[:FAILURE_CHARS_MAX]


def _numbers(decision: Decision) -> str:
    broken = [_said(comparison) for comparison in decision.comparisons if not comparison.held]
    return "; ".join([*broken, *filter(None, [decision.detail])])


def _said(comparison: Comparison) -> str:
    value = "unknown" if comparison.value is None else f"{comparison.value:.6g}"
    return f"{comparison.quantity} is {value}, and should be {comparison.operator} {comparison.bound:.6g}"


def _unmended(rewrite: Rewrite, policy: Policy, requested_by: str) -> RetractionRequested | None:
    """The parent leaves where the round does not keep what could not be mended; a sparse one is nothing to mend."""
    if gate_of(rewrite, policy.rounds).unmended != "drop" or stands_beside(rewrite):
        return None
    parent = rewrite.parent
    return RetractionRequested(
        dataset_id=parent.dataset_id,
        sample_id=parent.id,
        revision=parent.revision,
        reason=RetractionReason.UNMENDED,
        request_id=f"{rewrite.round_id}/{rewrite.axis}/{parent.id}",
        requested_by=requested_by,
        note=f"{rewrite.attempt} rewrites were turned away in round {rewrite.round_id}",
    )
