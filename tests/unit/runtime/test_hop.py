"""What a hop makes of its handler's failures, without a broker."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from headrace.adapters.wire.envelope import NOT_BEFORE
from headrace.core.events import Emit, Event, Result, Retry, Stop
from headrace.core.topics import retry_topic_name
from headrace.runtime.delivery import Hop
from headrace.runtime.delivery.claims import Claim
from headrace.runtime.delivery.hop import _Lane
from headrace.runtime.delivery.incoming import Codec, Incoming, decode, parse
from headrace.runtime.service import Subscription
from tests.fakes.toy_topics import QUICK, event, toy_topic

TOPIC = toy_topic("toy.in")


def hop(handler) -> Hop:
    return Hop(Subscription(TOPIC, "svc", handler), "nowhere:1", QUICK)


async def test_only_guilty_events_are_retried() -> None:
    """Halves are tried until the events that cause the failure stand alone; results keep their order."""
    calls = 0

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        nonlocal calls
        calls += 1
        if any(each.body in {b"3", b"9"} for each in events):
            raise ValueError("three or nine")
        return [Emit() for _ in events]

    results = await hop(handle)._results([event(b"%d" % number) for number in range(16)])
    assert [number for number, result in enumerate(results) if isinstance(result, Retry)] == [3, 9]
    assert results[3] == Retry("ValueError", "three or nine")
    assert calls < 20


async def test_a_handler_that_loses_count_is_a_failed_handler() -> None:
    """One result for each event, or none of them counts."""

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit()] if len(events) > 1 else []

    results = await hop(handle)._results([event(), event()])
    assert [result.error_class for result in results if isinstance(result, Retry)] == ["TypeError", "TypeError"]


async def test_stop_is_not_searched_for() -> None:
    """A dependency that is gone is gone for the whole batch, also when it is found while halves are tried."""

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        if len(events) == 1:
            raise Stop("gone")
        raise ValueError("first this")

    with pytest.raises(Stop):
        await hop(handle)._results([event(), event()])


def record(value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> ConsumerRecord:
    return ConsumerRecord("toy.in", 0, 1, 2, 0, b"\xff", value, None, 1, 1, tuple(headers))


async def test_decoding_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the bytes do to a decoder, the record becomes a value: FastStream would swallow an error (trap 7)."""
    batch = (record(b"fine"), record(None), record(b"odd", [("x", b"\xff"), ("ce_time", b"\xff")]))
    first, second, third = await Codec(TOPIC).decode_batch(await parse(batch))
    assert (first.event.body, first.error) == (b"fine", "")
    assert (second.event, second.error) == (None, "the record has no value")
    assert third.event.body == b"odd"

    def broken(*_: object) -> None:
        raise RecursionError("deep")

    monkeypatch.setattr("headrace.adapters.wire.events.decode", broken)
    assert decode(TOPIC, record(b"x")).error == "RecursionError: deep"


async def test_delayed_records_are_due_by_the_clock_of_the_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote when they are due may go by another clock than the machine's."""
    now = 99.0
    delayed: list[tuple[int, float]] = []

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit() for _ in events]

    waiting = Hop(Subscription(toy_topic("toy.in", delayed=True), "svc", handle, clock=lambda: now), "nowhere:1", QUICK)
    monkeypatch.setattr(waiting._claims, "delay", lambda _, offset, wait_s: delayed.append((offset, wait_s)))
    records = [decode(TOPIC, record(b"x", [(NOT_BEFORE, b"100000")]))]
    tp = TopicPartition("toy.in", 0)
    claim = Claim(tp, waiting._claims._writer(tp), 0)
    assert waiting._due(claim, records) == []
    assert delayed == [(1, 1.0)]
    now = 100.0
    assert waiting._due(claim, records) == records


@pytest.mark.parametrize(("topic", "longest_s"), [("toy.in", 20.0), (retry_topic_name("toy.in", "svc"), QUICK.retry_s_max)])
async def test_a_record_that_is_due_later_than_any_may_be_is_due(
    monkeypatch: pytest.MonkeyPatch, topic: str, longest_s: float
) -> None:
    """A clock was set back since it was written, or is another's: nothing waits until it is that late again."""
    delayed: list[float] = []

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit() for _ in events]

    subscription = Subscription(toy_topic("toy.in", delayed=True), "svc", handle, clock=lambda: 1_000.0, delay_s_max=20.0)
    waiting = Hop(subscription, "nowhere:1", QUICK)
    monkeypatch.setattr(waiting._claims, "delay", lambda _, _offset, wait_s: delayed.append(wait_s))
    claim = Claim(TopicPartition(topic, 0), waiting._claims._writer(TopicPartition(topic, 0)), 0)

    def due_in(seconds: float) -> list[Incoming]:
        headers = [(NOT_BEFORE, b"%d" % ((1_000 + seconds) * 1_000))]
        return [decode(TOPIC, replace(record(b"x", headers), topic=topic))]

    far, near = due_in(longest_s + 61), due_in(longest_s + 59)
    assert waiting._due(claim, far) == far
    assert waiting._due(claim, near) == []
    assert delayed == [pytest.approx(longest_s + 59)]


@pytest.mark.parametrize(
    ("values", "kept"),
    [("aaa", 3), ("aa-a", 2), ("a", 1), ("-", 1), ("--a-", 2), ("---", 3)],
)
async def test_a_gapless_batch_spans_no_record_that_cannot_be_decoded(
    monkeypatch: pytest.MonkeyPatch, values: str, kept: int
) -> None:
    """What is kept of it by its range of offsets would hide the record from whoever can decode it later."""

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit() for _ in events]

    parted = Hop(Subscription(TOPIC, "svc", handle, gapless=True), "nowhere:1", QUICK)
    read_again: list[int] = []
    monkeypatch.setattr(parted._claims, "delay", lambda _, offset, _s: read_again.append(offset))
    tp = TopicPartition("toy.in", 0)
    records = [replace(record(None if value == "-" else b"x"), offset=10 + n) for n, value in enumerate(values)]
    lane = _Lane(Claim(tp, parted._claims._writer(tp), 10), [decode(TOPIC, each) for each in records])
    parted._part([lane])
    assert [incoming.record.offset for incoming in lane.incoming] == list(range(10, 10 + kept))
    assert read_again == ([] if kept == len(values) else [10 + kept])
