"""The one registry of topics: names, keys, partitions, retention. Topic creation and AsyncAPI derive from it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from headrace.core.chat import KeptReply
from headrace.core.checkpoints import CheckpointPublished, CheckpointRefused, CheckpointRolledOut, RollbackRequested
from headrace.core.dossiers import (
    AcceptedSample,
    DatasetCommitted,
    DatasetCutRequested,
    Dossier,
    IndexedSample,
    PolicyPublished,
    Retraction,
    ScoredSample,
)
from headrace.core.retractions import RetractionRequested
from headrace.core.rounds.facts import RoundProgressed
from headrace.core.rounds.state import RoundState, RoundTimer
from headrace.core.rounds.surveys import MeasuredSample, RefinementRequested, RoundStepRequested, SurveyedSample

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOREVER = -1
DATASET_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""Dataset ids become part of topic names and object keys, so only these pass the door."""


class KeyedBy(StrEnum):
    """What a topic's records are keyed by, hence what stays in order."""

    SAMPLE = "sample"
    DATASET = "dataset"
    MODEL = "model"
    PRODUCER = "producer"
    CALL = "call"
    ROUND = "round"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: what it says, who may rely on which order, and how long records stay.

    `body` is the core type of its records (bytes for raw intake). `delayed` topics hold records until their
    not-before time. `retention_ms` is None for compacted topics, FOREVER for those that are kept for good.
    """

    name: str
    summary: str
    body: type
    keyed_by: KeyedBy
    key_of: Callable[[object], str]
    partitions: int
    retention_ms: int | None
    delayed: bool = False

    @property
    def compacted(self) -> bool:
        return self.retention_ms is None


PARTITIONS = 4
"""Default partitions of a hot topic: at most so many replicas of a service share its work. HEADRACE_PARTITIONS says otherwise,
before the topics are created."""


_OF_A_DATASET = (
    IndexedSample, PolicyPublished, DatasetCutRequested, DatasetCommitted, RetractionRequested, RoundProgressed, RoundTimer,
    RoundStepRequested, MeasuredSample,
)  # fmt: skip


def _sample_key(body: object) -> str:
    if isinstance(body, Dossier | SurveyedSample):
        return body.sample.key
    if isinstance(body, RefinementRequested):
        return body.rewrite.parent.key
    raise TypeError(f"no sample key for {type(body).__name__}")


def _dataset_key(body: object) -> str:
    if isinstance(body, Dossier):
        return body.sample.dataset_id
    if isinstance(body, ScoredSample):
        return body.dossier.sample.dataset_id
    if isinstance(body, _OF_A_DATASET):
        return body.dataset_id
    raise TypeError(f"no dataset key for {type(body).__name__}")


def _accepted_key(body: object) -> str:
    if isinstance(body, AcceptedSample):
        change = body.change
        return change.sample_id if isinstance(change, Retraction) else change.sample.id
    raise TypeError(f"no accepted key for {type(body).__name__}")


def _model_key(body: object) -> str:
    if isinstance(body, CheckpointPublished | CheckpointRolledOut | CheckpointRefused | RollbackRequested):
        return body.model
    raise TypeError(f"no model key for {type(body).__name__}")


def _round_key(body: object) -> str:
    if isinstance(body, RoundState):
        return f"{body.dataset_id}/{body.round_id}"
    raise TypeError(f"no round key for {type(body).__name__}")


def _call_key(body: object) -> str:
    if isinstance(body, KeptReply):
        return body.identity
    raise TypeError(f"no call key for {type(body).__name__}")


def _no_key(_: object) -> str:
    raise TypeError("producers choose the keys of this topic")


def _by_sample(name: str, summary: str, body: type = Dossier) -> Topic:
    return Topic(name, summary, body, KeyedBy.SAMPLE, _sample_key, PARTITIONS, 7 * DAY_MS)


def _by_dataset(
    name: str,
    summary: str,
    body: type,
    retention_ms: int | None = 7 * DAY_MS,
    *,
    partitions: int = PARTITIONS,
    delayed: bool = False,
) -> Topic:
    return Topic(name, summary, body, KeyedBy.DATASET, _dataset_key, partitions, retention_ms, delayed=delayed)


def _by_model(name: str, summary: str, body: type) -> Topic:
    """In one partition: what became of a model's checkpoints is one history, read from its beginning."""
    return Topic(name, summary, body, KeyedBy.MODEL, _model_key, 1, FOREVER)


