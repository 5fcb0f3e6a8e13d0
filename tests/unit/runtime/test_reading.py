"""What a hop makes of fetches that fail, with aiokafka's own fetcher and no broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import ConsumerStoppedError, KafkaError, TopicAuthorizationFailedError

from headrace.core.events import Emit, Event, Result
from headrace.runtime.delivery import Hop
from headrace.runtime.delivery.claims import Claim
from headrace.runtime.delivery.incoming import decode
from headrace.runtime.service import Subscription
from tests.fakes.raw_batches import lz4_batch, raw_batch
from tests.fakes.toy_topics import QUICK, toy_topic

TOPIC = toy_topic("toy.in")
GOOD, BAD = TopicPartition("toy.in", 0), TopicPartition("toy.in", 1)


class Fetching:
    """A consumer of two partitions whose fetches are given to it."""

    def __init__(self) -> None:
        self.subscriptions = SubscriptionState()
        self.subscriptions.subscribe({"toy.in"})
        self.subscriptions.assign_from_subscribed({GOOD, BAD})
        client = AIOKafkaClient(bootstrap_servers="nowhere:1")
        self._fetcher = fetcher.Fetcher(
            client, self.subscriptions, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        self._fetcher._fetch_task.cancel()
        self.seek, self.resume, self.errors = self.subscriptions.seek, self.subscriptions.resume, list[Exception]()

    def pause(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            self.subscriptions.pause(tp)

    def position(self, tp: TopicPartition) -> int:
        position: int = self.subscriptions.subscription.assignment.state_value(tp).position
        return position

    def fetched(self, tp: TopicPartition, batch: bytes) -> None:
        """The answer to a fetch from where the partition stands."""
        records = fetcher.PartitionRecords(tp, fetcher.MemoryRecords(batch), [], self.position(tp), None, None, True, 1)
        assignment = self.subscriptions.subscription.assignment
        self._fetcher._records[tp] = fetcher.FetchResult(tp, assignment=assignment, backoff=0.1, partition_records=records)

    async def getmany(self, timeout_ms: int, max_records: int) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return await self._fetcher.fetched_records((), 0, max_records)


class Writer:
    """Notes what is committed."""

    def __init__(self, commits: list[tuple[int, int]]) -> None:
        self._commits = commits

    async def write(self, _: object, source: TopicPartition, offset: int) -> None:
        self._commits.append((source.partition, offset))

    async def close(self) -> None:
        """There is nothing to close."""


class Reading:
    """A hop that owns two partitions, both from the beginning on."""

    def __init__(self) -> None:
        self.handled: list[bytes] = []
        self.commits: list[tuple[int, int]] = []
        self.consumer = Fetching()
        self.hop = Hop(Subscription(TOPIC, "svc", self._handle), "nowhere:1", QUICK)
        self.hop._subscriber.consumer = self.consumer
        self.hop._subscriber.tasks.append(asyncio.create_task(asyncio.Event().wait()))
        self.claims = self.hop._claims
        self.claims._assigned = frozenset({GOOD, BAD})
        for tp in (GOOD, BAD):
            self.consumer.seek(tp, 0)
            self.claims._claims[tp] = Claim(tp, Writer(self.commits), 0)  # type: ignore[arg-type]

    async def poll(self) -> None:
        """What FastStream does in one round of its loop."""
        records = await self.hop._reading.next_batch(self.consumer)
        if records:
            await self.hop._deliver([decode(TOPIC, record) for record in records])

    async def _handle(self, events: Sequence[Event[bytes]]) -> Sequence[Result]:
        self.handled += (event.body for event in events)
        return [Emit() for _ in events]


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    made = Reading()
    yield made
    for task in made.hop._subscriber.tasks:
        task.cancel()
    await made.consumer._fetcher.close()


async def test_what_was_read_beside_a_failing_partition_is_read_again(reading: Reading) -> None:
    """Its position is past records that nobody was given: the next commit would leave them behind for good."""
    reading.consumer.fetched(GOOD, raw_batch([b"0", b"1", b"2"]))
    reading.consumer.fetched(BAD, lz4_batch([b"x"]))
    await reading.poll()
    assert reading.consumer.position(GOOD) == 0
    reading.consumer.fetched(GOOD, raw_batch([b"0", b"1", b"2"]))
    await reading.poll()
    assert (reading.handled, reading.commits) == ([b"0", b"1", b"2"], [(0, 3)])


async def test_only_the_partition_that_cannot_be_read_waits_and_tells(
    reading: Reading, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where, why and what to do, until it can be read; what lies before it is handled, and so are the other partitions."""
    monkeypatch.setattr("headrace.runtime.delivery.claims._AGAIN_S_MAX", 0.1)
    reading.consumer.fetched(BAD, raw_batch([b"before"]) + lz4_batch([b"x"], first=1))
    await reading.poll()
    for _ in range(2):
        assert not reading.consumer.subscriptions.paused_partitions()
        reading.consumer.fetched(BAD, lz4_batch([b"x"], first=1))
        await reading.poll()
        assert reading.consumer.subscriptions.paused_partitions() == {BAD}
        told = reading.hop.unready() or ""
        assert "toy.in-1 cannot be read from offset 1 to 1" in told
        assert "lz4" in told
        assert "--reset-offsets" in told
        reading.consumer.fetched(GOOD, raw_batch([b"on"], first=reading.consumer.position(GOOD)))
        await reading.poll()
        await asyncio.sleep(0.15)
    assert reading.handled == [b"before", b"on", b"on"]
    assert caplog.text.count("cannot be read from offset 1 to 1") == 1
    reading.consumer.fetched(BAD, raw_batch([b"x"], first=1))
    await reading.poll()
    assert reading.handled[-1] == b"x"
    assert reading.hop.unready() is None


@pytest.mark.parametrize("error", [ValueError("who knows"), TopicAuthorizationFailedError("toy.in")])
async def test_whatever_a_fetch_raises_is_told_and_waited_upon(reading: Reading, error: Exception) -> None:
    """FastStream waits after a KafkaError; after another it begins again at once and keeps each in memory."""
    reading.consumer.seek(GOOD, 7)  # as if records had been read, and were lost
    reading.consumer.errors.append(error)
    with pytest.raises(KafkaError):
        await reading.poll()
    assert reading.consumer.position(GOOD) == 0
    assert repr(error) in (reading.hop.unready() or "")
    await reading.poll()
    assert reading.hop.unready() is None
    reading.consumer.errors.append(error)
    with pytest.raises(KafkaError):
        await reading.poll()
    reading.consumer.fetched(BAD, lz4_batch([b"x"]))
    await reading.poll()
    assert repr(error) not in (reading.hop.unready() or ""), "it was fetched, though it cannot be read"


async def test_a_consumer_that_is_stopped_ends_the_loop(reading: Reading) -> None:
    """FastStream looks for that very error."""
    reading.consumer.errors.append(ConsumerStoppedError())
    with pytest.raises(ConsumerStoppedError):
        await reading.poll()
