"""What a transaction asks of a broker, in the two dialects that brokers speak.

In the older one, that of Kafka 0.11, partitions and group are announced before they are written to. In the newer one (KIP-890,
Kafka 4.0) they become part of a transaction by being written to, and every transaction ends with a new epoch of its producer,
so that no message of an earlier one can find its way into a later one.
"""

from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.protocol import produce, transaction

from headrace.adapters.kafka import transaction_requests as newer

Producer = tuple[int, int]
"""Id and epoch."""
_NO_TAGS: dict[int, bytes] = {}
_ALL_IN_SYNC = -1
_NO_MEMBER = (-1, "", None)
"""The offset is not committed as a member of the group: the transactional id fences."""


class Dialect(Protocol):
    """How what a transaction does is asked for; `announces` says that what is written to has to be named before."""

    announces: bool

    def write(self, transactional_id: str, timeout_ms: int, batches: dict[str, list[tuple[int, bytes]]]) -> Any:
        """Asks for batches, by topic and partition, to be written; answered by `topics`."""

    def commit_offset(
        self, transactional_id: str, producer: Producer, group: str, source: TopicPartition, offset: int, metadata: str
    ) -> Any:
        """Asks for the group's offset to be moved; answered by `errors`."""

    def end(self, transactional_id: str, producer: Producer) -> Any:
        """Asks for the commit; answered by an `error_code`."""

    def following(self, producer: Producer, answer: Any) -> Producer:
        """The producer of the next transaction, after that answer to `end`."""


class OlderDialect:
    """What every broker understands."""

    announces = True

    def write(self, transactional_id: str, timeout_ms: int, batches: dict[str, list[tuple[int, bytes]]]) -> Any:
        return produce.ProduceRequest(transactional_id, _ALL_IN_SYNC, timeout_ms, list(batches.items()))

    def commit_offset(
        self, transactional_id: str, producer: Producer, group: str, source: TopicPartition, offset: int, metadata: str
    ) -> Any:
        topics = [(source.topic, [(source.partition, offset, metadata)])]
        return transaction.TxnOffsetCommitRequest(transactional_id, group, *producer, topics)

    def end(self, transactional_id: str, producer: Producer) -> Any:
        return transaction.EndTxnRequest(transactional_id, *producer, True)

    def following(self, producer: Producer, answer: Any) -> Producer:  # noqa: ARG002  # it says nothing of it
        return producer


class NewerDialect:
    """What a cluster understands whose feature `transaction.version` is at least `LEVEL`."""

    LEVEL = 2
    announces = False

    def write(self, transactional_id: str, timeout_ms: int, batches: dict[str, list[tuple[int, bytes]]]) -> Any:
        topics = [(topic, [(*batch, _NO_TAGS) for batch in each], _NO_TAGS) for topic, each in batches.items()]
        return newer.ProduceRequest(transactional_id, _ALL_IN_SYNC, timeout_ms, topics, _NO_TAGS)

    def commit_offset(
        self, transactional_id: str, producer: Producer, group: str, source: TopicPartition, offset: int, metadata: str
    ) -> Any:
        topics = [(source.topic, [(source.partition, offset, -1, metadata, _NO_TAGS)], _NO_TAGS)]
        return newer.TxnOffsetCommitRequest(transactional_id, group, *producer, *_NO_MEMBER, topics, _NO_TAGS)

    def end(self, transactional_id: str, producer: Producer) -> Any:
        return newer.EndTxnRequest(transactional_id, *producer, True, _NO_TAGS)

    def following(self, producer: Producer, answer: Any) -> Producer:  # noqa: ARG002  # the answer names the next
        return answer.producer_id, answer.producer_epoch


async def dialect_of(client: Any, node: int) -> Dialect:
    """The newer one where the whole cluster has agreed on it, as one of its nodes tells."""
    try:
        answer = await client.send(node, newer.ApiVersionsRequest("headrace", "1", _NO_TAGS))
    except NotImplementedError:
        return OlderDialect()
    return NewerDialect() if answer.finalized("transaction.version") >= NewerDialect.LEVEL else OlderDialect()
