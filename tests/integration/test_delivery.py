"""The exactly-once layer on a real broker: results, failures and the traps that a test can show."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from headrace.adapters.envelope import ATTEMPT, texts_of
from headrace.adapters.kafka import bootstrap_list
from headrace.adapters.record_lag import lags
from headrace.core.events import Emit, Event, Handler, Reject, Result, Retry, Send, Stop
from headrace.core.topics import Topic, consumer_group_id, dlq_topic_name
from headrace.runtime.delivery.redrive import dead_letters, redrive
from tests.fakes.toy_topics import (
    GROUP,
    QUICK,
    bodies_in,
    dead_in,
    new_topics,
    publish,
    records_in,
    retries_in,
    running_hop,
    until,
    until_seen,
)

pytestmark = pytest.mark.connected


def numbered(count: int) -> list[bytes]:
    return [f"id-{number}".encode() for number in range(count)]


def copying(out: Topic) -> Handler[bytes]:
    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit((Send(out, event.body),)) for event in events]

    return handle


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


async def test_outputs_carry_cloudevents_headers_and_the_trace(kafka: str) -> None:
    """Outputs do not pass through FastStream's publish, so the layer writes the headers itself (trap 11)."""
    source, out = new_topics(kafka)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_list(kafka))
    await producer.start()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await producer.send_and_wait(source.name, b"one", headers=[("traceparent", trace.encode()), ("ce_id", b"parent")])
    await producer.stop()
    async with running_hop(kafka, source, copying(out)):
        await until_seen(kafka, out, 1)
    (record,) = await records_in(kafka, out.name)
    headers = texts_of(record.headers)
    assert headers["traceparent"] == trace
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_source"] == f"headrace/{GROUP}"
    assert headers["content-type"] == "application/protobuf"


async def test_only_the_guilty_are_retried_and_then_dead_lettered(kafka: str) -> None:
    """An exception out of a batch harms the events that cause it, and those end with their bytes after the last attempt."""
    source, out = new_topics(kafka)
    await publish(kafka, source, numbered(20))
    attempts: list[int] = []

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        for event in events:
            if event.body == b"id-7":
                if len(events) == 1:
                    attempts.append(event.attempt)
                raise KeyError("seven")
        return await copying(out)(events)

    async def dead() -> bool:
        return bool(await dead_in(kafka, source))

    async with running_hop(kafka, source, handle):
        await until(dead)
    assert sorted(await bodies_in(kafka, out)) == sorted(set(numbered(20)) - {b"id-7"})
    assert attempts == [1, 2, 3]
    assert await retries_in(kafka, source) == ["2", "3"]
    assert await dead_in(kafka, source) == [(b"id-7", "KeyError")]
    (letter,) = [letter async for letter in dead_letters(kafka, dlq_topic_name(source.name, GROUP))]
    (original,) = [record for record in await records_in(kafka, source.name) if record.value == b"id-7"]
    assert letter.origin is not None
    assert (letter.origin.topic, letter.origin.partition, letter.origin.offset) == (
        source.name,
        original.partition,
        original.offset,
    )
    assert (letter.attempts, letter.service, letter.key) == (3, GROUP, original.key)
    assert letter.origin_timestamp_ms == original.timestamp


async def test_a_retried_event_is_the_same_event_again(kafka: str) -> None:
    """A record that comes back through the retry topic keeps its id and its first position, and waits its back-off."""
    source, out = new_topics(kafka)
    await publish(kafka, source, [b"again"])
    seen: list[tuple[Event[bytes], float]] = []

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        seen.extend((event, time.time()) for event in events)
        return [Retry("NotYet", "later") if event.attempt < 3 else Emit((Send(out, event.body),)) for event in events]

    async with running_hop(kafka, source, handle):
        await until_seen(kafka, out, 1)
    events = [event for event, _ in seen]
    assert [event.attempt for event in events] == [1, 2, 3]
    assert len({(event.id, event.topic, event.key, event.first_position) for event in events}) == 1
    waits = [later - earlier for (_, earlier), (_, later) in itertools.pairwise(seen)]
    assert waits[0] >= 0.1
    assert waits[1] >= 0.2


async def test_what_cannot_be_decoded_is_dead_lettered_and_the_rest_goes_on(kafka: str) -> None:
    """Undecodable records, odd headers and nulls are values to the layer, never exceptions that skip a batch (trap 7)."""
    source, out = new_topics(kafka)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_list(kafka))
    await producer.start()
    await producer.send_and_wait(source.name, b"odd header", headers=[("x", b"\xff\xfe"), ("content-type", b"\xff")])
    await producer.send_and_wait(source.name, None, key=b"\xff")
    await producer.send_and_wait(source.name, b"odd id", headers=[("ce_id", b""), ("ce_time", b"soon"), (ATTEMPT, b"-3")])
    await producer.stop()

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Reject("Odd", "odd id") if event.body == b"odd id" else Emit((Send(out, event.body),)) for event in events]

    async def both() -> bool:
        return len(await dead_in(kafka, source)) == 2

    async with running_hop(kafka, source, handle):
        await until(both)
        await until_seen(kafka, out, 1)
    assert await bodies_in(kafka, out) == [b"odd header"]
    assert sorted(await dead_in(kafka, source), key=str) == [(None, "Undecodable"), (b"odd id", "Odd")]
    nulls = [letter async for letter in dead_letters(kafka, dlq_topic_name(source.name, GROUP)) if letter.value is None]
    assert nulls[0].key == b"\xff"


