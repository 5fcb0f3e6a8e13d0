"""The exactly-once layer on a real broker: nothing lost, nothing twice, whatever goes wrong."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from headrace.adapters.kafka.record_lag import lags
from headrace.adapters.kafka.streams import bootstrap_list
from headrace.core.events import Emit, Event, Result, Send, Stop
from headrace.core.topics import Topic, consumer_group_id
from tests.fakes.raw_batches import lz4_batch, raw_batch, send_raw
from tests.fakes.toy_topics import (
    GROUP,
    QUICK,
    bodies_in,
    copying,
    dead_in,
    new_topics,
    numbered,
    publish,
    records_in,
    running_hop,
    until,
    until_seen,
)

pytestmark = pytest.mark.connected


async def test_every_event_becomes_visible_once_in_order_of_its_key(kafka: str) -> None:
    """A plain hop loses nothing, doubles nothing, and puts a key where every other client would look for it."""
    source, out = new_topics(kafka)
    await publish(kafka, source, numbered(500))
    async with running_hop(kafka, source, copying(out)):
        await until_seen(kafka, out, 500)
    records = await records_in(kafka, out.name)
    assert Counter(record.value for record in records) == Counter(numbered(500))
    read = {record.value: record for record in await records_in(kafka, source.name)}
    assert all(read[record.value].partition == record.partition for record in records)


async def test_what_comes_while_a_batch_is_in_hand_is_one_batch(kafka: str) -> None:
    """Records that trickle in are not handed out one by one, at a transaction each."""
    source, out = new_topics(kafka, partitions=1)
    batches: list[int] = []

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        batches.append(len(events))
        if len(batches) == 1:
            for number in range(1, 20):
                await publish(kafka, source, [f"{number}".encode()])
        return await copying(out)(events)

    async with running_hop(kafka, source, handle):
        await publish(kafka, source, [b"0"])
        await until_seen(kafka, out, 20)
    assert batches == [1, 19]


async def test_stop_keeps_the_place_and_reads_on_when_the_dependency_is_back(kafka: str) -> None:
    """Stop loses nothing, dead-letters nothing, and shows in the readiness until the ping passes."""
    source, out = new_topics(kafka)
    await publish(kafka, source, numbered(50))
    gone = True

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        if gone:
            raise Stop("no server")
        return await copying(out)(events)

    async def ping() -> None:
        if gone:
            raise ConnectionError("still no server")

    async with running_hop(kafka, source, handle, ping=ping) as hop:
        await until(lambda: "still no server" in (hop.unready() or ""))
        assert await bodies_in(kafka, out) == []
        gone = False
        await until_seen(kafka, out, 50)
        await until(lambda: hop.unready() is None)
    assert Counter(await bodies_in(kafka, out)) == Counter(numbered(50))
    assert await dead_in(kafka, source) == []


async def test_stopping_while_a_dependency_is_gone_is_quick(kafka: str) -> None:
    """Nothing is in hand while a hop waits, so a graceful stop has nothing to wait for."""
    source, _ = new_topics(kafka)
    await publish(kafka, source, [b"one"])

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        raise Stop("no server")

    async with running_hop(kafka, source, handle, graceful_stop_s=60) as hop:
        await until(lambda: "no server" in (hop.unready() or ""))
        began = time.monotonic()
    assert time.monotonic() - began < 30


async def test_an_output_that_cannot_be_written_takes_nothing_with_it_past_the_offset(
    kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed send fails the transaction: commit alone would succeed and lose the record (traps 5 and 6)."""
    source, out = new_topics(kafka, config={"max.message.bytes": "2000"})
    await publish(kafka, source, [b"small", b"large"])
    large = b"x" * 10_000

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit((Send(out, large if event.body == b"large" else event.body),)) for event in events]

    async with running_hop(kafka, source, handle):
        await until(lambda: caplog.text.count("are dropped, it is read again") >= 2)
    group = consumer_group_id(source.name, GROUP)
    behind = {lag.partition: lag.records for lag in await lags(kafka, [(group, [source.name])])}
    (partition,) = {record.partition for record in await records_in(kafka, source.name) if record.value == b"large"}
    assert behind[partition] >= 1
    large = b"small enough"
    async with running_hop(kafka, source, handle):
        await until_seen(kafka, out, 2)
    assert sorted(await bodies_in(kafka, out)) == [b"small", b"small enough"]


async def test_a_fenced_owner_takes_over_again_and_nothing_doubles(kafka: str) -> None:
    """Someone else's InitProducerId voids what is in hand; the partition is read again from the committed offset (trap 9)."""
    source, out = new_topics(kafka, partitions=1)
    fenced = asyncio.Event()

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        if not fenced.is_set():
            other = AIOKafkaProducer(
                bootstrap_servers=bootstrap_list(kafka),
                transactional_id=f"{consumer_group_id(source.name, GROUP)}-{source.name}-0",
            )
            await other.start()
            await other.stop()
            fenced.set()
        return await copying(out)(events)

    await publish(kafka, source, numbered(30))
    async with running_hop(kafka, source, handle):
        await until_seen(kafka, out, 30)
    assert Counter(await bodies_in(kafka, out)) == Counter(numbered(30))


