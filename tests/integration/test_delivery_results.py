"""Where results go on a real broker: outputs, retries, delays, dead letters and the way back."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient

from headrace.adapters.kafka.record_lag import lags
from headrace.adapters.kafka.streams import bootstrap_list
from headrace.adapters.wire.envelope import ATTEMPT, texts_of
from headrace.core.events import Emit, Event, Reject, Result, Retry, Send, Stop
from headrace.core.topics import consumer_group_id, dlq_topic_name
from headrace.runtime.delivery import answered
from headrace.runtime.delivery.redrive import REDRIVE_GROUP, dead_letters, discard, pending, redrive
from tests.fakes.raw_batches import raw_batch, send_raw
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
    retries_in,
    running_hop,
    until,
    until_seen,
)

pytestmark = pytest.mark.connected


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
    await send_raw(producer, source, raw_batch([b"odd name"], header_name=b"gr\xf6\xdfe"))
    await producer.send_and_wait(source.name, None, key=b"\xff")
    await producer.send_and_wait(source.name, b"odd id", headers=[("ce_id", b""), ("ce_time", b"soon"), (ATTEMPT, b"-3")])
    await producer.stop()

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Reject("Odd", "odd id") if event.body == b"odd id" else Emit((Send(out, event.body),)) for event in events]

    async def both() -> bool:
        return len(await dead_in(kafka, source)) == 2

    async with running_hop(kafka, source, handle):
        await until(both)
        await until_seen(kafka, out, 2)
    assert sorted(await bodies_in(kafka, out)) == [b"odd header", b"odd name"]
    assert sorted(await dead_in(kafka, source), key=str) == [(None, "Undecodable"), (b"odd id", "Odd")]
    nulls = [letter async for letter in dead_letters(kafka, dlq_topic_name(source.name, GROUP)) if letter.value is None]
    assert nulls[0].key == b"\xff"


async def test_delayed_records_wait_without_holding_up_other_partitions(kafka: str) -> None:
    """A delayed topic's partition pauses until its next record is due; the others flow meanwhile."""
    source, out = new_topics(kafka, partitions=8, delayed=True)
    seen: dict[bytes, float] = {}

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        seen.update({event.body: time.time() for event in events})
        return await copying(out)(events)

    async with running_hop(kafka, source, handle) as hop:
        await until(lambda: hop.unready() is None)
        due = time.time() + 4
        await publish(kafka, source, [b"late"], not_before=due)
        await publish(kafka, source, numbered(40))
        await until_seen(kafka, out, 41)
    early = [body for body, at in seen.items() if at < due]
    assert len(early) >= 20
    assert b"late" not in early
    assert seen[b"late"] >= due


async def test_a_quick_handler_gets_more_at_a_time(kafka: str) -> None:
    """From the least on, up to the most; a dependency that is gone at once makes no batch a quick one."""
    source, out = new_topics(kafka)
    await publish(kafka, source, numbered(300))
    sizes: list[int] = []

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        sizes.append(len(events))
        if len(sizes) <= 3:
            raise Stop("the model server is away")
        return [Emit((Send(out, event.body),)) for event in events]

    async with running_hop(kafka, source, handle, batch_records_min=10, batch_records_max=80):
        await until_seen(kafka, out, 300)
    assert max(sizes[:4]) <= 10
    assert 20 < max(sizes) <= 80


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


async def test_parked_records_do_not_halt_the_consumer(kafka: str) -> None:
    """However many records of one kind can have no decision, the others get theirs."""
    source, out = new_topics(kafka)
    await publish(kafka, source, [*numbered(60), b"good"])
    settings = QUICK.model_copy(update={"dead_letters_window": 40, "dead_letters_share_max": 0.5})

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        parked = Reject("signals_not_made", "too long to be measured", parked=True)
        return [Emit((Send(out, event.body),)) if event.body == b"good" else parked for event in events]

    async with running_hop(kafka, source, handle, settings=settings, batch_records_max=10) as hop:

        async def all_ended() -> bool:
            return len(await dead_in(kafka, source)) == 60

        await until_seen(kafka, out, 1)
        await until(all_ended)
        assert hop.unready() is None


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


