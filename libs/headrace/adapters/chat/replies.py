"""Paid replies, kept in Kafka: a changelog beside each input partition, read back by whoever takes the partition over.

A reply is written, outside the hop's transaction, before anything is made of it. Whatever becomes of the batch, and of the
process, the next one to hold the partition knows what was paid.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from headrace.adapters.chat.settings import RepliesSettings
from headrace.adapters.chat.shelf import Shelf
from headrace.adapters.kafka.streams import RECORD_BYTES_MAX, START_S, bootstrap_list, partitions_of, reach
from headrace.adapters.wire import events as wire
from headrace.adapters.wire.envelope import Record, record_of
from headrace.core.chat import KeptReply
from headrace.core.events import Send, Stop
from headrace.core.topics import CHAT_REPLIES

_log = logging.getLogger("headrace.chat")
_POLL_MS = 200

Waiter = asyncio.Future[None]


@dataclass(slots=True)
class _Batch:
    """Replies that go to Kafka together, each with who waits for it; `begun` (Unix seconds) is the time of all."""

    begun: float = field(default_factory=time.time)
    replies: list[tuple[KeptReply, Record, Waiter]] = field(default_factory=list)


class Replies:
    """Replies by identity: in memory, and in the partition of the topic that goes with the work they were made for.

    Whoever asks for a reply has caught up with the partition before, so that what is not found was never paid for; but for
    what was on its way when a process died, and what has left the bounded memory.
    """

    def __init__(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, source: str, settings: RepliesSettings) -> None:
        self._consumer = consumer
        self._producer = producer
        self._source = source
        self._settings = settings
        self._shelf = Shelf(settings.bytes_max)
        self._unwritten: dict[str, tuple[int, KeptReply]] = {}
        self._known_to: dict[int, int] = {}
        self._batches: dict[int, _Batch] = {}
        self._writers: dict[int, asyncio.Task[None]] = {}
        self._reading = asyncio.Lock()
        self._partitions = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, bootstrap: str, source: str, settings: RepliesSettings, *, start_s: float = START_S
    ) -> AsyncIterator[Self]:
        """Connected; nothing is read before it is asked for. `source` names who pays, as `headrace/<service>`.

        Raises:
            BrokerUnreachable: the broker does not answer in time, or lacks the topic.
        """
        servers = bootstrap_list(bootstrap)
        timeout_ms = int(settings.wait_s_max * 1_000)  # nobody waits for longer
        consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            request_timeout_ms=timeout_ms,
        )
        # Not idempotent: a reply that is written twice is the same reply, and a producer that failed can go on.
        producer = AIOKafkaProducer(
            bootstrap_servers=servers, acks="all", max_batch_size=RECORD_BYTES_MAX, request_timeout_ms=timeout_ms
        )
        try:
            await reach(consumer.start, bootstrap, start_s)
            await reach(producer.start, bootstrap, start_s)
            replies = cls(consumer, producer, source, settings)
            replies._assign(await partitions_of(consumer, CHAT_REPLIES.name, bootstrap))
            yield replies
            await replies._flushed()
        finally:
            await producer.stop()
            await consumer.stop()

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Know what was kept for these input partitions, by this process or another that held them meanwhile.

        Raises:
            Stop: Kafka does not give what it has.
        """
        wanted = [self._beside(partition) for partition in sorted({each % self._partitions for each in partitions})]
        async with self._reading:
            try:
                await self._read(wanted)
            except (KafkaError, TimeoutError) as error:
                raise Stop(f"Kafka does not give the kept replies: {error or type(error).__name__}") from error

    async def find(self, identity: str) -> KeptReply | None:
        """The reply kept under this identity, or None.

        Raises:
            Stop: it is there, but Kafka does not have it yet and does not take it.
        """
        value = self._shelf.get(identity)
        if value is not None:
            return wire.decode(KeptReply, value)
        if identity in self._unwritten:
            partition, kept = self._unwritten[identity]
            await self.store(partition, kept)
            return kept
        return None

    async def store(self, partition: int, kept: KeptReply) -> None:
        """Returns once Kafka has the reply, for work that came from this input partition.

        A caller that is cancelled leaves the writing to go on.

        Raises:
            Stop: Kafka does not take it. It stays in memory, and is written when it is asked for again.
            ValueError: it is not worth keeping, or cannot be written.
        """
        number = partition % self._partitions
        batch = self._batches.get(number) or _Batch()
        record = record_of(Send(CHAT_REPLIES, kept), event_id=kept.identity, source=self._source, trace={}, now=batch.begun)
        self._unwritten[kept.identity] = (partition, kept)
        self._batches[number] = batch
        written = asyncio.get_running_loop().create_future()
        batch.replies.append((kept, record, written))
        if number not in self._writers:
            self._writers[number] = asyncio.create_task(self._write(number), name=f"keeps replies of partition {number}")
        await written

    def _beside(self, number: int) -> TopicPartition:
        return TopicPartition(CHAT_REPLIES.name, number)

    def _assign(self, numbers: set[int]) -> None:
        self._partitions = len(numbers)
        assigned = [self._beside(number) for number in sorted(numbers)]
        self._consumer.assign(assigned)
        self._consumer.pause(*assigned)

    async def _read(self, wanted: list[TopicPartition]) -> None:
        ends = await self._consumer.end_offsets(wanted)
        behind = {tp: end for tp, end in ends.items() if self._known_to.get(tp.partition, 0) < end}
        beginnings = await self._consumer.beginning_offsets(list(behind))  # what is older than the topic's retention is gone
        for tp, end in ends.items():
            oldest = max(beginnings.get(tp, 0), end - self._settings.back_max)
            # An end below what we know means that the topic was made anew.
            self._known_to[tp.partition] = min(max(self._known_to.get(tp.partition, 0), oldest), end)
        behind = {tp: end for tp, end in behind.items() if self._known_to[tp.partition] < end}
        for tp in behind:
            self._consumer.seek(tp, self._known_to[tp.partition])
        self._consumer.resume(*behind)
        try:
            while behind:
                async with asyncio.timeout(self._settings.wait_s_max):  # for each step: however much there is to read
                    await self._step(behind)
        finally:
            self._consumer.pause(*ends)

    async def _step(self, behind: dict[TopicPartition, int]) -> None:
        """Takes in what has come, at least something, and strikes off what is read to its end."""
        batches: dict[TopicPartition, list[ConsumerRecord]] = {}
        while not batches:
            batches = await self._consumer.getmany(*behind, timeout_ms=_POLL_MS)
        for tp, records in batches.items():
            for record in records:
                self._take(record)
            self._known_to[tp.partition] = records[-1].offset + 1
        for tp in [tp for tp, end in behind.items() if self._known_to[tp.partition] >= end]:
            del behind[tp]
            self._consumer.pause(tp)

    def _take(self, record: ConsumerRecord) -> None:
        try:
            kept = wire.decode(KeptReply, record.value or b"")
        except wire.Undecodable as error:
            _log.warning("%s[%d]@%d is no reply and is skipped: %s", record.topic, record.partition, record.offset, error)
            return
        self._shelf.put(kept.identity, record.value)

    async def _write(self, number: int) -> None:
        """Writes what has gathered while the last batch was on its way, until nothing is left."""
        try:
            while batch := self._batches.pop(number, None):
                try:
                    await self._send(number, batch)
                except (KafkaError, TimeoutError) as error:
                    _fail(batch, f"Kafka does not take a reply: {error or type(error).__name__}")
                except BaseException as error:
                    for left in (batch, self._batches.pop(number, batch)):
                        _fail(left, f"the writer of replies ended: {error!r}")
                    raise
        finally:
            del self._writers[number]

    async def _send(self, number: int, batch: _Batch) -> None:
        left = batch.replies
        while left:
            builder = self._producer.create_batch()
            taken = 0
            for _, record, _ in left:
                if builder.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers)) is None:
                    break
                taken += 1
            builder.close()
            async with asyncio.timeout(self._settings.wait_s_max):
                sent = await self._producer.send_batch(builder, CHAT_REPLIES.name, partition=number)
                metadata = await sent
            if self._known_to.get(number) == metadata.offset:
                self._known_to[number] = metadata.offset + taken
            for kept, record, written in left[:taken]:
                self._shelf.put(kept.identity, record.value or b"")
                self._unwritten.pop(kept.identity, None)
                if not written.done():
                    written.set_result(None)
            left = left[taken:]

    async def _flushed(self) -> None:
        """What was paid is written before we go, if Kafka is there."""
        await asyncio.gather(*self._writers.values(), return_exceptions=True)


def _fail(batch: _Batch, why: str) -> None:
    for _, _, written in batch.replies:
        if not written.done():
            written.set_exception(Stop(why))
