"""Every metric and span attribute that Headrace emits, with kind, unit and meaning; nothing is named anywhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum


class Attribute(StrEnum):
    """Names of span and metric attributes; OpenTelemetry's own where it has one. None ever carries a sample's id on a metric."""

    TOPIC = "messaging.destination.name"
    PARTITION = "messaging.destination.partition.id"
    GROUP = "messaging.consumer.group.name"
    OFFSET = "messaging.kafka.offset"
    SYSTEM = "messaging.system"
    OPERATION = "messaging.operation.name"
    EVENT_ID = "messaging.message.id"
    BATCH_RECORDS = "messaging.batch.message_count"
    ERROR = "error.type"
    OUTCOME = "headrace.outcome"
    DATASET = "headrace.dataset.id"
    SAMPLE = "headrace.sample.id"
    VERDICT = "headrace.verdict"
    REASON = "headrace.reason"
    ENTRY = "headrace.entry"
    CHECK = "headrace.check"
    DUPLICATE_KIND = "headrace.duplicate.kind"
    MODEL_ROLE = "headrace.model.role"
    TOKENS = "headrace.tokens"
    ATTEMPT = "headrace.attempt"


Attributes = Mapping[Attribute, str]
NO_ATTRIBUTES: Attributes = {}


class Outcome(StrEnum):
    """How a record ended in one service: values of `Attribute.OUTCOME` on `Metric.RECORDS`."""

    DONE = "done"
    RETRIED = "retried"
    DEAD_LETTERED = "dead_lettered"
    DROPPED = "dropped"


class Kind(Enum):
    """Counters only rise; gauges rise and fall by amounts added; histograms keep distributions."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric: its name, kind, unit (UCUM), meaning, and the only attributes it may carry."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    attributes: tuple[Attribute, ...] = ()


_TOPIC_AND_GROUP = (Attribute.TOPIC, Attribute.GROUP)


