"""What each service must tell about itself: the declaration that tests are generated from."""

from dataclasses import dataclass

from headrace.core import topics
from headrace.core.topics import CONSUMERS, PRODUCERS
from headrace.runtime.telemetry import Metric

EVERY_HOP = frozenset({
    Metric.CONSUMED, Metric.PROCESS_DURATION, Metric.RECORDS, Metric.BATCH_RECORDS, Metric.BATCH_DURATION, Metric.COMMIT_DURATION,
    Metric.TRANSACTIONS, Metric.EVENT_AGE,
})  # fmt: skip
"""What the delivery layer tells of every subscription, with nothing done by the service."""

WHEN_IT_FAILS = frozenset({Metric.RETRIES, Metric.DEAD_LETTERS})
"""What it tells besides when records fail."""


@dataclass(frozen=True, slots=True)
class Signals:
    """One service: metrics that follow from its events, and metrics that its own code measures."""

    from_events: frozenset[Metric] = frozenset()
    measured: frozenset[Metric] = frozenset()


SERVICES: dict[str, Signals] = {
    "gateway": Signals(
        measured=frozenset({Metric.GATEWAY_SAMPLES, Metric.GATEWAY_BYTES, Metric.GATEWAY_STREAMS, Metric.GATEWAY_THROTTLED})
    ),
    "scoring": Signals(
        from_events=frozenset({Metric.SCORING_SIGNALS, Metric.SCORING_TOKENS}), measured=frozenset({Metric.SCORING_CALL_DURATION})
    ),
    "diversity": Signals(
        from_events=frozenset({Metric.DIVERSITY_PLACEMENTS, Metric.DIVERSITY_HOLDS, Metric.DIVERSITY_HOLD_TIME}),
    ),
    "admission": Signals(from_events=frozenset({Metric.ADMISSION_DECISIONS, Metric.ADMISSION_AGE})),
    "validation": Signals(
        from_events=frozenset({Metric.VALIDATION_CHECKS}), measured=frozenset({Metric.VALIDATION_CHECK_DURATION})
    ),
    "datasets": Signals(
        measured=frozenset({
            Metric.DATASETS_ROWS, Metric.DATASETS_STAGED_BYTES, Metric.DATASETS_VERSIONS, Metric.DATASETS_CUT_DURATION,
        }),
    ),
    "refinement": Signals(measured=frozenset({Metric.CHAT_CALLS, Metric.CHAT_CALL_DURATION, Metric.CHAT_TOKENS})),
    "controller": Signals(
        from_events=frozenset({
            Metric.CONTROLLER_ROLL_OUTS, Metric.CONTROLLER_ROLL_OUT_DURATION, Metric.CONTROLLER_LOAD_DURATION,
        }),
    ),
}  # fmt: skip

EDGES: tuple[tuple[str, str, str], ...] = tuple(
    (producer, topic, consumer)
    for topic, producers in PRODUCERS.items()
    for producer in producers
    for consumer in CONSUMERS.get(topic, ())
)
"""Every way from a service over a topic to a service. A sample's trace must be one on both sides of each."""

_OF_NO_SAMPLE = {topics.COMMITTED.name, topics.CHECKPOINT_ROLLED_OUT.name, topics.CHECKPOINT_REFUSED.name}

SAMPLE_EDGES = tuple(edge for edge in EDGES if edge[1] not in _OF_NO_SAMPLE)
