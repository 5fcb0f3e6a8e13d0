"""Decides samples: the one place where evidence meets a policy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.core.decide import decide
from headrace.core.dossiers import AcceptedSample, Decision, Dossier, Verdict
from headrace.core.events import Emit, Event, Reject, Result, Send, no_policy
from headrace.core.policies import Policy
from headrace.core.reasons import MEANING, Reason
from headrace.core.rounds.attempts import consequences_of
from headrace.core.rounds.restorations import follows_from
from headrace.core.topics import (
    DECIDED,
    REFINEMENT_REQUESTED,
    RETRACTION_REQUESTED,
    ROUND_PROGRESSED,
    VALIDATION_REQUESTED,
    accepted_topic,
)

_REQUESTED_BY = "headrace/admission"


@dataclass(frozen=True, slots=True)
class Admission:
    """What the handler needs: the standing policies, and the ruler hash of each check under one of them."""

    policy_of: Callable[[str], Policy | None]
    rulers_of: Callable[[Policy], Mapping[str, str]]


async def decide_samples(events: Sequence[Event[Dossier]], admission: Admission) -> list[Result]:
    """One decision for each sample that was placed or validated, appended to its dossier.

    The decision follows from the dossier and the policy alone, so that it may be made again: only one attempt's is seen.
    """
    return [_result(event.body, admission) for event in events]


def _result(dossier: Dossier, admission: Admission) -> Result:
    dataset_id = dossier.sample.dataset_id
    policy = admission.policy_of(dataset_id)
    if policy is None:
        return no_policy(dataset_id)
    decision = decide(dossier, policy, admission.rulers_of(policy))
    decided = replace(dossier, decisions=(*dossier.decisions, decision))
    if decision.verdict is Verdict.PARKED:
        return Reject(decision.reason, _parked(decision), parked=True)
    return Emit((*_sends(decided, decision.verdict), *_sends_of_round(decided, policy)))


def _sends(decided: Dossier, verdict: Verdict) -> tuple[Send, ...]:
    if verdict is Verdict.VALIDATE:
        return (Send(VALIDATION_REQUESTED, decided),)
    if verdict is Verdict.ACCEPTED:
        return Send(DECIDED, decided), Send(accepted_topic(decided.sample.dataset_id), AcceptedSample(decided))
    return (Send(DECIDED, decided),)


def _sends_of_round(decided: Dossier, policy: Policy) -> tuple[Send, ...]:
    """What becomes of a rewrite's way, or of a row's way back: visible together with the decision that it follows from."""
    follows, back = consequences_of(decided, policy, _REQUESTED_BY), follows_from(decided, _REQUESTED_BY)
    sends = (
        (REFINEMENT_REQUESTED, follows.again),
        (ROUND_PROGRESSED, follows.ended or back.ended),
        (RETRACTION_REQUESTED, follows.retraction or back.retraction),
    )
    return tuple(Send(topic, body) for topic, body in sends if body is not None)


def _parked(decision: Decision) -> str:
    meaning = MEANING[Reason(decision.reason)]
    return f"{meaning}: {decision.detail}" if decision.detail else meaning
