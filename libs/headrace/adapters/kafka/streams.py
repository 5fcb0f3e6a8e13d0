"""Publishing and reading events outside the exactly-once hops: the door, the command line, followers of a topic."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import RecordMetadata

from headrace.adapters.claim_check import LargeBodies, detached, reference_in
from headrace.adapters.kafka import mend, unreadable  # noqa: F401  # before the first consumer
from headrace.adapters.kafka.fetch_wait import LONG_MS, set_fetch_wait
from headrace.adapters.kafka.renewed_producer import RenewedProducer
from headrace.adapters.kafka.unreachable import BrokerUnreachable, no_answer
from headrace.adapters.wire import events as wire
from headrace.adapters.wire.envelope import DATA_REFERENCE, Record, event_of, record_of, texts_of
from headrace.core.events import Event, Position, Send, Stop
from headrace.core.topics import Topic

START_S = 10.0
"""Longest wait for a broker at start; services wait as long as HEADRACE_KAFKA_START_S says."""
RECORD_BYTES_MAX = 1_000_000
"""Largest record written; a broker takes 1,048,588 bytes with its envelope unless told otherwise."""
_RECONNECT_S = 0.5
_QUIET_S = 3.0
"""A broker that has not answered for so long is spoken of."""
_log = logging.getLogger("headrace.kafka")

Start = Literal["beginning", "end"]


def bootstrap_list(bootstrap: str) -> list[str]:
    """Comma-separated servers as the list that clients want: they take a joined string for one host.

    Raises:
        BrokerUnreachable: none is named.
    """
    servers = [server.strip() for server in bootstrap.split(",") if server.strip()]
    if not servers:
        raise no_answer(bootstrap, 0)
    return servers


async def reach(start: Callable[[], Awaitable[None]], bootstrap: str, start_s: float = START_S) -> None:
    """Starts a client, trying again until the broker answers.

    Raises:
        BrokerUnreachable: it did not within `start_s` seconds.
    """
    told = asyncio.get_running_loop().call_later(_QUIET_S, _tell, bootstrap, start_s) if start_s > _QUIET_S else None
    try:
        async with asyncio.timeout(start_s):
            while True:
                try:
                    return await start()
                except KafkaConnectionError:
                    await asyncio.sleep(_RECONNECT_S)
    except TimeoutError:
        raise no_answer(bootstrap, start_s) from None
    finally:
        if told is not None:
            told.cancel()


def _tell(bootstrap: str, start_s: float) -> None:
    _log.warning("Kafka does not answer yet at %s (HEADRACE_KAFKA); it is waited for, %g s at most", bootstrap, start_s)


class EventPublisher:
    """Publishes events with acks=all and idempotence: each is written once, unless it is published twice.

    A write that failed fails alone: those that are published afterwards are written by a fresh producer.

    `source` names who speaks, as `headrace/<service>`. Bodies too large for a record go to `large_bodies` before they are
    published; without them, such an event is refused.
    """

    def __init__(self, bootstrap: str, source: str, *, start_s: float = START_S, large_bodies: LargeBodies | None = None) -> None:
        self._bootstrap = bootstrap
        self._source = source
        self._start_s = start_s
        self._large_bodies = large_bodies if large_bodies is not None and large_bodies.configured else None
        self._producer = RenewedProducer(self._started_producer, wait_s=start_s)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connects.

        Raises:
            BrokerUnreachable: the broker does not answer in time.
        """
        await self._producer.start()

    async def stop(self) -> None:
        """Waits for what was published and disconnects."""
        await self._producer.stop()

    async def enqueue(
        self, send: Send, *, event_id: str, headers: Mapping[str, str] | None = None
    ) -> "asyncio.Future[RecordMetadata]":
        """Queues one event; the future is done once Kafka has it. `headers` may carry a trace.

        Waits while the queue of the event's partition is full, so a slow broker slows the caller.

        Raises:
            TypeError, ValueError: the body does not fit the topic or is too large.
            KafkaError: it cannot be queued now.
            Stop: it is large, and the object store is gone.
        """
        record = record_of(send, event_id=event_id, source=self._source, trace=headers or {})
        return await self._write(record)

    async def publish(self, send: Send, *, event_id: str, headers: Mapping[str, str] | None = None) -> Position:
        """Publishes one event and returns where it lies, once all replicas in sync have it.

        Raises:
            TypeError, ValueError: the body does not fit the topic or is too large.
            KafkaError: the broker refused it.
            Stop: it is large, and the object store is gone.
        """
        return _position(await (await self.enqueue(send, event_id=event_id, headers=headers)))

    async def publish_many(self, sends: Iterable[tuple[str, Send]]) -> list[Position]:
        """Publishes events, each with its id, one behind the other without waiting for each; returns where they lie.

        Raises as `publish` does; some of the events may have been written then.
        """
        futures = [await self.enqueue(send, event_id=event_id) for event_id, send in sends]
        return [_position(metadata) for metadata in await asyncio.gather(*futures)]

    async def ping(self) -> None:
        """Returns when the broker answers; raises KafkaError when it does not, or gives no producer id after a failed write."""
        producer = await self._producer.current()
        if not await producer.client.force_metadata_update():
            raise KafkaConnectionError(f"Kafka does not answer at {self._bootstrap}")

    async def _write(self, record: Record) -> "asyncio.Future[RecordMetadata]":
        size, large_bodies = len(record.value or b""), self._large_bodies
        if large_bodies is not None and large_bodies.limits.bytes_min < size <= large_bodies.limits.bytes_max:
            body = record.value or b""
            record, key = detached(record)
            await large_bodies.put({key: body})
        elif large_bodies is not None and size > large_bodies.limits.bytes_max:
            limit = f"HEADRACE_DELIVERY_CLAIM_BYTES_MAX ({large_bodies.limits.bytes_max})"
            raise ValueError(f"an event of {size} bytes is above {limit}")
        elif size > RECORD_BYTES_MAX:
            raise ValueError(f"an event of {size} bytes is larger than a record may be ({RECORD_BYTES_MAX})")
        return await self._producer.send(record)

    async def _started_producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_list(self._bootstrap),
            acks="all",
            enable_idempotence=True,
            max_batch_size=RECORD_BYTES_MAX,
        )
        try:
            await reach(producer.start, self._bootstrap, self._start_s)
        except BaseException:
            await producer.stop()
            raise
        return producer