async def test_delayed_records_wait_without_holding_up_other_partitions(kafka: str) -> None:
    """A delayed topic's partition pauses until its next record is due; the others flow meanwhile."""
    source, out = new_topics(kafka, partitions=8, delayed=True)
    due = time.time() + 1.5
    await publish(kafka, source, [b"late"], not_before=due)
    await publish(kafka, source, numbered(40))
    seen: dict[bytes, float] = {}

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        seen.update({event.body: time.time() for event in events})
        return await copying(out)(events)

    async with running_hop(kafka, source, handle):
        await until_seen(kafka, out, 41)
    early = [body for body, at in seen.items() if at < due]
    assert len(early) >= 20
    assert b"late" not in early
    assert due <= seen[b"late"] < due + 0.6


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

    async with running_hop(kafka, source, handle) as hop:
        await until(lambda: "no server" in (hop.unready() or ""))
        began = time.monotonic()
    assert time.monotonic() - began < 2


async def test_too_many_dead_letters_halt_the_consumer(kafka: str) -> None:
    """Above its share the consumer stops, names the setting, and has not emptied the topic into the dead letters."""
    source, _ = new_topics(kafka)
    await publish(kafka, source, numbered(200))
    settings = QUICK.model_copy(update={"dead_letters_window": 40, "dead_letters_share_max": 0.5})

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Reject("BadDeploy", "everything is refused") for _ in events]

    async with running_hop(kafka, source, handle, settings=settings, batch_records_max=10) as hop:
        await until(lambda: "HEADRACE_DELIVERY_DEAD_LETTERS_SHARE_MAX" in (hop.unready() or ""))
        await asyncio.sleep(0.5)
        assert len(await dead_in(kafka, source)) <= 20
    group = consumer_group_id(source.name, GROUP)
    assert sum(lag.records for lag in await lags(kafka, [(group, [source.name])])) >= 180


async def test_an_output_that_cannot_be_written_takes_nothing_with_it_past_the_offset(kafka: str) -> None:
    """A failed send fails the transaction: commit alone would succeed and lose the record (traps 5 and 6)."""
    source, out = new_topics(kafka, config={"max.message.bytes": "2000"})
    await publish(kafka, source, [b"small", b"large"])
    large = b"x" * 10_000

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit((Send(out, large if event.body == b"large" else event.body),)) for event in events]

    async with running_hop(kafka, source, handle) as hop:
        await until(lambda: hop.unready() is not None and "takes over" in (hop.unready() or ""))
        await asyncio.sleep(0.5)
    group = consumer_group_id(source.name, GROUP)
    behind = {lag.partition: lag.records for lag in await lags(kafka, [(group, [source.name])])}
    (partition,) = {record.partition for record in await records_in(kafka, source.name) if record.value == b"large"}
    assert behind[partition] >= 1
    large = b"small enough"
    async with running_hop(kafka, source, handle):
        await until_seen(kafka, out, 2)
    assert sorted(await bodies_in(kafka, out)) == [b"small", b"small enough"]


async def test_an_output_above_the_limit_is_a_dead_letter_that_names_the_setting(kafka: str) -> None:
    """An event too large to write fails for itself alone and for good, not for its batch again and again."""
    source, out = new_topics(kafka)
    await publish(kafka, source, [b"small", b"large"])

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit((Send(out, b"x" * 3_000 if event.body == b"large" else event.body),)) for event in events]

    async def dead() -> bool:
        return bool(await dead_in(kafka, source))

    async with running_hop(kafka, source, handle, settings=QUICK.model_copy(update={"record_bytes_max": 2_000})):
        await until(dead)
        await until_seen(kafka, out, 1)
    (letter,) = [letter async for letter in dead_letters(kafka, dlq_topic_name(source.name, GROUP))]
    assert "HEADRACE_DELIVERY_RECORD_BYTES_MAX" in letter.error


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


async def test_lag_counts_records_where_offsets_never_reach_zero(kafka: str) -> None:
    """A transaction's marker takes an offset and is no record (trap 10)."""
    source, out = new_topics(kafka, partitions=1)
    await publish(kafka, source, numbered(3))
    async with running_hop(kafka, source, copying(out)):
        await until_seen(kafka, out, 3)
    reader = consumer_group_id(out.name, "nobody")
    (lag,) = await lags(kafka, [(reader, [out.name])])
    assert (lag.records, lag.exact) == (3, True)
    assert lag.offsets > 3


async def test_redriven_letters_reach_their_service_alone_and_once(kafka: str) -> None:
    """Redriving sends each letter back once however often it runs, with its bytes and all attempts before it."""
    source, out = new_topics(kafka)
    await publish(kafka, source, numbered(5))
    mended = False

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        if mended:
            assert {event.attempt for event in events} == {1}
            return await copying(out)(events)
        return [Reject("Broken", "not yet mended") for _ in events]

    async def five() -> bool:
        return len(await dead_in(kafka, source)) == 5

    dlq = dlq_topic_name(source.name, GROUP)
    async with running_hop(kafka, source, handle):
        await until(five)
        mended = True
        assert await redrive(kafka, dlq, limit=2) == 2
        assert await redrive(kafka, dlq) == 3
        assert await redrive(kafka, dlq) == 0
        await until_seen(kafka, out, 5)
    assert Counter(await bodies_in(kafka, out)) == Counter(numbered(5))
    assert len(await records_in(kafka, source.name)) == 5
