"""Transactions: outputs and the consumed offset become visible together, or not at all.

aiokafka's connections and record batches, but not its producer, whose transactions are those of Kafka 0.11: each partition and
the group are announced before they are written to, one round trip after the other, by a task of its own. A service's
transactions are many and small, so this is most of what they cost it.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
from typing import Any, TypeVar

from aiokafka import TopicPartition, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol import transaction

from headrace.adapters.kafka.partitioning import partition_of
from headrace.adapters.kafka.streams import bootstrap_list
from headrace.adapters.kafka.transaction_dialects import Producer, dialect_of
from headrace.adapters.wire.envelope import Record

_BATCH_BYTES = 1_000_000
"""One batch of outputs to one partition; a broker takes 1,048,588 bytes unless told otherwise."""
_AGAIN_S = 0.005
_SETTLING_S = 0.01
"""So soon after a transaction its markers may still be being written, and the next one has to wait for them. A broker that meets
a batch meanwhile lets it lie for 20 ms; an offset is answered at once. So the offset goes first then, and the batches behind it.
"""
_METADATA_S = 5.0
_CLOSE_S = 1.0
_GROUP, _TRANSACTION = 0, 1
_SEQUENCES = 2**31
_PRODUCER_FENCED = 90
_FENCED = frozenset({errors.InvalidProducerEpoch.errno, _PRODUCER_FENCED})
_PASSING = frozenset({
    errors.NotLeaderForPartitionError.errno,  # of a new topic nobody is at first
    errors.ConcurrentTransactions.errno,  # the markers of the last transaction are still being written
    errors.GroupLoadInProgressError.errno,  # so are the group's coordinators, and those of transactions
    errors.GroupCoordinatorNotAvailableError.errno,
    errors.NotEnoughReplicasError.errno,
    errors.NotEnoughReplicasAfterAppendError.errno,
})  # fmt: skip
_MOVED = frozenset({errors.NotCoordinatorForGroupError.errno})
"""Looked for again at the start; of a broker's first transactions it is not known at once who coordinates them."""
_WRITTEN_BEFORE = errors.DuplicateSequenceNumber.errno
_T = TypeVar("_T")


class TopicMissing(Exception):
    """An output's topic does not exist."""