INGEST = Topic(
    "headrace.ingest", "samples from producers that speak Kafka: JSON or protobuf, plain or CloudEvents",
    bytes, KeyedBy.PRODUCER, _no_key, PARTITIONS, 7 * DAY_MS,
)  # fmt: skip
SUBMITTED = _by_sample("headrace.sample.submitted", "a sample passed the door")
SCORED = _by_dataset("headrace.sample.scored", "signals and embeddings were measured; the order of placement", ScoredSample)
HELD = _by_dataset("headrace.sample.held", "waits for the decision on an earlier, similar sample", ScoredSample, delayed=True)
PLACED = _by_sample("headrace.sample.placed", "its neighbourhood among accepted samples is known")
VALIDATION_REQUESTED = _by_sample("headrace.validation.requested", "admission asks for checks")
VALIDATED = _by_sample("headrace.sample.validated", "the checks asked for have outcomes")
DECIDED = _by_dataset("headrace.sample.decided", "accepted or rejected, with the whole dossier", Dossier)
INDEXED = _by_dataset("headrace.sample.indexed", "an accepted sample's embeddings, for the dataset's shards", IndexedSample)
RETRACTION_REQUESTED = _by_dataset(
    "headrace.sample.retraction-requested", "someone takes an accepted sample back", RetractionRequested
)
POLICY_PUBLISHED = _by_dataset("headrace.policy.published", "a dataset's standing policy", PolicyPublished, None)
CUT_REQUESTED = _by_dataset("headrace.dataset.cut-requested", "someone asks for a version", DatasetCutRequested)
COMMITTED = _by_dataset("headrace.dataset.committed", "a version exists", DatasetCommitted)
CHECKPOINT_PUBLISHED = _by_model("headrace.checkpoint.published", "a trainer wrote a checkpoint", CheckpointPublished)
CHECKPOINT_ROLLED_OUT = _by_model(
    "headrace.checkpoint.rolled-out", "from here on scoring measures with this version", CheckpointRolledOut
)
CHECKPOINT_REFUSED = _by_model("headrace.checkpoint.refused", "a checkpoint failed a step of its roll-out", CheckpointRefused)
ROLLBACK_REQUESTED = _by_model(
    "headrace.checkpoint.rollback-requested", "someone wants an earlier version back", RollbackRequested
)
SURVEYED = _by_sample("headrace.sample.surveyed", "a row of a version is to be measured anew", SurveyedSample)
MEASURED = _by_dataset("headrace.round.measured", "a surveyed row's signals, for the survey's table", MeasuredSample)
ROUND_STEP_REQUESTED = _by_dataset("headrace.round.step-requested", "one step of a round is to be done", RoundStepRequested)
REFINEMENT_REQUESTED = _by_sample("headrace.refinement.requested", "a sample is to be rewritten", RefinementRequested)
ROUND_PROGRESSED = _by_dataset(
    "headrace.round.progressed", "all that a round's state depends on, in one order", RoundProgressed, partitions=1
)
ROUND_TIMER = _by_dataset(
    "headrace.round.timer", "wakes a round after a phase's deadline", RoundTimer, partitions=1, delayed=True
)
ROUND_STATE = Topic("headrace.round.state", "each round as it stands", RoundState, KeyedBy.ROUND, _round_key, 1, None)
CHAT_REPLIES = Topic(
    "headrace.chat.replies", "a generating model's paid reply, in the partition of the work it was made for",
    KeptReply, KeyedBy.CALL, _call_key, PARTITIONS, 7 * DAY_MS,
)  # fmt: skip

TOPICS: tuple[Topic, ...] = (
    INGEST, SUBMITTED, SCORED, HELD, PLACED, VALIDATION_REQUESTED, VALIDATED, DECIDED, INDEXED,
    RETRACTION_REQUESTED, POLICY_PUBLISHED, CUT_REQUESTED, COMMITTED,
    CHECKPOINT_PUBLISHED, CHECKPOINT_ROLLED_OUT, CHECKPOINT_REFUSED, ROLLBACK_REQUESTED,
    CHAT_REPLIES,
    ROUND_STEP_REQUESTED, SURVEYED, MEASURED, REFINEMENT_REQUESTED, ROUND_PROGRESSED, ROUND_TIMER, ROUND_STATE,
)  # fmt: skip


def require_dataset_id(dataset_id: str) -> str:
    """The id itself: it becomes part of topic names and object keys.

    Raises:
        ValueError: it is not a plain lower-case name.
    """
    if not DATASET_ID.fullmatch(dataset_id):
        raise ValueError(f"dataset id {dataset_id[:80]!r} must be lower-case letters, digits and hyphens, at most 63")
    return dataset_id


