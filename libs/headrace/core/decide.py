"""The decision: one pure function from evidence and policy to a verdict."""

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from headrace.core.dossiers import (
    CURRENT,
    CheckOutcome,
    CheckResult,
    Comparison,
    Decision,
    Dossier,
    DuplicateKind,
    Verdict,
)
from headrace.core.policies import Policy
from headrace.core.reasons import Reason
from headrace.core.rounds.acceptance import checks_of, exemptions_of, weighed
from headrace.core.rounds.restorations import is_restored
from headrace.core.rounds.standing import StandingThresholds

REQUESTS_MAX = 3
"""How often one check is asked for before its absence counts as *not made*: admission and validation may disagree on the
ruler for a moment while a policy or a deployment changes, never for good."""

NO_RULERS: Mapping[str, str] = MappingProxyType({})

_DUPLICATE_REASONS = {
    DuplicateKind.EXACT: Reason.EXACT_DUPLICATE,
    DuplicateKind.NEAR: Reason.NEAR_DUPLICATE,
    DuplicateKind.ALREADY_ADMITTED: Reason.ALREADY_ADMITTED,
    DuplicateKind.REVISION_CONFLICT: Reason.REVISION_CONFLICT,
    DuplicateKind.STALE_REVISION: Reason.STALE_REVISION,
    DuplicateKind.RETRACTED: Reason.RETRACTED,
}

_VERDICTS = {
    Reason.ACCEPTED: Verdict.ACCEPTED,
    Reason.CHECKS_REQUESTED: Verdict.VALIDATE,
    Reason.SIGNALS_NOT_MADE: Verdict.PARKED,
    Reason.NOT_PLACED: Verdict.PARKED,
    Reason.CHECK_NOT_MADE: Verdict.PARKED,
    Reason.PARENT_NOT_MEASURED: Verdict.PARKED,
    Reason.RULER_CHANGED: Verdict.PARKED,
}
"""Every other reason rejects."""


def decide(dossier: Dossier, policy: Policy, rulers: Mapping[str, str] = NO_RULERS) -> Decision:
    """Decide one sample from the evidence in its dossier, cheapest evidence first.

    Returns REJECTED at the first bound that does not hold, PARKED where evidence that a decision needs could not be made,
    VALIDATE where checks are still to be run, and ACCEPTED otherwise. Every number compared is in `comparisons`. A rewrite must
    beat its parent besides (`headrace.core.rounds.acceptance`, which also says which bounds this takes the place of). Standing
    thresholds hold for samples that the very model version measured which they are of, rewrites apart; that on quality for those
    that the same ruler judged. Where another one did nothing is compared, and the detail says so. A row that comes back since a
    round is undone is held against what others did meanwhile, and against nothing else (`headrace.core.rounds.restorations`).

    `rulers` holds the ruler hash of each check under this policy (`headrace.checks.rulers`): a result measured with another
    ruler, because the policy or the check's code changed since, is not believed and the check is asked for again. Checks that
    are not named there are believed as they are.
    """
    return _Deliberation(dossier, policy, rulers).decide()


