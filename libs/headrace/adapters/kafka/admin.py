"""Topics and groups: what exists, what should, and how far behind readers are. Blocking; call it from a thread."""

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, MemberToRemove
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
    for_code,
)
from kafka.protocol.consumer import IsolationLevel, OffsetSpec
from kafka.structs import TopicPartition

from headrace.adapters.kafka.streams import START_S, bootstrap_list
from headrace.adapters.kafka.unreachable import BrokerUnreachable, no_answer
from headrace.core.topics import (
    CONSUMERS,
    DLQ_PARTITIONS,
    DLQ_RETENTION_MS,
    RETRY_RETENTION_MS,
    TOPICS,
    accepted_topic,
    consumer_group_id,
    dlq_topic_name,
    in_sync_min,
    retry_topic_name,
)

_CONNECT_S = 2.0
_CONNECT_AGAIN_S = 0.2
_COMING = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)
"""What a broker says of groups in its first seconds, and after another one was lost; the client does not ask again by itself."""
_UNPACKED = {"compression.type": "uncompressed"}
"""The broker unpacks what producers compress, whatever its own default. So its limit is one of unpacked bytes: no reader gets
more than it can hold and hand on, and none needs every codec."""
_TAKEN = _UNPACKED | {"max.message.bytes": str(1_048_588)}
"""A batch as large as brokers take by default; records of ours are smaller (`streams.RECORD_BYTES_MAX`)."""
_RETURNED = _UNPACKED | {"max.message.bytes": str(2 * 1024 * 1024)}
"""Retries and dead letters carry headers of ours beside a record that may be as large as its topic takes."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it is to be; both settings hold the broker's own names.

    `config` is what it is created with, and its owner's to change. `required` is what readers rely on: a topic that exists is
    given it too.
    """

    name: str
    partitions: int
    config: Mapping[str, str]
    required: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ensured:
    """What was done so that the topics of the registry are there; `changed` has what was set, by topic that existed."""

    created: Sequence[str]
    changed: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Gap:
    """How far one group is behind in one partition, in offsets from `committed` to `end` (the last stable offset).

    Offsets are not records: every transaction leaves a marker, so an idle partition keeps a gap of one or more.
    """

    group: str
    topic: str
    partition: int
    committed: int
    end: int

    @property
    def offsets(self) -> int:
        return max(0, self.end - self.committed)


def topic_specs(partitions: int) -> tuple[TopicSpec, ...]:
    """Every topic of the registry, and the retry and dead-letter topics of its consumers.

    `partitions` is for the topics that are split at all; those of one partition keep it. A retry topic has as many as its
    topic; dead letters have one.
    """
    specs = []
    for topic in TOPICS:
        split = partitions if topic.partitions > 1 else 1
        cleanup = {"cleanup.policy": "compact"} if topic.retention_ms is None else {"retention.ms": str(topic.retention_ms)}
        specs.append(TopicSpec(topic.name, split, cleanup, _TAKEN))
        for group in CONSUMERS.get(topic.name, ()):
            specs += consumer_specs(topic.name, group, split)
    return tuple(specs)


def consumer_specs(topic: str, group: str, partitions: int) -> tuple[TopicSpec, TopicSpec]:
    """The retry and the dead-letter topic of one consumer."""
    return (
        TopicSpec(retry_topic_name(topic, group), partitions, {"retention.ms": str(RETRY_RETENTION_MS), **_RETURNED}),
        TopicSpec(dlq_topic_name(topic, group), DLQ_PARTITIONS, {"retention.ms": str(DLQ_RETENTION_MS), **_RETURNED}),
    )


def consumer_groups() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every exactly-once consumer's group id and the topics it reads: its topic and the retries of it."""
    return tuple(
        (consumer_group_id(topic, group), (topic, retry_topic_name(topic, group)))
        for topic, groups in CONSUMERS.items()
        for group in groups
    )


