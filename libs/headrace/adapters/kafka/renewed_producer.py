"""An idempotent producer that goes on after a write that failed."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, ProducerClosed
from aiokafka.structs import RecordMetadata

from headrace.adapters.kafka.unreachable import BrokerUnreachable
from headrace.adapters.wire.envelope import Record

_RENEWED_S_MIN = 1.0
"""From one fresh producer to the next: whatever fails, the broker is not asked for producer ids more often."""
_log = logging.getLogger("headrace.kafka")


class RenewedProducer:
    """An idempotent producer, replaced by a fresh one as soon as a write has failed.

    aiokafka numbers the records of a partition, and those of a batch that fails keep their numbers. Behind that gap the broker
    refuses whatever follows, and aiokafka never begins anew. What the old producer had under way is still written, or fails;
    it may come to lie behind what the fresh one writes.

    `make` gives a started producer, or raises BrokerUnreachable or KafkaError. `wait_s` is the longest wait for a fresh one,
    in seconds.
    """

    def __init__(self, make: Callable[[], Awaitable[AIOKafkaProducer]], *, wait_s: float) -> None:
        self._make = make
        self._wait_s = wait_s
        self._producer: AIOKafkaProducer | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._renewed_at = -math.inf
        self._old: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Makes the first producer; raises what `make` does."""
        self._producer = await self._make()

    async def stop(self) -> None:
        """Waits for what was sent and disconnects."""
        producer, self._producer = self._producer, None
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.cancel()
            await asyncio.wait((renewal,))
        if producer is not None:
            self._stop(producer)
        await asyncio.gather(*self._old)

    async def send(self, record: Record) -> "asyncio.Future[RecordMetadata]":
        """Queues one record; the future is done once Kafka has it.

        Raises:
            KafkaError: the queue stays full, or a write failed and no fresh producer could be made in time.
            RuntimeError: not started, or stopped.
        """
        while True:
            producer = await self.current()
            try:
                sent: asyncio.Future[RecordMetadata] = await producer.send(
                    record.topic, value=record.value, key=record.key, headers=list(record.headers)
                )
            except ProducerClosed:  # replaced meanwhile, before it took the record
                continue
            sent.add_done_callback(partial(self._look_at, producer))
            return sent

    async def current(self) -> AIOKafkaProducer:
        """The producer in use; waits while a fresh one is being made.

        Raises:
            KafkaError: there is none in time.
            RuntimeError: not started, or stopped.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s):
                while self._renewal is not None and not self._renewal.done():
                    await asyncio.wait((self._renewal,))
        if self._producer is not None:
            return self._producer
        if self._renewal is None:
            raise RuntimeError("the publisher is not started")
        raise KafkaConnectionError(f"a write failed, and within {self._wait_s:g} s Kafka gave no new producer id")

    def _look_at(self, producer: AIOKafkaProducer, sent: "asyncio.Future[RecordMetadata]") -> None:
        if producer is not self._producer or sent.cancelled() or sent.exception() is None:
            return
        _log.warning("Kafka did not store a record: %r; a fresh producer takes the next", sent.exception())
        self._producer = None
        self._stop(producer)
        self._renewal = asyncio.create_task(self._renew(), name="renew the producer")

    async def _renew(self) -> None:
        clock = asyncio.get_running_loop().time
        producer = None
        while producer is None:
            await asyncio.sleep(self._renewed_at + _RENEWED_S_MIN - clock())
            self._renewed_at = clock()
            try:
                producer = await self._make()
            except (BrokerUnreachable, KafkaError) as error:
                _log.warning("no fresh producer yet: %s", error)
        self._producer, self._renewal = producer, None

    def _stop(self, producer: AIOKafkaProducer) -> None:
        stopping = asyncio.create_task(producer.stop(), name="stop a producer")
        self._old.add(stopping)
        stopping.add_done_callback(self._old.discard)