class Metric(Enum):
    """The registry. A service adds a line here before it measures anything."""

    CONSUMED = Definition(
        "messaging.client.consumed.messages", Kind.COUNTER, "{message}", "records given to handlers", _TOPIC_AND_GROUP
    )
    SENT = Definition(
        "messaging.client.sent.messages", Kind.COUNTER, "{message}", "events that became visible", (Attribute.TOPIC,)
    )
    PROCESS_DURATION = Definition(
        "messaging.process.duration", Kind.HISTOGRAM, "s", "time of one batch in its handler", _TOPIC_AND_GROUP
    )
    RECORDS = Definition(
        "headrace.delivery.records", Kind.COUNTER, "{record}",
        "records by how they ended in this service", (*_TOPIC_AND_GROUP, Attribute.OUTCOME),
    )  # fmt: skip
    BATCH_RECORDS = Definition(
        "headrace.delivery.batch.records", Kind.HISTOGRAM, "{record}", "records in one batch", _TOPIC_AND_GROUP
    )
    BATCH_DURATION = Definition(
        "headrace.delivery.batch.duration", Kind.HISTOGRAM, "s", "from a batch's start to its last commit", _TOPIC_AND_GROUP
    )
    COMMIT_DURATION = Definition(
        "headrace.delivery.commit.duration", Kind.HISTOGRAM, "s",
        "from a batch's first send to its last commit", _TOPIC_AND_GROUP,
    )  # fmt: skip
    TRANSACTIONS = Definition(
        "headrace.delivery.transactions", Kind.COUNTER, "{transaction}",
        "batches whose results became visible or were thrown away", (*_TOPIC_AND_GROUP, Attribute.OUTCOME),
    )  # fmt: skip
    RETRIES = Definition(
        "headrace.delivery.retries",
        Kind.COUNTER,
        "{record}",
        "records sent to a retry topic",
        (*_TOPIC_AND_GROUP, Attribute.ERROR),
    )
    DEAD_LETTERS = Definition(
        "headrace.delivery.dead_letters", Kind.COUNTER, "{record}",
        "records sent to dead letters", (*_TOPIC_AND_GROUP, Attribute.ERROR),
    )  # fmt: skip
    EVENT_AGE = Definition(
        "headrace.delivery.event.age", Kind.HISTOGRAM, "s",
        "age of a batch's oldest event when its results became visible", _TOPIC_AND_GROUP,
    )  # fmt: skip
    GATEWAY_SAMPLES = Definition(
        "headrace.gateway.samples", Kind.COUNTER, "{sample}",
        "samples by entry and result: received, refused (with its code) or unavailable",
        (Attribute.ENTRY, Attribute.OUTCOME, Attribute.ERROR),
    )  # fmt: skip
    GATEWAY_BYTES = Definition("headrace.gateway.bytes", Kind.COUNTER, "By", "bytes of samples read", (Attribute.ENTRY,))
    GATEWAY_STREAMS = Definition("headrace.gateway.streams", Kind.GAUGE, "{stream}", "open intake streams", (Attribute.ENTRY,))
    GATEWAY_THROTTLED = Definition(
        "headrace.gateway.throttled", Kind.HISTOGRAM, "s", "time intake waited because the spine lags behind", (Attribute.ENTRY,)
    )
    SCORING_CALL_DURATION = Definition(
        "headrace.scoring.call.duration", Kind.HISTOGRAM, "s", "one call of the model server, waiting included",
        (Attribute.MODEL_ROLE, Attribute.OUTCOME),
    )  # fmt: skip
    SCORING_TOKENS = Definition(
        "headrace.scoring.tokens", Kind.COUNTER, "{token}",
        "tokens read by the model, in events that became visible", (Attribute.MODEL_ROLE, Attribute.TOKENS),
    )  # fmt: skip
    SCORING_SIGNALS = Definition(
        "headrace.scoring.signals", Kind.COUNTER, "{sample}",
        "signals made and not made", (Attribute.MODEL_ROLE, Attribute.OUTCOME),
    )  # fmt: skip
    DIVERSITY_PLACEMENTS = Definition(
        "headrace.diversity.placements",
        Kind.COUNTER,
        "{sample}",
        "samples placed, by kind of duplicate",
        (Attribute.DUPLICATE_KIND,),
    )
    DIVERSITY_HOLDS = Definition(
        "headrace.diversity.holds", Kind.COUNTER, "{sample}", "samples put on hold behind an earlier, similar one"
    )
    DIVERSITY_HOLD_TIME = Definition(
        "headrace.diversity.hold.duration", Kind.HISTOGRAM, "s", "time a held sample waited until it was placed"
    )
    VALIDATION_CHECKS = Definition(
        "headrace.validation.checks", Kind.COUNTER, "{check}", "checks by outcome", (Attribute.CHECK, Attribute.OUTCOME)
    )
    VALIDATION_CHECK_DURATION = Definition(
        "headrace.validation.check.duration", Kind.HISTOGRAM, "s", "time of one check", (Attribute.CHECK,)
    )
    ADMISSION_DECISIONS = Definition(
        "headrace.admission.decisions", Kind.COUNTER, "{sample}",
        "samples decided for good, by verdict and reason", (Attribute.VERDICT, Attribute.REASON, Attribute.DATASET),
    )  # fmt: skip
    ADMISSION_AGE = Definition(
        "headrace.admission.age", Kind.HISTOGRAM, "s", "from a sample's submission to its decision", (Attribute.VERDICT,)
    )
    DATASETS_ROWS = Definition(
        "headrace.datasets.rows", Kind.COUNTER, "{row}", "rows staged for the next version, by verdict", (Attribute.VERDICT,)
    )
    DATASETS_STAGED_BYTES = Definition("headrace.datasets.staged.bytes", Kind.COUNTER, "By", "bytes of staged segments written")
    DATASETS_VERSIONS = Definition(
        "headrace.datasets.versions", Kind.COUNTER, "{version}", "versions committed", (Attribute.DATASET,)
    )
    DATASETS_CUT_DURATION = Definition(
        "headrace.datasets.cut.duration", Kind.HISTOGRAM, "s", "time to cut one version", (Attribute.OUTCOME,)
    )
    CONTROLLER_ROLL_OUTS = Definition(
        "headrace.controller.roll_outs", Kind.COUNTER, "{checkpoint}",
        "checkpoints rolled out, rolled back to or refused (with the step)", (Attribute.OUTCOME, Attribute.REASON),
    )  # fmt: skip
    CONTROLLER_ROLL_OUT_DURATION = Definition(
        "headrace.controller.roll_out.duration", Kind.HISTOGRAM, "s", "from a checkpoint's publication to its announcement"
    )
    CONTROLLER_LOAD_DURATION = Definition(
        "headrace.controller.load.duration", Kind.HISTOGRAM, "s", "the model server's part of it: loading the version"
    )
    CHAT_CALLS = Definition(
        "headrace.chat.calls", Kind.COUNTER, "{call}",
        "calls of generating models: paid, reused (the reply was kept) or not made", (Attribute.MODEL_ROLE, Attribute.OUTCOME),
    )  # fmt: skip
    CHAT_CALL_DURATION = Definition(
        "headrace.chat.call.duration", Kind.HISTOGRAM, "s", "time of one paid call at its endpoint",
        (Attribute.MODEL_ROLE, Attribute.OUTCOME),
    )  # fmt: skip
    CHAT_TOKENS = Definition(
        "headrace.chat.tokens", Kind.COUNTER, "{token}",
        "tokens of prompts and replies that were paid for, where the endpoint tells", (Attribute.MODEL_ROLE, Attribute.TOKENS),
    )  # fmt: skip


BUCKETS: dict[str, tuple[float, ...]] = {
    "s": (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900),
    "{record}": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
}
"""Bounds of histograms by unit: OpenTelemetry's default bounds are made for milliseconds."""
