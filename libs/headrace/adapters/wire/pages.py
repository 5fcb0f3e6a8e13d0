"""The pages of a dossier as protobuf messages and back."""

from headrace.adapters.wire.fields import Undecodable, finite
from headrace.core.dossiers import (
    JUDGED,
    CheckOutcome,
    CheckResult,
    Comparison,
    Cost,
    Decision,
    DuplicateKind,
    Embeddings,
    Judgement,
    Neighbour,
    Placement,
    Signals,
    Verdict,
)
from headrace_protos.sample.v1 import dossier_pb2

_FLOAT32_BYTES = 4
_OUTCOME_OF_NUMBER = {
    dossier_pb2.CHECK_OUTCOME_PASSED: CheckOutcome.PASSED,
    dossier_pb2.CHECK_OUTCOME_FAILED: CheckOutcome.FAILED,
    dossier_pb2.CHECK_OUTCOME_NOT_MADE: CheckOutcome.NOT_MADE,
}
_NUMBER_OF_OUTCOME = {outcome: number for number, outcome in _OUTCOME_OF_NUMBER.items()}
_VERDICT_OF_NUMBER = {
    dossier_pb2.VERDICT_ACCEPTED: Verdict.ACCEPTED,
    dossier_pb2.VERDICT_REJECTED: Verdict.REJECTED,
    dossier_pb2.VERDICT_VALIDATE: Verdict.VALIDATE,
    dossier_pb2.VERDICT_PARKED: Verdict.PARKED,
}
_NUMBER_OF_VERDICT = {verdict: number for number, verdict in _VERDICT_OF_NUMBER.items()}
_DUPLICATE_KINDS = {kind.value: kind for kind in DuplicateKind}


def signals_from(page: dossier_pb2.Signals) -> Signals:
    """Raises Undecodable where a loss is not a finite number: such a loss was never made."""
    return Signals(
        page.role,
        page.model,
        page.model_version,
        finite(page.loss_mean, "signals.loss_mean") if page.HasField("loss_mean") else None,
        finite(page.loss_std, "signals.loss_std") if page.HasField("loss_std") else None,
        page.prompt_tokens,
        page.response_tokens,
        page.truncated,
        page.error,
        _judgement_from(page.judgement) if page.HasField("judgement") else None,
    )


def signals_to(signals: Signals) -> dossier_pb2.Signals:
    """None leaves an optional number absent."""
    return dossier_pb2.Signals(
        role=signals.role,
        model=signals.model,
        model_version=signals.model_version,
        loss_mean=signals.loss_mean,
        loss_std=signals.loss_std,
        prompt_tokens=signals.prompt_tokens,
        response_tokens=signals.response_tokens,
        truncated=signals.truncated,
        error=signals.error,
        judgement=None if signals.judgement is None else _judgement_to(signals.judgement),
    )


def _judgement_from(page: dossier_pb2.Judgement) -> Judgement:
    scores = {name: finite(getattr(page, name), f"judgement.{name}") for name in JUDGED if page.HasField(name)}
    return Judgement(page.mode, page.ruler_hash, error=page.error, **scores)


def _judgement_to(judgement: Judgement) -> dossier_pb2.Judgement:
    scores = dict(zip(JUDGED, judgement.scores, strict=True))
    return dossier_pb2.Judgement(mode=judgement.mode, ruler_hash=judgement.ruler_hash, error=judgement.error, **scores)


def embeddings_from(page: dossier_pb2.Embeddings) -> Embeddings:
    """Raises Undecodable where the bytes cannot be float32 vectors."""
    for name, vector in (("prompt", page.prompt), ("conversation", page.conversation)):
        if len(vector) % _FLOAT32_BYTES:
            raise Undecodable(f"embeddings.{name} has {len(vector)} bytes, which is no whole number of float32")
    return Embeddings(page.model, page.model_version, page.prompt, page.conversation)


def embeddings_to(embeddings: Embeddings) -> dossier_pb2.Embeddings:
    """The vectors' bytes go as they are."""
    return dossier_pb2.Embeddings(
        model=embeddings.model,
        model_version=embeddings.model_version,
        prompt=embeddings.prompt,
        conversation=embeddings.conversation,
    )


