"""Where results go, and when too many of them are dead letters."""

from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord

from headrace.adapters.claim_check import detached
from headrace.adapters.wire.envelope import (
    ATTEMPT,
    ERROR,
    ERROR_CLASS,
    GROUP,
    NOT_BEFORE,
    ORIGIN_OFFSET,
    ORIGIN_PARTITION,
    ORIGIN_TIMESTAMP,
    ORIGIN_TOPIC,
    SENT_BACK,
    Record,
    texts_of,
)
from headrace.core.events import Emit, Reject, Result, Retry, Send
from headrace.runtime.delivery.incoming import decode
from headrace.runtime.delivery.redrive import returned_record
from headrace.runtime.delivery.routing import DeadLetterLimit, Routed, Router, back_off_s
from headrace.runtime.settings import DeliverySettings
from tests.fakes.certain import certain
from tests.fakes.toy_topics import toy_topic

SETTINGS = DeliverySettings(attempts_max=3, retry_s_min=1, retry_s_max=5, record_bytes_max=1_024)
TOPIC, OUT = toy_topic("toy.in"), toy_topic("toy.out")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = (("ce_id", b"e1"), ("odd", b"\xff"), ("traceparent", b"00-1"))


def record(topic: str = "toy.in", value: bytes | None = b"v", headers: tuple[tuple[str, bytes], ...] = HEADERS) -> ConsumerRecord:
    return ConsumerRecord(topic, 2, 9, 1_234, 0, b"\xffkey", value, None, 4, 1, headers)


def routed(result: Result, read: ConsumerRecord | None = None, now: float = 100.0) -> Routed:
    sink = Routed()
    Router("toy.in", "svc", SETTINGS).add(sink, decode(TOPIC, read or record()), result, {"traceparent": TRACE}, now)
    return sink


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 5), (500, 5)])
def test_back_off_doubles_up_to_its_bound(attempt: int, seconds: float) -> None:
    """Waits grow from the least to the longest, however often it was tried."""
    assert back_off_s(attempt, SETTINGS) == seconds


def test_emitted_events_carry_derived_ids_and_the_batch_trace() -> None:
    """Outputs are records of their topics; the trace is the one that the observer gave."""
    sink = routed(Emit((Send(OUT, b"a"), Send(OUT, b"b"))))
    assert [(each.topic, each.key, each.value) for each in sink.records] == [("toy.out", b"a", b"a"), ("toy.out", b"b", b"b")]
    ids = [texts_of(each.headers)["ce_id"] for each in sink.records]
    assert len(set(ids)) == 2
    assert ids == [texts_of(each.headers)["ce_id"] for each in routed(Emit((Send(OUT, b"a"), Send(OUT, b"b")))).records]
    assert {texts_of(each.headers)["traceparent"] for each in sink.records} == {TRACE}
    assert sink.emitted == {"toy.out": 2}


def test_a_retry_keeps_the_record_and_says_when_and_whence() -> None:
    """Bytes, key and headers are untouched; attempt, due time, error and origin stand beside them."""
    (again,) = routed(Retry("Busy", "try later")).records
    assert (again.topic, again.key, again.value) == ("toy.in.svc.retry", b"\xffkey", b"v")
    assert again.headers[:3] == HEADERS
    said = texts_of(again.headers)
    assert (said[ATTEMPT], said[NOT_BEFORE], said[ERROR_CLASS], said[ERROR]) == ("2", "101000", "Busy", "try later")
    assert (said[ORIGIN_TOPIC], said[ORIGIN_PARTITION], said[ORIGIN_OFFSET], said[ORIGIN_TIMESTAMP]) == (
        "toy.in",
        "2",
        "9",
        "1234",
    )


def test_a_retry_of_a_retry_keeps_its_first_coordinates() -> None:
    """However often it comes back, a record says where it was first read, once."""
    first = routed(Retry("Busy", "")).records[0]
    second = routed(Retry("Busy", ""), record("toy.in.svc.retry", headers=first.headers)).records[0]
    said = texts_of(second.headers)
    assert (said[ATTEMPT], said[NOT_BEFORE], said[ORIGIN_TOPIC], said[ORIGIN_OFFSET]) == ("3", "102000", "toy.in", "9")
    assert len(second.headers) == len(first.headers)


def test_what_was_sent_back_from_the_dead_letters_says_so_whatever_becomes_of_it() -> None:
    """The mark stays through further attempts and further dead letters; on the source topic nobody can set it."""
    letter = routed(Reject("Bad", "")).records[0]
    back = returned_record(record("toy.in.svc.dlq", headers=letter.headers), "toy.in.svc.retry")
    read = record("toy.in.svc.retry", headers=back.headers)
    assert decode(TOPIC, read).event == replace(certain(decode(TOPIC, read).event), sent_back=True)
    for result in (Retry("Busy", ""), Reject("Bad", "")):
        assert texts_of(routed(result, read).records[0].headers)[SENT_BACK] == "1"
    assert SENT_BACK not in texts_of(letter.headers)
    assert not certain(decode(TOPIC, record(headers=back.headers)).event).sent_back