class RecordReader:
    """Reads whole topics, committed records only, without a group: it leaves no trace and shares with nobody.

    With `large_bodies`, records that refer to a body in the object store come with that body as their value; where it is
    missing or altered, and without `large_bodies`, they come as they are, and `event_of` says that they are undecodable.
    Reading raises Stop while the store is gone, KafkaError for what cannot be read; whoever reads on afterwards misses nothing.
    """

    def __init__(self, consumer: AIOKafkaConsumer, bootstrap: str, large_bodies: LargeBodies | None) -> None:
        self._consumer = consumer
        self._bootstrap = bootstrap
        self._large_bodies = large_bodies
        self._next: dict[TopicPartition, int] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls,
        bootstrap: str,
        topics: Sequence[str],
        *,
        start: Start = "beginning",
        start_s: float = START_S,
        large_bodies: LargeBodies | None = None,
    ) -> AsyncIterator[Self]:
        """A reader of all partitions of these topics.

        Raises:
            BrokerUnreachable: the broker does not answer in time, or a topic does not exist.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_list(bootstrap),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
        )
        try:
            await reach(consumer.start, bootstrap, start_s)
            reader = cls(consumer, bootstrap, large_bodies)
            await reader._assign(topics, start)
            yield reader
        finally:
            await consumer.stop()

    async def until_now(self) -> AsyncIterator[ConsumerRecord]:
        """The records up to the ends that the partitions have at the time of the call.

        What was written meanwhile may come with them: it was read, and whoever goes on with this reader must not miss it.
        """
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        while [tp for tp, end in ends.items() if await self._consumer.position(tp) < end]:
            async for record in self._poll():
                yield record

    async def __aiter__(self) -> AsyncIterator[ConsumerRecord]:
        set_fetch_wait(self._consumer, LONG_MS)
        while True:
            async for record in self._poll():
                yield record

    def seek(self, position: Position) -> None:
        """Goes on from there in that partition."""
        self._seek(TopicPartition(position.topic, position.partition), position.offset)

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        self._consumer.seek(tp, offset)
        self._next[tp] = offset

    async def _poll(self) -> AsyncIterator[ConsumerRecord]:
        try:
            batches = await self._consumer.getmany(timeout_ms=200)
        except Exception:  # what it had read of other partitions went with it, and whoever reads on must not miss that
            for tp, offset in self._next.items():
                self._consumer.seek(tp, offset)
            raise
        self._next |= {tp: batch[-1].offset + 1 for tp, batch in batches.items() if batch}
        records = [record for batch in batches.values() for record in batch]
        for index, record in enumerate(records):
            try:
                whole = record if record.value else await self._whole(record)
            except Stop:
                for unread in reversed(records[index:]):  # so that the earliest of each partition has the last word
                    self.seek(Position(unread.topic, unread.partition, unread.offset))
                raise
            yield whole

    async def _whole(self, record: ConsumerRecord) -> ConsumerRecord:
        try:
            reference = reference_in(record.value, record.headers)
            if reference is None or self._large_bodies is None:
                return record
            return replace(record, value=await self._large_bodies.get(reference))
        except wire.Undecodable as error:
            _log.warning("%s[%d]@%d: %s", record.topic, record.partition, record.offset, error)
            return record

    async def _assign(self, topics: Sequence[str], start: Start) -> None:
        partitions = []
        for topic in topics:
            numbers = await partitions_of(self._consumer, topic, self._bootstrap)
            partitions += [TopicPartition(topic, number) for number in sorted(numbers)]
        self._consumer.assign(partitions)
        at = self._consumer.beginning_offsets if start == "beginning" else self._consumer.end_offsets
        for tp, offset in (await at(partitions)).items():
            self._seek(tp, offset)


async def partitions_of(consumer: AIOKafkaConsumer, topic: str, bootstrap: str) -> set[int]:
    """The numbers of a topic's partitions, asked of the broker.

    Raises:
        BrokerUnreachable: there is no such topic.
    """
    deadline = time.monotonic() + 5
    client = consumer._client  # noqa: SLF001  # the public partitions_for_topic() never asks the broker
    while True:
        with contextlib.suppress(UnknownTopicOrPartitionError):
            await client.add_topic(topic)
        numbers: set[int] | None = client.cluster.partitions_for_topic(topic)
        if numbers:
            return numbers
        if time.monotonic() > deadline:
            raise BrokerUnreachable(f"topic {topic} does not exist at {bootstrap}: run `headrace topics create`")
        await asyncio.sleep(0.1)
        await client.force_metadata_update()


async def read_topic(
    topic: Topic,
    bootstrap: str,
    *,
    start: Start = "beginning",
    until_now: bool = False,
    start_s: float = START_S,
    large_bodies: LargeBodies | None = None,
) -> AsyncGenerator[Event[Any], None]:
    """The committed events of a topic, in order within each partition; what cannot be decoded is left out.

    So are, with a warning, events whose bodies lie in the object store where no `large_bodies` are given.

    With `until_now` it ends soon after where the topic ended at the call, else it goes on until the caller stops. Whoever
    stops early closes it (`contextlib.aclosing`), which disconnects.

    Raises:
        BrokerUnreachable: the broker does not answer in time, or the topic does not exist.
        Stop: a body lies in the object store, which is gone.
    """
    async with RecordReader.opened(bootstrap, [topic.name], start=start, start_s=start_s, large_bodies=large_bodies) as reader:
        async for record in reader.until_now() if until_now else reader:
            event = decoded(topic, record)
            if event is not None:
                yield event


def decoded(topic: Topic, record: ConsumerRecord) -> Event[Any] | None:
    """The event in a record that aiokafka read, or None where there is none."""
    position = Position(record.topic, record.partition, record.offset)
    headers = texts_of(record.headers)
    try:
        return event_of(topic, position, record.key, record.value, record.timestamp, headers)
    except wire.Undecodable as error:
        if not record.value and DATA_REFERENCE in headers:
            _log.warning("%s[%d]@%d is left out: %s", record.topic, record.partition, record.offset, error)
        return None


def _position(metadata: RecordMetadata) -> Position:
    return Position(metadata.topic, metadata.partition, metadata.offset)


__all__ = [
    "BrokerUnreachable", "EventPublisher", "KafkaError", "RecordReader", "bootstrap_list", "decoded", "partitions_of", "reach",
    "read_topic",
]  # fmt: skip
