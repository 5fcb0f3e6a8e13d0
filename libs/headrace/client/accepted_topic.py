"""The accepted topic of one dataset, read in committed order: partitions, offsets, and records as items."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from headrace.adapters.claim_check import LargeBodies, reference_in
from headrace.adapters.kafka.streams import bootstrap_list, partitions_of, reach
from headrace.adapters.kafka.unreachable import BrokerUnreachable
from headrace.adapters.wire.fields import Undecodable
from headrace.client.accepted import Item, item_from
from headrace.client.chunks import Chunk
from headrace.client.limits import PositionGone, SubscribeLimits, UnreadableRecord
from headrace.core.events import Stop
from headrace.core.sharing import Slice, slices_of
from headrace.core.topics import accepted_topic

_POLL_MS = 200
_POLL_ROWS_MAX = 2_000
"""Records decoded at a time: that happens in the caller's event loop, which stands still meanwhile."""
_PROBE_S = 5.0
"""How long the topic is silent before the broker is asked whether it is there."""
_AGAIN_S = 1.0
_FETCH_BYTES_MIN = 64 * 1024


Wanted = Callable[[int, int, Item], bool]
"""Whether an item in (partition, offset) is handed out."""


class AcceptedTopic:
    """A share of an accepted topic: partitions, or slices of them. Nothing is committed: the position is the caller's."""

    def __init__(
        self, consumer: AIOKafkaConsumer, bootstrap: str, topic: str, bodies: LargeBodies, limits: SubscribeLimits
    ) -> None:
        self._consumer = consumer
        self._bootstrap = bootstrap
        self._topic = topic
        self._bodies = bodies
        self._limits = limits
        self._assigned: list[TopicPartition] = []
        self._slices: dict[int, Slice] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, bootstrap: str, dataset_id: str, share: tuple[int, int], bodies: LargeBodies, limits: SubscribeLimits
    ) -> AsyncIterator[Self]:
        """The topic, connected.

        Raises:
            BrokerUnreachable: the broker does not answer in time, or there is no such topic.
        """
        fetch_bytes = max(_FETCH_BYTES_MIN, limits.prefetch_bytes)
        async with _consumer(
            bootstrap,
            limits.patience_s,
            isolation_level="read_committed",
            auto_offset_reset="none",
            fetch_max_wait_ms=100,
            fetch_max_bytes=fetch_bytes,
            max_partition_fetch_bytes=max(_FETCH_BYTES_MIN, fetch_bytes // 4),
        ) as consumer:
            topic = cls(consumer, bootstrap, accepted_topic(dataset_id).name, bodies, limits)
            try:
                numbers = sorted(await partitions_of(consumer, topic._topic, bootstrap))
            except BrokerUnreachable as error:  # it answers, but has no such topic
                raise BrokerUnreachable(
                    f"no such dataset at {bootstrap}: {dataset_id} has no topic there; `headrace dataset create` makes one"
                ) from error
            topic._slices = {numbers[source]: part for source, part in slices_of(len(numbers), share).items()}
            topic._assigned = [TopicPartition(topic._topic, number) for number in topic._slices]
            consumer.assign(topic._assigned)
            yield topic

    async def beginnings(self) -> dict[int, int]:
        """The first offset that each partition still has."""
        return _by_number(await self._consumer.beginning_offsets(self._assigned))

    async def ends(self) -> dict[int, int]:
        """Behind the last record of each partition that is settled: what came before it is visible or never will be."""
        return _by_number(await self._consumer.end_offsets(self._assigned))

    async def written_ends(self) -> dict[int, int]:
        """Behind the last record of each partition, in open transactions too."""
        async with _consumer(self._bootstrap, self._limits.patience_s, isolation_level="read_uncommitted") as consumer:
            await partitions_of(consumer, self._topic, self._bootstrap)  # else it asks in vain first, and waits
            return _by_number(await consumer.end_offsets(self._assigned))

    async def first_since(self, unix_seconds: float) -> dict[int, int]:
        """The first settled record of each partition with this time or a later one; where there is none, the end."""
        ends = await self.ends()  # before the question, so that what comes in between is not skipped
        wanted = dict.fromkeys(self._assigned, max(0, int(unix_seconds * 1000)))
        found = await self._consumer.offsets_for_times(wanted) if wanted else {}
        return {tp.partition: at.offset if (at := found.get(tp)) else ends[tp.partition] for tp in self._assigned}

    async def require(self, offsets: Mapping[int, int]) -> None:
        """Raises PositionGone where a position lies outside the topic, or of other partitions."""
        begins, ends = await self.beginnings(), await self.written_ends()
        if offsets.keys() != begins.keys():
            raise PositionGone(f"{self._topic}: the position has partitions {sorted(offsets)}, the topic has {sorted(begins)}")
        for number, offset in offsets.items():
            if not begins[number] <= offset <= ends[number]:
                raise PositionGone(
                    f"{self._topic}[{number}]: offset {offset} of the position is not in the topic, which holds "
                    f"{begins[number]} to {ends[number]}: begin again, or from a version"
                )

    async def chunks(
        self, offsets: Mapping[int, int], ends: Mapping[int, int] | None, wanted: Wanted
    ) -> AsyncGenerator[Chunk, None]:
        """The records from these offsets on, in order within each partition; up to `ends`, or for ever. Without partitions, none.

        Raises:
            PositionGone: records were deleted before they were read.
            UnreadableRecord: a record is no accepted sample, or its body is missing.
            BrokerUnreachable, Stop: the broker or the object store stayed away.
        """
        if not self._assigned:
            return
        for tp in self._assigned:
            self._consumer.seek(tp, offsets[tp.partition])
        open_ends = {number: end for number, end in (ends or {}).items() if offsets[number] < end}
        heard = time.monotonic()
        while ends is None or open_ends:
            batches = await self._polled()
            for tp, records in batches.items():
                async for chunk in self._chunks(tp.partition, records, None if ends is None else ends[tp.partition], wanted):
                    yield chunk
            for number in list(open_ends):
                if await self._consumer.position(TopicPartition(self._topic, number)) >= open_ends[number]:
                    del open_ends[number]
                    self._consumer.pause(TopicPartition(self._topic, number))
            if batches:
                heard = time.monotonic()
            elif time.monotonic() - heard >= _PROBE_S:
                await self._probe()
                heard = time.monotonic()

    async def _polled(self) -> dict[TopicPartition, list[ConsumerRecord]]:
        try:
            batches: dict[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(
                timeout_ms=_POLL_MS, max_records=max(1, min(self._limits.prefetch_rows // 2, _POLL_ROWS_MAX))
            )
        except OffsetOutOfRangeError as error:
            raise PositionGone(f"{self._topic}: records were deleted before they were read: {error}") from error
        return batches

    async def _chunks(
        self, number: int, records: list[ConsumerRecord], end: int | None, wanted: Wanted
    ) -> AsyncGenerator[Chunk, None]:
        chunk, weight = Chunk(), 0
        for record in records:
            if end is not None and record.offset >= end:
                break
            chunk.after[number] = record.offset + 1
            if not self._slices[number].has(record.key or b""):
                continue
            value = record.value or await self._body(record)
            try:
                item = item_from(value)
            except Undecodable as error:
                raise UnreadableRecord(f"{_place(record)}: {error}") from error
            if wanted(number, record.offset, item):
                chunk.items.append(item)
                chunk.places.append((number, record.offset + 1))
                weight += len(value)
            if weight >= self._limits.prefetch_bytes // 2:
                yield chunk
                chunk, weight = Chunk(), 0
        if chunk.after:
            yield chunk

    async def _body(self, record: ConsumerRecord) -> bytes:
        """A body that lies in the object store, which is waited for if it is gone."""
        deadline = time.monotonic() + self._limits.patience_s
        try:
            reference = reference_in(record.value, record.headers)
            if reference is None:
                return b""
            while True:
                try:
                    return await self._bodies.get(reference)
                except Stop as stop:
                    if not self._bodies.configured or time.monotonic() >= deadline:
                        raise Stop(f"{_place(record)}: {stop}") from stop
                    await asyncio.sleep(_AGAIN_S)
        except Undecodable as error:
            raise UnreadableRecord(f"{_place(record)}: {error}") from error

    async def _probe(self) -> None:
        """Returns once the broker answers and what comes next is still there. Reading itself goes on by itself."""
        deadline = time.monotonic() + self._limits.patience_s
        while True:
            try:
                async with asyncio.timeout(max(0.1, deadline - time.monotonic())):
                    begins = await self.beginnings()
            except (KafkaError, TimeoutError) as error:
                if time.monotonic() >= deadline:
                    told = f"Kafka does not answer at {self._bootstrap} for {self._limits.patience_s:g} s (HEADRACE_KAFKA)"
                    raise BrokerUnreachable(told) from error
                await asyncio.sleep(_AGAIN_S)
                continue
            await self.require({n: await self._consumer.position(TopicPartition(self._topic, n)) for n in begins})
            return


@contextlib.asynccontextmanager
async def _consumer(bootstrap: str, start_s: float, **options: str | int) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_list(bootstrap), enable_auto_commit=False, **options)
    try:
        await reach(consumer.start, bootstrap, start_s)
        await asyncio.sleep(0)  # its own task must have begun: else stopping it raises CancelledError
        yield consumer
    finally:
        await consumer.stop()


def _by_number(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {tp.partition: offset for tp, offset in offsets.items()}


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"
