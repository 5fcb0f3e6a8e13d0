"""The decision: one pure function from evidence and policy to a verdict (DESIGN: decisions are made in code)."""

from headrace.core.dossiers import (
    CURRENT,
    CheckOutcome,
    Comparison,
    Decision,
    Dossier,
    DuplicateKind,
    Verdict,
)
from headrace.core.policies import Policy
from headrace.core.reasons import Reason

_DUPLICATE_REASONS = {
    DuplicateKind.EXACT: Reason.EXACT_DUPLICATE,
    DuplicateKind.NEAR: Reason.NEAR_DUPLICATE,
    DuplicateKind.ALREADY_ADMITTED: Reason.ALREADY_ADMITTED,
    DuplicateKind.REVISION_CONFLICT: Reason.REVISION_CONFLICT,
    DuplicateKind.STALE_REVISION: Reason.STALE_REVISION,
}


def decide(dossier: Dossier, policy: Policy) -> Decision:
    """Decide one sample from the evidence in its dossier, cheapest evidence first.

    Returns REJECTED at the first bound that does not hold, PARKED where evidence that the policy needs could not be made,
    VALIDATE where checks are still to be run, and ACCEPTED otherwise. Every number compared is in `comparisons`.
    """
    return _Deliberation(dossier, policy).decide()


class _Deliberation:
    """Collects the comparisons while the bounds are walked in order."""

    def __init__(self, dossier: Dossier, policy: Policy) -> None:
        self._dossier = dossier
        self._policy = policy
        self._comparisons: list[Comparison] = []

    def decide(self) -> Decision:
        return self._duplicate() or self._signals() or self._density() or self._checks() or self._end(Reason.ACCEPTED, "")

    def _duplicate(self) -> Decision | None:
        placement = self._dossier.placement
        if placement is None or placement.duplicate_kind is DuplicateKind.NONE:
            return None
        of = placement.duplicate_of
        bound = self._policy.diversity.near_duplicate_cosine
        if placement.duplicate_kind is DuplicateKind.NEAR and of is not None:
            if bound is None or self._holds("conversation_cosine", of.cosine, "<", bound):
                return None
        detail = f"{of.sample_id} revision {of.revision}" if of is not None else ""
        return self._end(_DUPLICATE_REASONS[placement.duplicate_kind], detail)

    def _signals(self) -> Decision | None:
        bounds = self._policy.signals
        signals = self._dossier.signals_of(CURRENT)
        if signals is None or signals.error or signals.loss_mean is None:
            return self._end(Reason.SIGNALS_NOT_MADE, signals.error if signals else "no signals of the current model")
        if signals.truncated and not bounds.truncated:
            return self._end(Reason.TRUNCATED, f"{signals.prompt_tokens} prompt and {signals.response_tokens} response tokens read")
        if bounds.loss_max is not None and not self._holds("loss_mean", signals.loss_mean, "<=", bounds.loss_max):
            return self._end(Reason.LOSS_TOO_HIGH, "")
        if bounds.loss_min is not None and not self._holds("loss_mean", signals.loss_mean, ">=", bounds.loss_min):
            return self._end(Reason.LOSS_TOO_LOW, "")
        return None

    def _density(self) -> Decision | None:
        bounds = self._policy.diversity
        density = self._dossier.placement.density if self._dossier.placement else None
        if density is None:  # a young dataset has no neighbourhood yet: nothing to compare
            return None
        if bounds.density_max is not None and not self._holds("density", density, "<=", bounds.density_max):
            return self._end(Reason.TOO_DENSE, "")
        if bounds.density_min is not None and not self._holds("density", density, ">=", bounds.density_min):
            return self._end(Reason.TOO_SPARSE, "")
        return None

    def _checks(self) -> Decision | None:
        requested = {name for decision in self._dossier.decisions for name in decision.checks_requested}
        wanted = tuple(request.check for request in self._policy.checks)
        if not requested.issuperset(wanted):
            return self._end(Reason.CHECKS_REQUESTED, "", checks_requested=wanted)
        results = {result.check: result for result in self._dossier.checks}
        required = [results[r.check] for r in self._policy.checks if r.required and r.check in results]
        for result in required:
            if result.outcome is CheckOutcome.FAILED:
                return self._end(Reason.CHECK_FAILED, f"{result.check}: {result.evidence}")
        for result in required:
            if result.outcome is CheckOutcome.NOT_MADE:
                return self._end(Reason.CHECK_NOT_MADE, f"{result.check}: {result.evidence}")
        return None

    def _holds(self, quantity: str, value: float, operator: str, bound: float) -> bool:
        held = {"<=": value <= bound, ">=": value >= bound, "<": value < bound}[operator]
        self._comparisons.append(Comparison(quantity, value, operator, bound, held))
        return held

    def _end(self, reason: Reason, detail: str, *, checks_requested: tuple[str, ...] = ()) -> Decision:
        return Decision(
            verdict=_VERDICTS.get(reason, Verdict.REJECTED),
            reason=reason,
            policy_version=self._policy.version,
            comparisons=tuple(self._comparisons),
            detail=detail,
            checks_requested=checks_requested,
        )


_VERDICTS = {
    Reason.ACCEPTED: Verdict.ACCEPTED,
    Reason.CHECKS_REQUESTED: Verdict.VALIDATE,
    Reason.SIGNALS_NOT_MADE: Verdict.PARKED,
    Reason.CHECK_NOT_MADE: Verdict.PARKED,
}
