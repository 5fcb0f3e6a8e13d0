"""What a rewrite has to beat: its parent, on the axis that it was made for, and without losing what it means.

    hard          its loss is below the parent's
    low_quality   its judged quality is above the parent's
    sparse        its cosine to the parent is above the parent's density, so that the parent's nearest are nearer than before

All three strictly, and under the model version that measured the parent; a quality besides by the ruler that judged the parent,
where both are known. Where it replaces its parent (hard, low_quality) its
prompt's cosine to the parent's must be at least `rounds.meaning_cosine_min`. Where the round asks an endpoint for a second
opinion (`rounds.judge_rewrites`), the quality that it gives the rewrite must not be below the one that it gives the parent:
equal is no objection, since most scores are whole numbers. A number that is missing fails nothing
and passes nothing: the decision is not made, and the rewrite parks.

The round's own rules count, as they stood when it began (`Rewrite.gate`): neither a policy that is applied meanwhile nor a replay
under another one changes what a rewrite has to beat. In mode middo_compat there is no such gate, as the authors have none: the
numbers are recorded, and nothing follows from them.

The answer is checked, too: where the sample has a reference with a verifier, and there is a check of that name, it is made of
every rewrite, with its default settings unless the policy sets them, and must pass unless the policy lists it as not required. A
low loss says that a model finds an answer easy, not that it is right.

Of the policy's other bounds all stand but those that the gate takes the place of: for a hard sample `signals.loss_max`, which its
parent's loss replaces; for a sparse one `diversity.density_min`, since it is made for a sparse place; and where the parent is
replaced both bounds on density, since its place is taken, not another one. Standing thresholds are for what comes from outside.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.core.dossiers import CURRENT, Comparison, Dossier, Gate, Rewrite, Signals
from headrace.core.policies import CheckRequest, Policy
from headrace.core.reasons import Reason
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.revisions import stands_beside
from headrace.core.rounds.rules import Axis, Mode

LOSS = "rewrite_loss_mean"
QUALITY = "rewrite_quality"
NEARNESS = "rewrite_parent_cosine"
JUDGED = "rewrite_judged_quality"
MEANING = "rewrite_meaning_cosine"
"""Quantities of comparisons; the bound is the parent's number, but for the last, whose bound is the round's."""

CHECKED = frozenset({"math", "exact", "schema"})
"""Verifiers of references that a check of the same name asks."""

_AXES = frozenset(Axis)


@dataclass(frozen=True, slots=True)
class Exemptions:
    """Which of the policy's bounds a dossier is not held to."""

    loss_max: bool = False
    density_max: bool = False
    density_min: bool = False


@dataclass(frozen=True, slots=True)
class Weighed:
    """A rewrite held against its parent: what was compared, and the reason to turn it away or to park it, if there is one."""

    comparisons: tuple[Comparison, ...] = ()
    reason: Reason | None = None
    detail: str = ""


def exemptions_of(rewrite: Rewrite | None) -> Exemptions:
    """See the module. Nothing for a sample that is no rewrite."""
    if rewrite is None or rewrite.axis not in _AXES:
        return Exemptions()
    return Exemptions(loss_max=rewrite.axis == Axis.HARD, density_max=not stands_beside(rewrite), density_min=True)


def gate_of(rewrite: Rewrite, rules: RoundPolicy) -> Gate:
    """What the rewrite's round asks of it; these rules, where an earlier release began the round and did not tell."""
    return rewrite.gate if rewrite.gate is not None else rules.gate()


def checks_of(dossier: Dossier, policy: Policy) -> tuple[CheckRequest, ...]:
    """The checks that the sample needs: those that the policy lists, and of a rewrite its reference's own."""
    rewrite, reference = dossier.rewrite, dossier.sample.reference
    if rewrite is None or reference is None or reference.verifier not in CHECKED:
        return policy.checks
    if gate_of(rewrite, policy.rounds).mode == Mode.MIDDO_COMPAT or any(
        each.check == reference.verifier for each in policy.checks
    ):
        return policy.checks
    return (*policy.checks, CheckRequest(check=reference.verifier))