class _Deliberation:
    """Collects the comparisons while the bounds are walked in order."""

    def __init__(self, dossier: Dossier, policy: Policy, rulers: Mapping[str, str]) -> None:
        self._dossier = dossier
        self._policy = policy
        self._rulers = rulers
        self._exempt = exemptions_of(dossier.rewrite)
        self._comparisons: list[Comparison] = []
        self._note = ""

    def decide(self) -> Decision:
        if is_restored(self._dossier.sample):
            return self._duplicate() or self._not_placed() or self._end(Reason.ACCEPTED)
        return (
            self._duplicate()
            or self._signals()
            or self._standing()
            or self._density()
            or self._rewrite()
            or self._checks()
            or self._end(Reason.ACCEPTED)
        )

    def _duplicate(self) -> Decision | None:
        placement = self._dossier.placement
        if placement is None or placement.duplicate_kind is DuplicateKind.NONE:
            return None
        kind, twin = placement.duplicate_kind, placement.duplicate_of
        if kind is DuplicateKind.NEAR and not self._is_near(twin.cosine if twin is not None else None):
            return None
        return self._end(_DUPLICATE_REASONS[kind], f"{twin.sample_id} revision {twin.revision}" if twin is not None else "")

    def _is_near(self, cosine: float | None) -> bool:
        bound = self._policy.diversity.near_duplicate_cosine
        if bound is None or is_restored(self._dossier.sample):
            return False
        return cosine is None or not self._holds("conversation_cosine", cosine, "<", bound)

    def _signals(self) -> Decision | None:
        bounds = self._policy.signals
        signals = self._dossier.signals_of(CURRENT)
        if signals is None:
            return self._end(Reason.SIGNALS_NOT_MADE, "no signals of the current model")
        if signals.error:  # a length is known without a loss
            return self._end(
                Reason.TRUNCATED if signals.truncated and not bounds.truncated else Reason.SIGNALS_NOT_MADE, signals.error
            )
        loss = signals.loss_mean
        if loss is None or not math.isfinite(loss):
            return self._end(Reason.SIGNALS_NOT_MADE, f"the response loss is {loss}")
        if signals.truncated and not bounds.truncated:
            read = f"{signals.prompt_tokens} prompt and {signals.response_tokens} response tokens read"
            return self._end(Reason.TRUNCATED, read)
        loss_max = None if self._exempt.loss_max else bounds.loss_max
        if loss_max is not None and not self._holds("loss_mean", loss, "<=", loss_max):
            return self._end(Reason.LOSS_TOO_HIGH)
        if bounds.loss_min is not None and not self._holds("loss_mean", loss, ">=", bounds.loss_min):
            return self._end(Reason.LOSS_TOO_LOW)
        return None

    def _standing(self) -> Decision | None:
        """Thresholds of another model version than the one that measured the sample say nothing of it."""
        signals, standing = self._dossier.signals_of(CURRENT), self._policy.standing
        if signals is None or signals.loss_mean is None or self._dossier.rewrite is not None:
            return None
        loss_max = standing.loss_max_of(signals.model, signals.model_version)
        if loss_max is not None and not self._holds("loss_mean", signals.loss_mean, "<=", loss_max):
            return self._end(Reason.LOSS_TOO_HIGH, _standing_told(standing.thresholds))
        quality_min = standing.quality_min_of(signals.model, signals.model_version)
        if quality_min is None:
            return None
        judgement = signals.judgement
        quality = judgement.quality if judgement is not None else None
        if quality is None or not math.isfinite(quality):
            told = judgement.error if judgement is not None and judgement.error else "the sample was not judged"
            return self._end(Reason.SIGNALS_NOT_MADE, f"quality: {told}")
        if not standing.is_by_ruler(judgement.ruler_hash if judgement is not None else ""):
            self._note = f"{Reason.RULER_CHANGED}: quality is not held to the {_standing_told(standing.thresholds)}"
            return None
        if not self._holds("quality", quality, ">=", quality_min):
            return self._end(Reason.QUALITY_TOO_LOW, _standing_told(standing.thresholds))
        return None

    def _not_placed(self) -> Decision | None:
        return self._end(Reason.NOT_PLACED, "no placement") if self._dossier.placement is None else None

    def _density(self) -> Decision | None:
        bounds = self._policy.diversity
        placement = self._dossier.placement
        if placement is None:
            return self._not_placed()
        density = placement.density
        if density is None:  # a young dataset has no neighbourhood yet: nothing to compare
            return None
        if not math.isfinite(density):
            return self._end(Reason.NOT_PLACED, f"the density is {density}")
        density_max = None if self._exempt.density_max else bounds.density_max
        density_min = None if self._exempt.density_min else bounds.density_min
        if density_max is not None and not self._holds("density", density, "<=", density_max):
            return self._end(Reason.TOO_DENSE)
        if density_min is not None and not self._holds("density", density, ">=", density_min):
            return self._end(Reason.TOO_SPARSE)
        return None

    def _rewrite(self) -> Decision | None:
        outcome = weighed(self._dossier, self._policy.rounds)
        self._comparisons += outcome.comparisons
        return None if outcome.reason is None else self._end(outcome.reason, outcome.detail)

    def _checks(self) -> Decision | None:
        times = self._times_requested()
        results = {result.check: result for result in self._dossier.checks}
        requests = checks_of(self._dossier, self._policy)
        missing = [r.check for r in requests if not self._is_settled(r.check, results.get(r.check), times)]
        to_request = tuple(check for check in missing if times.get(check, 0) < REQUESTS_MAX)
        if to_request:
            return self._end(Reason.CHECKS_REQUESTED, checks_requested=to_request)
        required = [request.check for request in requests if request.required]
        made = [results[check] for check in required if check in results and check not in missing]
        return self._failed(made) or self._not_made(made, [check for check in required if check in missing])

    def _times_requested(self) -> dict[str, int]:
        times: dict[str, int] = {}
        for decision in self._dossier.decisions:
            for name in decision.checks_requested:
                times[name] = times.get(name, 0) + 1
        return times

    def _is_settled(self, check: str, result: CheckResult | None, times_requested: Mapping[str, int]) -> bool:
        if check not in times_requested:
            return False
        if result is None:  # asked for and not there: the check does not apply to this sample
            return True
        return result.ruler_hash == self._rulers.get(check, result.ruler_hash)

    def _failed(self, results: Iterable[CheckResult]) -> Decision | None:
        for result in results:
            if result.outcome is CheckOutcome.FAILED:
                return self._end(Reason.CHECK_FAILED, f"{result.check}: {result.evidence}")
        return None

    def _not_made(self, results: Iterable[CheckResult], never_made: Iterable[str]) -> Decision | None:
        for result in results:
            if result.outcome is CheckOutcome.NOT_MADE:
                return self._end(Reason.CHECK_NOT_MADE, f"{result.check}: {result.evidence}")
        for check in never_made:
            detail = f"{check}: asked for {REQUESTS_MAX} times and never made with this policy's ruler"
            return self._end(Reason.CHECK_NOT_MADE, detail)
        return None

    def _holds(self, quantity: str, value: float, operator: str, bound: float) -> bool:
        held = {"<=": value <= bound, ">=": value >= bound, "<": value < bound}[operator]
        self._comparisons.append(Comparison(quantity, value, operator, bound, held))
        return held

    def _end(self, reason: Reason, detail: str = "", *, checks_requested: tuple[str, ...] = ()) -> Decision:
        return Decision(
            verdict=_VERDICTS.get(reason, Verdict.REJECTED),
            reason=reason,
            policy_version=self._policy.version,
            comparisons=tuple(self._comparisons),
            detail=detail or self._note,
            checks_requested=checks_requested,
        )


def _standing_told(thresholds: StandingThresholds | None) -> str:
    """Where a standing threshold comes from."""
    if thresholds is None:
        return ""
    return f"standing threshold of {thresholds.model} {thresholds.model_version}, {thresholds.source} of {thresholds.rows} rows"