async def test_chosen_letters_go_back_and_discarded_ones_never_do(kafka: str) -> None:
    """By error or place, in any order, each once, whatever the broker forgets; what is discarded stays a letter and says why."""
    source, out = new_topics(kafka)
    await publish(kafka, source, numbered(6))
    mended = False

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        if mended:
            return await copying(out)(events)
        return [Reject("Odd" if int(event.body[3:]) % 2 else "Even", "not yet mended") for event in events]

    async def six() -> bool:
        return len(await dead_in(kafka, source)) == 6

    dlq = dlq_topic_name(source.name, GROUP)
    async with running_hop(kafka, source, handle):
        await until(six)
        mended = True
        letters = {letter.value: letter.position.offset async for letter in dead_letters(kafka, dlq)}
        last = max(letters, key=lambda body: letters[body])
        assert await redrive(kafka, dlq, which=lambda letter: letter.position.offset == letters[last]) == 1
        assert await discard(kafka, dlq, "a joke", limit=1, which=lambda letter: letter.error_class == "Odd") == 1
        assert await pending(kafka, dlq) == 4
        assert await redrive(kafka, dlq, which=lambda letter: letter.error_class == "Even") in {2, 3}
        left = await pending(kafka, dlq)
        assert await redrive(kafka, dlq) == left
        assert (await redrive(kafka, dlq), await discard(kafka, dlq, "late"), await pending(kafka, dlq)) == (0, 0, 0)
        await until_seen(kafka, out, 5)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka)) as admin:
        admin.delete_groups([REDRIVE_GROUP])  # as a broker forgets the offsets of a group without members, in a week
    assert (await redrive(kafka, dlq), await discard(kafka, dlq, "late"), await pending(kafka, dlq)) == (0, 0, 0)
    (joke,) = [letter async for letter in dead_letters(kafka, dlq) if letter.discarded]
    assert joke.discarded == "a joke"
    assert Counter([*await bodies_in(kafka, out), joke.value]) == Counter(numbered(6))


async def test_however_many_letters_are_answered_behind_one_that_is_not(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters that came one by one have other records' offsets between them, which the small mark does not tell apart."""
    monkeypatch.setattr(answered, "METADATA_CHARS_MAX", len("1000-1999"))
    source, _ = new_topics(kafka)
    await publish(kafka, source, numbered(30))

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Reject("Broken", "for good") for _ in events]

    async def thirty() -> bool:
        return len(await dead_in(kafka, source)) == 30

    async with running_hop(kafka, source, handle, batch_records_max=1):
        await until(thirty)
    dlq = dlq_topic_name(source.name, GROUP)
    first, *others = [letter.position.offset async for letter in dead_letters(kafka, dlq)]
    assert await discard(kafka, dlq, "a joke", limit=10, which=lambda letter: letter.position.offset > first) == 10
    assert await discard(kafka, dlq, "another", which=lambda letter: letter.position.offset > first) == 19
    assert (await pending(kafka, dlq), await redrive(kafka, dlq), await pending(kafka, dlq)) == (1, 1, 0)
    assert others[-1] - first > 29  # else nothing lay between them


async def test_a_gapless_batch_ends_before_what_cannot_be_decoded(kafka: str) -> None:
    """Nothing is left out and nothing is handled twice, and no call of the handler reaches over the letter that it never sees."""
    source, out = new_topics(kafka, partitions=1)
    await publish(kafka, source, numbered(3))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_list(kafka))
    await producer.start()
    await producer.send_and_wait(source.name, None, key=b"nothing")
    await producer.stop()
    await publish(kafka, source, [b"after"])
    calls: list[set[bytes]] = []

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        calls.append({event.body for event in events})
        return await copying(out)(events)

    async with running_hop(kafka, source, handle, gapless=True):
        await until_seen(kafka, out, 4)
    assert calls == [set(numbered(3)), {b"after"}]
    assert len(await dead_in(kafka, source)) == 1