class KafkaAdmin:
    """A connection for administration; a context manager."""

    def __init__(self, bootstrap: str, *, start_s: float = START_S) -> None:
        """Connects.

        Raises:
            BrokerUnreachable: the broker does not answer within `start_s` seconds.
        """
        self._start_s = start_s
        servers = bootstrap_list(bootstrap)
        # A client that cannot connect leaves its sockets and its thread behind, so it is made when somebody is there.
        if not _somebody_listens(servers, start_s):
            raise no_answer(bootstrap, start_s)
        try:
            self._client = KafkaAdminClient(
                bootstrap_servers=servers, bootstrap_timeout_ms=int(start_s * 1000), client_id="headrace-admin"
            )
        except KafkaError as error:
            raise no_answer(bootstrap, start_s) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def topics(self) -> dict[str, int]:
        """The existing topics of Headrace and their partitions."""
        described = self._client.describe_topics()
        return {
            topic["name"]: len(topic["partitions"])
            for topic in sorted(described, key=lambda topic: str(topic["name"]))
            if topic["name"].startswith("headrace.")
        }

    def ensure_topics(self, *, partitions: int, replication_factor: int) -> Ensured:
        """Creates those topics of the registry that are missing. Existing ones stay as they are, but for what readers rely on.

        Raises:
            KafkaError: the broker refused.
        """
        specs = topic_specs(partitions)
        created = self.create(specs, replication_factor=replication_factor)
        return Ensured(created, self._require([spec for spec in specs if spec.required and spec.name not in created]))

    def create_accepted_topic(self, dataset_id: str, *, partitions: int, replication_factor: int) -> bool:
        """Creates a dataset's accepted topic; False where it exists.

        Raises:
            ValueError: the dataset id is not a plain lower-case name.
            KafkaError: the broker refused.
        """
        topic = accepted_topic(dataset_id)
        spec = TopicSpec(topic.name, partitions, {"retention.ms": str(topic.retention_ms)}, _TAKEN)
        return bool(self.create([spec], replication_factor=replication_factor))

    def create(self, specs: Sequence[TopicSpec], *, replication_factor: int) -> list[str]:
        """Creates those topics that are missing, waits until they can be used, and returns their names.

        Raises:
            KafkaError: the broker refused, or did not have them within the time that it may take to answer at first.
        """
        existing = set(self._client.list_topics())
        # Whatever the broker's own default, which is 1: with it a record counts as written that one lost disk takes away.
        in_sync = {"min.insync.replicas": str(in_sync_min(replication_factor))}
        wanted = {
            spec.name: {
                "num_partitions": spec.partitions,
                "replication_factor": replication_factor,
                "configs": {**in_sync, **spec.config, **spec.required},
            }
            for spec in specs
            if spec.name not in existing
        }
        if not wanted:
            return []
        response = self._client.create_topics(wanted, raise_errors=False)
        for topic in response["topics"]:
            error = for_code(topic["error_code"])
            if topic["error_code"] and error is not TopicAlreadyExistsError:  # someone else creates them too
                raise error(f"{topic['name']}: {topic.get('error_message')}")
        self._client.wait_for_topics(list(wanted), timeout_ms=int(self._start_s * 1000))
        return list(wanted)

    def _require(self, specs: Sequence[TopicSpec]) -> dict[str, Mapping[str, str]]:
        """Gives existing topics what they must have; returns what was set. What lies in them already stays as it is."""
        if not specs:
            return {}
        asked = [ConfigResource("topic", spec.name, list(spec.required)) for spec in specs]
        told = self._client.describe_configs(asked, config_filter="all")["topic"]
        missing = {spec.name: _missing(spec.required, told[spec.name]) for spec in specs}
        changed = {name: settings for name, settings in missing.items() if settings}
        if changed:
            resources = [ConfigResource("topic", name, settings) for name, settings in changed.items()]
            answers = self._client.alter_configs(resources, raise_on_unknown=False)["topic"]
            for name, answer in answers.items():
                if answer != "OK":
                    raise KafkaError(f"{name} must have {changed[name]}, which the broker does not set: {answer}")
        return changed

    def gaps(self, groups: Iterable[tuple[str, Sequence[str]]]) -> list[Gap]:
        """How far these groups are behind in their topics; a group that never committed is behind from the beginning.

        Topics that do not exist are left out.

        Raises:
            KafkaError: the broker did not answer.
            BrokerUnreachable: it has no coordinator for the groups within the time that it may take to answer at first.
        """
        groups = list(groups)
        existing = self.topics()
        wanted = {
            group: [TopicPartition(topic, number) for topic in topics for number in range(existing.get(topic, 0))]
            for group, topics in groups
        }
        partitions = {tp for tps in wanted.values() for tp in tps}
        if not partitions:
            return []
        committed = self._offsets_of({group: tps for group, tps in wanted.items() if tps})
        ends = self.ends(partitions)
        beginnings = self._client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
        return [
            Gap(group, tp.topic, tp.partition, _committed(committed.get(group, {}), tp, beginnings[tp].offset), ends[tp])
            for group, tps in wanted.items()
            for tp in tps
        ]

    def dismiss(self, client_ids: Mapping[str, str]) -> int:
        """Takes the members with these client ids (by group) out of their groups; returns how many there were.

        A member that died in silence keeps its partitions until its session ends; whoever knows that it is dead need not wait.

        Raises:
            BrokerUnreachable: the broker refused, or has no coordinator yet.
        """
        dismissed = 0
        try:
            described = self._client.describe_groups(list(client_ids))
            for group, client_id in client_ids.items():
                members = described.get(group, {}).get("members") or ()
                gone = [MemberToRemove(member_id=each["member_id"]) for each in members if each["client_id"] == client_id]
                if gone:
                    self._client.remove_group_members(group, gone)
                    dismissed += len(gone)
        except KafkaError as error:
            raise BrokerUnreachable(f"Kafka does not let members go: {error}") from error
        return dismissed

    def _offsets_of(self, wanted: Mapping[str, Sequence[TopicPartition]]) -> Mapping[str, Any]:
        deadline = time.monotonic() + self._start_s
        while True:
            try:
                offsets: Mapping[str, Any] = self._client.list_group_offsets(wanted)
            except _COMING as error:
                if time.monotonic() > deadline:
                    raise BrokerUnreachable(
                        f"Kafka has no coordinator for its groups within {self._start_s:g} s: {error}"
                    ) from error
                time.sleep(_CONNECT_AGAIN_S)
            else:
                return offsets

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The last stable offset of each partition: where a reader of committed records ends."""
        specs = dict.fromkeys(partitions, OffsetSpec.LATEST)
        found = self._client.list_partition_offsets(specs, isolation_level=IsolationLevel.READ_COMMITTED)
        return {tp: at.offset for tp, at in found.items()}


def _missing(required: Mapping[str, str], told: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
    return {name: value for name, value in required.items() if told.get(name, {}).get("value") != value}


def _committed(offsets: Mapping[Any, Any], tp: TopicPartition, beginning: int) -> int:
    at = offsets.get(tp)
    return beginning if at is None or at.offset < 0 else max(int(at.offset), beginning)


def _somebody_listens(servers: Sequence[str], start_s: float) -> bool:
    deadline = time.monotonic() + start_s
    while True:
        for server in servers:
            host, _, port = server.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
            except (OSError, ValueError):
                continue
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_CONNECT_AGAIN_S)