class TransactionalWriter:
    """Writes transactions under one transactional id, one after the other, for one group.

    After any error it is unusable, and whether the transaction took place is settled by whoever next starts a writer with
    its transactional id.
    """

    def __init__(self, bootstrap: str, transactional_id: str, group: str, *, client_id: str, timeout_ms: int) -> None:
        self._id = transactional_id
        self._group = group
        self._timeout_ms = timeout_ms
        self._client = AIOKafkaClient(bootstrap_servers=bootstrap_list(bootstrap), client_id=client_id)
        self._sequences: dict[TopicPartition, int] = defaultdict(int)
        self._settled_at = 0.0

    async def start(self) -> None:
        """Shuts out every earlier writer of this transactional id and settles what it left open.

        Raises:
            KafkaError: the broker refuses, or does not answer. Coordinators that come up are waited for: the caller bounds it.
        """
        await self._client.bootstrap()
        while True:
            try:
                return await self._shut_others_out()
            except errors.BrokerResponseError as error:
                if error.errno not in _PASSING | _MOVED:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def write(self, records: Sequence[Record], source: TopicPartition, offset: int, metadata: str = "") -> None:
        """Writes the records and the group's offset in `source`, with the metadata beside it, as one transaction.

        Raises:
            ProducerFenced: another writer has started, or the transaction took longer than its time-out.
            TopicMissing: an output's topic does not exist.
            KafkaError: the broker refuses, or does not answer.
        """
        batches = await self._batches(records)
        if self._dialect.announces:
            await self._announce(batches)
        if time.monotonic() < self._settled_at:
            await self._with_offset(source, offset, metadata)
            await self._produced(batches)
        else:
            await _all(self._produced(batches), self._with_offset(source, offset, metadata))
        await self._commit()
        self._settled_at = time.monotonic() + _SETTLING_S

    async def close(self) -> None:
        """Closes its connections, whatever is still on its way through them."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_S):
                await self._client.close()

    async def _shut_others_out(self) -> None:
        self._coordinator = await self._client.coordinator_lookup(_TRANSACTION, self._id)
        self._group_coordinator = await self._client.coordinator_lookup(_GROUP, self._group)
        self._dialect = await dialect_of(self._client, self._coordinator)
        request = transaction.InitProducerIdRequest(self._id, self._timeout_ms)
        answer = await self._asked(self._coordinator, request, lambda answer: [answer.error_code])
        self._producer: Producer = (answer.producer_id, answer.producer_epoch)

    async def _announce(self, batches: Iterable[TopicPartition]) -> None:
        offsets = transaction.AddOffsetsToTxnRequest(self._id, *self._producer, self._group)
        asked = [self._asked(self._coordinator, offsets, lambda answer: [answer.error_code])]
        topics = _by_topic((tp, tp.partition) for tp in batches)
        if topics:
            partitions = transaction.AddPartitionsToTxnRequest(self._id, *self._producer, list(topics.items()))
            asked.append(self._asked(self._coordinator, partitions, lambda answer: _codes(answer.errors)))
        await _all(*asked)

    async def _produced(self, batches: dict[TopicPartition, list[BatchBuilder]]) -> None:
        """Writes all batches, of each partition in order: a request has at most one for each."""
        while batches:
            left = {tp: self._built(tp, first) for tp, (first, *_) in batches.items()}
            while left := await self._refused(left):
                await asyncio.sleep(_AGAIN_S)
                await self._client.force_metadata_update()
            batches = {tp: rest for tp, (_, *rest) in batches.items() if rest}

    async def _refused(self, built: dict[TopicPartition, bytes]) -> dict[TopicPartition, bytes]:
        """Writes one batch to each partition; returns those that are not written yet, for a reason that passes by itself."""
        by_leader: dict[int, list[TopicPartition]] = defaultdict(list)
        for tp in built:
            by_leader[self._leader(tp)].append(tp)
        requests = (self._client.send(leader, self._writing({tp: built[tp] for tp in tps})) for leader, tps in by_leader.items())
        outcomes = chain.from_iterable(_outcomes(answer.topics) for answer in await _all(*requests))
        return {
            tp: built[tp] for tp, code in outcomes if code != _WRITTEN_BEFORE and not _succeeded([code], _named(tp, built[tp]))
        }

    def _writing(self, built: dict[TopicPartition, bytes]) -> Any:
        batches = _by_topic((tp, (tp.partition, batch)) for tp, batch in built.items())
        return self._dialect.write(self._id, self._timeout_ms, batches)

    def _built(self, tp: TopicPartition, batch: BatchBuilder) -> bytes:
        batch._set_producer_state(*self._producer, self._sequences[tp])  # noqa: SLF001  # aiokafka's sender does the same
        self._sequences[tp] = (self._sequences[tp] + batch.record_count()) % _SEQUENCES
        built: bytes = batch._build()  # noqa: SLF001  # likewise
        return built

    async def _with_offset(self, source: TopicPartition, offset: int, metadata: str) -> None:
        request = self._dialect.commit_offset(self._id, self._producer, self._group, source, offset, metadata)
        await self._asked(self._group_coordinator, request, lambda answer: _codes(answer.errors))

    async def _commit(self) -> None:
        request = self._dialect.end(self._id, self._producer)
        answer = await self._asked(self._coordinator, request, lambda answer: [answer.error_code])
        following = self._dialect.following(self._producer, answer)
        if following != self._producer:
            self._producer = following
            self._sequences.clear()  # each epoch counts its batches anew

    async def _asked(self, node: int, request: Any, codes_of: Callable[[Any], Iterable[int]]) -> Any:
        """The answer to a request, asked again while what is in its way passes by itself."""
        while True:
            answer = await self._client.send(node, request)
            if _succeeded(codes_of(answer), type(request).__name__):
                return answer
            await asyncio.sleep(_AGAIN_S)

    async def _batches(self, records: Sequence[Record]) -> dict[TopicPartition, list[BatchBuilder]]:
        """The records as batches by target partition, in order."""
        partitions = {topic: await self._partitions_of(topic) for topic in {record.topic for record in records}}
        batches: dict[TopicPartition, list[BatchBuilder]] = defaultdict(list)
        for record in records:
            numbers = partitions[record.topic]
            builders = batches[TopicPartition(record.topic, partition_of(record.key, numbers))]
            if not builders or not _append(builders[-1], record):
                builders.append(BatchBuilder(_BATCH_BYTES, 0, is_transactional=True))
                _append(builders[-1], record)  # an empty one takes any
        return batches

    async def _partitions_of(self, topic: str) -> list[int]:
        try:
            async with asyncio.timeout(_METADATA_S):
                return sorted(await self._client._wait_on_metadata(topic))  # noqa: SLF001  # as aiokafka's producer does
        except TimeoutError:
            raise TopicMissing(f"topic {topic} does not exist, or its broker does not answer") from None

    def _leader(self, tp: TopicPartition) -> int:
        leader: int | None = self._client.cluster.leader_for_partition(tp)
        if leader is None or leader < 0:
            raise errors.LeaderNotAvailableError(tp)
        return leader


def _named(tp: TopicPartition, batch: bytes) -> str:
    return f"{len(batch)} bytes for {tp.topic}-{tp.partition}"


def _succeeded(codes: Iterable[int], asked: str) -> bool:
    """Whether the answer to what was asked has no error; False where what it has passes by itself.

    Raises:
        ProducerFenced: another writer has started, or the transaction took too long.
        KafkaError: any other error.
    """
    found = {code for code in codes if code}
    for code in sorted(found - _PASSING):  # the first: a later one may only say that another partition's is in its way
        raise errors.ProducerFenced if code in _FENCED else errors.for_code(code)(f"{asked}: the broker answers with code {code}")
    return not found


async def _all(*parts: Awaitable[Any]) -> list[Any]:
    """What all come to; at the first that fails the others are left alone."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _by_topic(parts: Iterable[tuple[TopicPartition, _T]]) -> dict[str, list[_T]]:
    topics: dict[str, list[_T]] = defaultdict(list)
    for tp, part in parts:
        topics[tp.topic].append(part)
    return topics


def _outcomes(topics: Iterable[tuple[Any, ...]]) -> Iterable[tuple[TopicPartition, int]]:
    """The error code of each partition in an answer by topics and partitions."""
    return ((TopicPartition(topic, part[0]), part[1]) for topic, parts, *_ in topics for part in parts)


def _codes(topics: Iterable[tuple[Any, ...]]) -> Iterable[int]:
    return (code for _, code in _outcomes(topics))


def _append(builder: BatchBuilder, record: Record) -> bool:
    return builder.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers)) is not None