def test_the_last_attempt_ends_among_the_dead_letters() -> None:
    """A Retry after the last attempt is a Reject, and is told to telemetry as one."""
    read = record("toy.in.svc.retry", headers=(*HEADERS, (ATTEMPT, b"3"), (ORIGIN_TOPIC, b"toy.in"), (ORIGIN_OFFSET, b"5")))
    sink = routed(Retry("Busy", "still"), read)
    assert sink.records[0].topic == "toy.in.svc.dlq"
    said = texts_of(sink.records[0].headers)
    assert (said[ATTEMPT], said[GROUP], said[ORIGIN_OFFSET]) == ("3", "svc", "5")
    assert NOT_BEFORE not in said
    assert sink.dead == [True]
    assert [result for _, result in sink.settled] == [Reject("Busy", "still")]


def test_an_undecodable_record_is_dead_lettered_as_it_was_read() -> None:
    """No event was ever made of it, but its bytes and headers are kept."""
    sink = routed(Reject("Undecodable", "no value"), record(value=None))
    assert (sink.records[0].key, sink.records[0].value) == (b"\xffkey", None)
    assert sink.records[0].headers[:3] == HEADERS
    assert (sink.dead, sink.settled, sink.errors) == ([True], [], {"Undecodable": 1})


def test_error_texts_are_bounded() -> None:
    """An error of a megabyte does not make a dead letter that cannot be written."""
    said = texts_of(routed(Reject("E" * 10_000, "x\ud800" * 10_000)).records[0].headers)
    assert max(len(said[ERROR]), len(said[ERROR_CLASS])) <= 2_000


@pytest.mark.parametrize("sends", [(Send(OUT, b"a"), Send(OUT, b"x" * 2_000)), (Send(OUT, b"a"), Send(OUT, object()))])
def test_an_event_with_an_output_that_cannot_be_written_emits_nothing(sends: tuple[Send, ...]) -> None:
    """All of an event's outputs are written or none."""
    sink = routed(Emit(sends))
    assert [each.topic for each in sink.records] == ["toy.in.svc.dlq"]
    assert sink.emitted == {}


def test_the_share_of_dead_letters_is_taken_over_the_latest_records() -> None:
    """A few bad records among many pass; a window with more than the share does not, and old sins are forgotten."""
    limit = DeadLetterLimit(0.5, 10)
    assert not limit.exceeded_by([True] * 5)
    assert limit.exceeded_by([True] * 6)
    limit.add([True] * 5)
    assert limit.exceeded_by([True])
    limit.add([False] * 10)
    assert not limit.exceeded_by([True] * 5)


def test_parked_records_are_dead_letters_and_no_faults() -> None:
    """They are an outcome of their own: however many there are, the service is well."""
    sink = routed(Reject("signals_not_made", "no room", parked=True))
    assert (sink.dead, sink.faults, sink.records[0].topic) == ([True], [False], "toy.in.svc.dlq")
    assert routed(Reject("Bad", "")).faults == [True]


def test_a_large_output_leaves_its_record_where_there_is_a_store() -> None:
    """The body waits beside the records to be stored first; above its own limit the event ends, and says which."""
    settings = SETTINGS.model_copy(update={"claim_bytes_min": 1_024, "claim_bytes_max": 4_096})
    router, sink = Router("toy.in", "svc", settings, claims=True), Routed()
    for size in (1_024, 2_000, 5_000):
        router.add(sink, decode(TOPIC, record()), Emit((Send(OUT, b"x" * size),)), {}, 100.0)
    kept, left, dead = sink.records
    assert (kept.value, left.value) == (b"x" * 1_024, b"")
    assert sink.bodies == {texts_of(left.headers)["ce_dataref"]: b"x" * 2_000}
    assert "HEADRACE_DELIVERY_CLAIM_BYTES_MAX" in texts_of(dead.headers)[ERROR]


def test_a_record_that_refers_to_a_body_is_kept_as_it_is() -> None:
    """Where references are not followed, the record is undecodable, and its dead letter still carries the reference."""
    body = b"x" * 2_000
    stored, key = detached(Record("toy.in", b"k", body, HEADERS))
    incoming = decode(TOPIC, record(value=stored.value, headers=stored.headers))
    assert incoming.event is None
    assert key in incoming.error
    (dead,) = routed(Reject("Undecodable", incoming.error), incoming.record).records
    assert texts_of(dead.headers)["ce_dataref"] == key
    redeemed = decode(TOPIC, incoming.record, body).event
    assert redeemed is not None
    assert redeemed.body == body