async def test_a_position_that_goes_backwards_by_itself_is_refused(kafka: str) -> None:
    """A reset that is not ours would do committed work again; it is read from the committed offset instead (trap 12)."""
    source, out = new_topics(kafka, partitions=1)
    await publish(kafka, source, numbered(30))
    async with running_hop(kafka, source, copying(out)) as hop:
        await until_seen(kafka, out, 30)
        hop._consumer().seek(TopicPartition(source.name, 0), 0)
        await publish(kafka, source, [b"after"])
        await until_seen(kafka, out, 31)
    assert Counter(await bodies_in(kafka, out)) == Counter([*numbered(30), b"after"])


async def test_what_cannot_be_read_holds_up_its_partition_alone(kafka: str) -> None:
    """Everything else goes through once, and the readiness says where it lies and how to leave it out; then that is enough."""
    source, out = new_topics(kafka, partitions=2)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_list(kafka)) as producer:
        await send_raw(producer, source, raw_batch([b"before"]), partition=0)
        await send_raw(producer, source, lz4_batch([b"lost", b"too"]), partition=0)
        await send_raw(producer, source, raw_batch([b"behind"]), partition=0)
        async with running_hop(kafka, source, copying(out)) as hop:
            for number in range(20):
                await send_raw(producer, source, raw_batch([b"%d" % number]), partition=1)
            await until_seen(kafka, out, 21)
            await until(lambda: f"{source.name}-0 cannot be read from offset 1 to 2 " in (hop.unready() or ""))
    await set_offset(kafka, source, 3)
    async with running_hop(kafka, source, copying(out)) as hop:
        await until_seen(kafka, out, 22)
        assert hop.unready() is None
    assert Counter(await bodies_in(kafka, out)) == Counter([b"before", b"behind", *(b"%d" % number for number in range(20))])


async def test_an_offset_behind_the_last_record_is_told_and_not_guessed_at(kafka: str) -> None:
    """A broker that lost records has none at the committed offset: the partition is left, and goes on where somebody says."""
    source, out = new_topics(kafka, partitions=1)
    await publish(kafka, source, numbered(5))
    await set_offset(kafka, source, 100)
    async with running_hop(kafka, source, copying(out)) as hop:
        await until(lambda: "-0 is left: offset 100 is committed" in (hop.unready() or ""))
        await publish(kafka, source, [b"more"])
        await asyncio.sleep(1)
        assert await bodies_in(kafka, out) == []
    await set_offset(kafka, source, 3)
    async with running_hop(kafka, source, copying(out)) as hop:
        await until_seen(kafka, out, 3)
        assert hop.unready() is None
    assert await bodies_in(kafka, out) == [b"id-3", b"id-4", b"more"]


async def set_offset(kafka: str, source: Topic, offset: int) -> None:
    """What kafka-consumer-groups --reset-offsets does to the first partition."""
    group = consumer_group_id(source.name, GROUP)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_list(kafka), group_id=group, enable_auto_commit=False)
    tp = TopicPartition(source.name, 0)
    consumer.assign([tp])
    await consumer.start()
    try:
        await consumer.commit({tp: offset})
    finally:
        await consumer.stop()


async def test_records_in_hand_of_a_revoked_partition_are_dropped(kafka: str) -> None:
    """A batch that outlasts the drain is dropped by its token; the new owner does the work, once (traps 2, 3 and 8)."""
    source, out = new_topics(kafka, partitions=4)
    settings = QUICK.model_copy(update={"drain_s": 0.3})
    await publish(kafka, source, numbered(100))
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        if not entered.is_set():
            entered.set()
            await release.wait()
        return await copying(out)(events)

    async with running_hop(kafka, source, slow, settings=settings):
        await entered.wait()
        async with running_hop(kafka, source, copying(out), settings=settings) as second:
            await until(lambda: second.unready() is None)
            release.set()
            await until_seen(kafka, out, 100)
            await asyncio.sleep(0.3)
    assert Counter(await bodies_in(kafka, out)) == Counter(numbered(100))


async def test_a_graceful_stop_finishes_the_batch_in_hand(kafka: str) -> None:
    """What the handler has begun is committed before the consumer leaves."""
    source, out = new_topics(kafka)
    await publish(kafka, source, numbered(10))
    entered = asyncio.Event()

    async def slow(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        entered.set()
        await asyncio.sleep(0.5)
        return await copying(out)(events)

    async with running_hop(kafka, source, slow):
        await entered.wait()
    assert await bodies_in(kafka, out)


async def test_a_graceful_stop_drops_whole_what_takes_too_long(kafka: str) -> None:
    """Past the graceful stop a batch is dropped whole, and the next owner does all of it."""
    source, out = new_topics(kafka)
    await publish(kafka, source, numbered(10))
    entered = asyncio.Event()

    async def stuck(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        entered.set()
        await asyncio.sleep(60)
        return await copying(out)(events)

    async with running_hop(kafka, source, stuck, graceful_stop_s=0.3):
        await entered.wait()
    assert await bodies_in(kafka, out) == []
    async with running_hop(kafka, source, copying(out)):
        await until_seen(kafka, out, 10)
    assert Counter(await bodies_in(kafka, out)) == Counter(numbered(10))