def placement_from(page: dossier_pb2.Placement) -> Placement:
    """Raises Undecodable for a kind of duplicate that this version does not know."""
    kind = _DUPLICATE_KINDS.get(page.duplicate_kind)
    if kind is None:
        raise Undecodable(f"placement.duplicate_kind {page.duplicate_kind[:80]!r} is not known to this version")
    return Placement(
        kind,
        _neighbour_from(page.duplicate_of) if page.HasField("duplicate_of") else None,
        tuple(map(_neighbour_from, page.neighbours[:])),
        finite(page.density, "placement.density") if page.HasField("density") else None,
        page.prompt_copies,
        page.model,
        page.model_version,
        page.compared_with,
        page.order if page.HasField("order") else None,
        finite(page.parent_cosine, "placement.parent_cosine") if page.HasField("parent_cosine") else None,
    )


def placement_to(placement: Placement) -> dossier_pb2.Placement:
    """None leaves an optional part absent."""
    of = placement.duplicate_of
    return dossier_pb2.Placement(
        duplicate_kind=placement.duplicate_kind,
        duplicate_of=None if of is None else _neighbour_to(of),
        neighbours=[_neighbour_to(neighbour) for neighbour in placement.neighbours],
        density=placement.density,
        prompt_copies=placement.prompt_copies,
        model=placement.model,
        model_version=placement.model_version,
        compared_with=placement.compared_with,
        order=placement.order,
        parent_cosine=placement.parent_cosine,
    )


def check_from(page: dossier_pb2.CheckResult) -> CheckResult:
    """Raises Undecodable for an outcome that this version does not know: it must not pass for another."""
    outcome = _OUTCOME_OF_NUMBER.get(page.outcome)
    if outcome is None:
        raise Undecodable(f"checks.outcome {page.outcome} is not known to this version")
    score = finite(page.score, "checks.score") if page.HasField("score") else None
    return CheckResult(page.check, outcome, page.evidence, page.ruler_hash, score)


def check_to(result: CheckResult) -> dossier_pb2.CheckResult:
    """None leaves the score absent."""
    return dossier_pb2.CheckResult(
        check=result.check,
        outcome=_NUMBER_OF_OUTCOME[result.outcome],
        score=result.score,
        evidence=result.evidence,
        ruler_hash=result.ruler_hash,
    )


def decision_from(page: dossier_pb2.Decision) -> Decision:
    """Raises Undecodable for a verdict that this version does not know."""
    verdict = _VERDICT_OF_NUMBER.get(page.verdict)
    if verdict is None:
        raise Undecodable(f"decisions.verdict {page.verdict} is not known to this version")
    return Decision(
        verdict,
        page.reason,
        page.policy_version,
        tuple(map(_comparison_from, page.comparisons[:])),
        page.detail,
        tuple(page.checks_requested[:]),
    )


def decision_to(decision: Decision) -> dossier_pb2.Decision:
    """The decision with every comparison it made."""
    return dossier_pb2.Decision(
        verdict=_NUMBER_OF_VERDICT[decision.verdict],
        reason=decision.reason,
        policy_version=decision.policy_version,
        comparisons=[_comparison_to(comparison) for comparison in decision.comparisons],
        detail=decision.detail,
        checks_requested=decision.checks_requested,
    )


def cost_from(page: dossier_pb2.Cost) -> Cost:
    """What is absent is unknown: None."""
    has = page.HasField
    return Cost(
        page.stage,
        finite(page.seconds, "costs.seconds") if has("seconds") else None,
        page.prompt_tokens if has("prompt_tokens") else None,
        page.completion_tokens if has("completion_tokens") else None,
        finite(page.money, "costs.money") if has("money") else None,
        page.currency,
    )


def cost_to(cost: Cost) -> dossier_pb2.Cost:
    """None leaves a number absent: unknown is never zero."""
    return dossier_pb2.Cost(
        stage=cost.stage,
        seconds=cost.seconds,
        prompt_tokens=cost.prompt_tokens,
        completion_tokens=cost.completion_tokens,
        money=cost.money,
        currency=cost.currency,
    )


def _neighbour_from(page: dossier_pb2.Neighbour) -> Neighbour:
    return Neighbour(page.sample_id, page.revision, finite(page.cosine, "placement.cosine"))


def _neighbour_to(neighbour: Neighbour) -> dossier_pb2.Neighbour:
    return dossier_pb2.Neighbour(sample_id=neighbour.sample_id, revision=neighbour.revision, cosine=neighbour.cosine)


def _comparison_from(page: dossier_pb2.Comparison) -> Comparison:
    value = finite(page.value, "decisions.value") if page.HasField("value") else None
    return Comparison(page.quantity, value, page.operator, finite(page.bound, "decisions.bound"), page.held)


def _comparison_to(comparison: Comparison) -> dossier_pb2.Comparison:
    return dossier_pb2.Comparison(
        quantity=comparison.quantity,
        value=comparison.value,
        operator=comparison.operator,
        bound=comparison.bound,
        held=comparison.held,
    )