def weighed(dossier: Dossier, rules: RoundPolicy) -> Weighed:
    """Hold a dossier's rewrite against its parent; a dossier without one has nothing to beat.

    The first comparison that does not hold, or cannot be made, is the reason, and the last that is made.
    """
    rewrite, signals = dossier.rewrite, dossier.signals_of(CURRENT)
    if rewrite is None:
        return Weighed()
    asked = gate_of(rewrite, rules)
    gate = asked.mode != Mode.MIDDO_COMPAT
    if rewrite.axis not in _AXES:
        return Weighed(reason=Reason.PARENT_NOT_MEASURED, detail=f"this release knows no axis {rewrite.axis[:40]!r}")
    if signals is None or (signals.model, signals.model_version) != (rewrite.model, rewrite.model_version):
        measured = f"{signals.model} {signals.model_version}" if signals is not None else "no model"
        told = f"the parent was measured by {rewrite.model} {rewrite.model_version}, the rewrite by {measured}"
        return _ended([], Reason.PARENT_NOT_MEASURED, told, gate=gate)
    if _is_by_another_ruler(rewrite, signals):
        told = "the parent was judged by another ruler than the rewrite: their qualities cannot be compared"
        return _ended([], Reason.RULER_CHANGED, told, gate=gate)
    comparisons: list[Comparison] = []
    for quantity, value, operator, bound, failing in _matches(dossier, rewrite, signals, asked):
        if bound is None or not math.isfinite(bound):
            return _ended(comparisons, Reason.PARENT_NOT_MEASURED, f"the parent has no number for {quantity}", gate=gate)
        if value is None or not math.isfinite(value):
            return _ended(comparisons, _NOT_MADE[quantity], f"the rewrite has no number for {quantity}", gate=gate)
        held = {"<": value < bound, ">": value > bound, ">=": value >= bound}[operator]
        comparisons.append(Comparison(quantity, value, operator, bound, held))
        if not held:
            return _ended(comparisons, failing, "", gate=gate)
    return Weighed(tuple(comparisons))


def _is_by_another_ruler(rewrite: Rewrite, signals: Signals) -> bool:
    """An earlier release told no ruler of the parent's."""
    judgement = signals.judgement
    if rewrite.axis != Axis.LOW_QUALITY or judgement is None or not judgement.ruler_hash:
        return False
    return bool(rewrite.ruler_hash) and judgement.ruler_hash != rewrite.ruler_hash


_NOT_MADE = {
    LOSS: Reason.SIGNALS_NOT_MADE,
    QUALITY: Reason.SIGNALS_NOT_MADE,
    NEARNESS: Reason.NOT_PLACED,
    MEANING: Reason.NOT_PLACED,
    JUDGED: Reason.SIGNALS_NOT_MADE,
}


def _matches(
    dossier: Dossier, rewrite: Rewrite, signals: Signals, gate: Gate
) -> Iterator[tuple[str, float | None, str, float | None, Reason]]:
    """Quantity, the rewrite's number, operator, bound, and the reason where it does not hold."""
    axis = Axis(rewrite.axis)
    cosine = dossier.placement.parent_cosine if dossier.placement is not None else None
    if axis is Axis.SPARSE:
        yield NEARNESS, cosine, ">", rewrite.parent_density, Reason.NOT_BETTER
    elif axis is Axis.HARD:
        yield LOSS, signals.loss_mean, "<", rewrite.parent_loss, Reason.NOT_BETTER
    else:
        quality = signals.judgement.quality if signals.judgement is not None else None
        yield QUALITY, quality, ">", rewrite.parent_quality, Reason.NOT_BETTER
    if axis is not Axis.SPARSE:
        yield MEANING, cosine, ">=", gate.meaning_cosine_min, Reason.MEANING_LOST
    if gate.judge_rewrites:
        own, parents = (judged.quality, judged.parent_quality) if (judged := rewrite.judged) is not None else (None, None)
        yield JUDGED, own, ">=", parents, Reason.JUDGED_WORSE


def _ended(comparisons: list[Comparison], reason: Reason, detail: str, *, gate: bool) -> Weighed:
    return Weighed(tuple(comparisons), reason, detail) if gate else Weighed(tuple(comparisons))
