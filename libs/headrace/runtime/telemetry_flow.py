"""The metrics that follow from the events themselves: what was decided, placed, checked and measured.

They are taken from results that became visible, so a batch that is handled twice is counted once.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from headrace.core import topics
from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut
from headrace.core.dossiers import Decision, Dossier, DuplicateKind, ScoredSample, Signals
from headrace.core.events import Emit, Event, Result
from headrace.core.rounds.surveys import MeasuredSample
from headrace.runtime.telemetry_names import Attribute, Metric, Outcome


class Measurement(NamedTuple):
    """One amount to add or value to record."""

    metric: Metric
    amount: float
    attributes: tuple[tuple[Attribute, str], ...] = ()


def measurements_of(settled: Sequence[tuple[Event[Any], Result]], now: float) -> Iterator[Measurement]:
    """What visible results say; `now` is Unix time in seconds."""
    for event, result in settled:
        if isinstance(result, Emit):
            for send in result.sends:
                measure = _BY_TOPIC.get(send.topic.name)
                if measure is not None:
                    yield from measure(event, send.body, now)


def _scored(_: Event[Any], body: object, __: float) -> Iterator[Measurement]:
    if not isinstance(body, ScoredSample):
        return
    for signals in body.dossier.signals:
        yield _made(signals)
        for kind, tokens in (("prompt", signals.prompt_tokens), ("response", signals.response_tokens)):
            yield Measurement(Metric.SCORING_TOKENS, tokens, ((Attribute.MODEL_ROLE, signals.role), (Attribute.TOKENS, kind)))


def _surveyed(_: Event[Any], body: object, __: float) -> Iterator[Measurement]:
    """Without tokens: some of these signals were known before, and the round itself counts what was read."""
    if isinstance(body, MeasuredSample):
        yield from map(_made, body.signals)


def _made(signals: Signals) -> Measurement:
    outcome = Outcome.DONE if signals.loss_mean is not None else Outcome.DROPPED
    return Measurement(Metric.SCORING_SIGNALS, 1, ((Attribute.MODEL_ROLE, signals.role), (Attribute.OUTCOME, outcome)))


def _held(event: Event[Any], _: object, __: float) -> Iterator[Measurement]:
    if event.topic != topics.HELD.name:  # looked at again and still waiting is not another hold
        yield Measurement(Metric.DIVERSITY_HOLDS, 1)


def _placed(event: Event[Any], body: object, now: float) -> Iterator[Measurement]:
    if not isinstance(body, Dossier):
        return
    kind = body.placement.duplicate_kind if body.placement else DuplicateKind.NONE
    yield Measurement(Metric.DIVERSITY_PLACEMENTS, 1, ((Attribute.DUPLICATE_KIND, kind or "none"),))
    waited = event.body
    if isinstance(waited, ScoredSample) and waited.held_since is not None:
        yield Measurement(Metric.DIVERSITY_HOLD_TIME, max(0.0, now - waited.held_since))


def _validated(_: Event[Any], body: object, __: float) -> Iterator[Measurement]:
    if isinstance(body, Dossier):
        for check in body.checks:
            yield Measurement(Metric.VALIDATION_CHECKS, 1, ((Attribute.CHECK, check.check), (Attribute.OUTCOME, check.outcome)))


def _decided(_: Event[Any], body: object, now: float) -> Iterator[Measurement]:
    if not isinstance(body, Dossier) or not body.decisions:
        return
    decision: Decision = body.decisions[-1]
    verdict = (Attribute.VERDICT, str(decision.verdict))
    dataset = (Attribute.DATASET, body.sample.dataset_id)
    yield Measurement(Metric.ADMISSION_DECISIONS, 1, (verdict, (Attribute.REASON, str(decision.reason)), dataset))
    yield Measurement(Metric.ADMISSION_AGE, max(0.0, now - body.submitted_at), (verdict,))


def _rolled_out(_: Event[Any], body: object, __: float) -> Iterator[Measurement]:
    if isinstance(body, CheckpointRolledOut):
        outcome = "rolled_back" if body.rollback_request_id else "rolled_out"
        yield Measurement(Metric.CONTROLLER_ROLL_OUTS, 1, ((Attribute.OUTCOME, outcome),))
        yield Measurement(Metric.CONTROLLER_ROLL_OUT_DURATION, body.seconds)
        yield Measurement(Metric.CONTROLLER_LOAD_DURATION, body.load_seconds)


def _refused(_: Event[Any], body: object, __: float) -> Iterator[Measurement]:
    if isinstance(body, CheckpointRefused):
        yield Measurement(Metric.CONTROLLER_ROLL_OUTS, 1, ((Attribute.OUTCOME, "refused"), (Attribute.REASON, str(body.step))))


_BY_TOPIC = {
    topics.SCORED.name: _scored,
    topics.MEASURED.name: _surveyed,
    topics.HELD.name: _held,
    topics.PLACED.name: _placed,
    topics.VALIDATED.name: _validated,
    topics.DECIDED.name: _decided,
    topics.CHECKPOINT_ROLLED_OUT.name: _rolled_out,
    topics.CHECKPOINT_REFUSED.name: _refused,
}