def accepted_topic(dataset_id: str) -> Topic:
    """The accepted-data topic of one dataset: its changelog, keyed by sample id, kept for good.

    Raises:
        ValueError: the dataset id is not a plain lower-case name.
    """
    return Topic(
        f"headrace.accepted.{require_dataset_id(dataset_id)}", "acceptances, revisions and retractions, for trainers",
        AcceptedSample, KeyedBy.SAMPLE, _accepted_key, PARTITIONS, FOREVER,
    )  # fmt: skip


RETRY_SUFFIX = ".retry"
RETRY_RETENTION_MS = 7 * DAY_MS
DLQ_SUFFIX = ".dlq"
DLQ_RETENTION_MS = 90 * DAY_MS
DLQ_PARTITIONS = 1
"""People read dead letters, and want them in order."""


def retry_topic_name(topic: str, group: str) -> str:
    """Where a service's records of a topic wait for another attempt."""
    return f"{topic}.{group}{RETRY_SUFFIX}"


def dlq_topic_name(topic: str, group: str) -> str:
    """Where a service's records of a topic end when they cannot be processed."""
    return f"{topic}.{group}{DLQ_SUFFIX}"


def in_sync_min(replicas: int) -> int:
    """How many replicas of a topic must have a record before it is acknowledged: of several all but one, which may be lost."""
    return max(1, replicas - 1)


def consumer_group_id(topic: str, group: str) -> str:
    """The Kafka group under which a service reads a topic.

    One for each topic, not one for each service: members of a group wait for each other at every rebalance, so a long batch
    from one topic would hold up the others.
    """
    return f"{group}.{topic}"


CONSUMERS: dict[str, tuple[str, ...]] = {
    INGEST.name: ("gateway",),
    SUBMITTED.name: ("scoring",),
    SCORED.name: ("diversity",),
    HELD.name: ("diversity",),
    PLACED.name: ("admission",),
    VALIDATION_REQUESTED.name: ("validation",),
    VALIDATED.name: ("admission",),
    DECIDED.name: ("diversity", "datasets"),
    INDEXED.name: ("datasets",),
    RETRACTION_REQUESTED.name: ("diversity", "datasets"),
    CUT_REQUESTED.name: ("datasets",),
    CHECKPOINT_PUBLISHED.name: ("controller",),
    ROLLBACK_REQUESTED.name: ("controller",),
    ROUND_STEP_REQUESTED.name: ("datasets", "diversity", "controller"),
    SURVEYED.name: ("scoring",),
    MEASURED.name: ("datasets", "diversity"),
    REFINEMENT_REQUESTED.name: ("refinement",),
    ROUND_PROGRESSED.name: ("controller",),
    ROUND_TIMER.name: ("controller",),
    ROUND_STATE.name: ("controller",),
    COMMITTED.name: ("controller",),
    CHECKPOINT_ROLLED_OUT.name: ("controller",),
    CHECKPOINT_REFUSED.name: ("controller",),
}
"""Which services consume a topic exactly once, each with a retry and a dead-letter topic of its own."""

PRODUCERS: dict[str, tuple[str, ...]] = {
    SUBMITTED.name: ("gateway", "refinement", "datasets"),
    SCORED.name: ("scoring", "diversity"),
    HELD.name: ("diversity",),
    PLACED.name: ("diversity",),
    VALIDATION_REQUESTED.name: ("admission",),
    VALIDATED.name: ("validation",),
    DECIDED.name: ("admission",),
    INDEXED.name: ("diversity",),
    POLICY_PUBLISHED.name: ("controller",),
    CUT_REQUESTED.name: ("datasets", "controller"),
    RETRACTION_REQUESTED.name: ("datasets", "admission", "diversity"),
    COMMITTED.name: ("datasets",),
    CHECKPOINT_ROLLED_OUT.name: ("controller",),
    CHECKPOINT_REFUSED.name: ("controller",),
    ROLLBACK_REQUESTED.name: ("controller",),
    ROUND_STEP_REQUESTED.name: ("controller", "datasets", "diversity"),
    SURVEYED.name: ("datasets",),
    MEASURED.name: ("scoring",),
    REFINEMENT_REQUESTED.name: ("datasets", "admission"),
    ROUND_PROGRESSED.name: ("datasets", "diversity", "admission", "refinement", "controller"),
    ROUND_TIMER.name: ("controller",),
    ROUND_STATE.name: ("controller",),
}
"""Which services write a topic. Producers outside write intake; the command line, policies and requests for versions."""
