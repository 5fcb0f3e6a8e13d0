"""Events as records and back."""

import uuid
from dataclasses import replace

import pytest

from headrace.adapters.wire import envelope
from headrace.adapters.wire.envelope import derived_id, event_of, not_before_of, record_of, texts_of
from headrace.adapters.wire.events import Undecodable, encode
from headrace.core.events import Position, Send
from headrace.core.topics import CUT_REQUESTED, REFINEMENT_REQUESTED
from tests.fakes.bodies import BODIES
from tests.fakes.toy_topics import toy_topic

TOPIC = toy_topic("toy.in")
HERE = Position("toy.in", 1, 7)
RETRIED = Position("toy.in.toy.retry", 0, 3)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def read(value: bytes | None, headers: dict[str, str], position: Position = HERE, key: bytes | None = b"k"):
    return event_of(TOPIC, position, key, value, 1_500, headers)


def test_a_record_reads_back_as_the_event_that_was_sent() -> None:
    """Id, key, body and time survive the way out and in, to the millisecond."""
    record = record_of(
        Send(TOPIC, b"body"), event_id="e1", source="headrace/toy", trace={"traceparent": PARENT, "x": "y"}, now=1.25
    )
    headers = texts_of(record.headers)
    event = event_of(TOPIC, HERE, record.key, record.value, 0, headers)
    assert (event.id, event.key, event.body, event.time) == ("e1", "body", b"body", 1.25)
    assert headers["ce_time"] == "1970-01-01T00:00:01.250Z"
    assert headers["traceparent"] == PARENT
    assert "x" not in headers


@pytest.mark.parametrize(
    ("trace", "carried"),
    [
        ({"traceparent": PARENT, "tracestate": "vendor=1"}, {"traceparent": PARENT, "tracestate": "vendor=1"}),
        ({"traceparent": PARENT, "tracestate": "v" * 512}, {"traceparent": PARENT, "tracestate": "v" * 512}),
        ({"traceparent": PARENT, "tracestate": "v" * 513}, {"traceparent": PARENT}),
        ({"traceparent": PARENT, "tracestate": "é\n"}, {"traceparent": PARENT}),
        ({"traceparent": "0" * 1_000_000, "tracestate": "vendor=1"}, {}),
        ({"traceparent": PARENT + "\n"}, {}),
    ],
)
def test_only_a_trace_context_is_carried_on(trace: dict[str, str], carried: dict[str, str]) -> None:
    """Producers write these headers: what is none, or too large, would make each record behind it larger than a broker takes."""
    headers = texts_of(record_of(Send(TOPIC, b"body"), event_id="e1", source="headrace/toy", trace=trace).headers)
    assert {name: text for name, text in headers.items() if name.startswith("trace")} == carried


def test_ids_of_outputs_are_the_same_whenever_the_work_is_done() -> None:
    """A redelivered event gives outputs of the same ids, and every output one of its own."""
    assert derived_id("parent", "topic", 0) == derived_id("parent", "topic", 0)
    assert derived_id("é", "topic", 12) == str(uuid.uuid5(uuid.UUID("7d3f4c1e-9f0e-5b1a-8a43-6f0f5a5d1c27"), "é\ntopic\n12"))
    assert len({derived_id(parent, topic, index) for parent in "ab" for topic in "cd" for index in (0, 1)}) == 8


def test_a_record_without_an_id_takes_one_from_its_first_coordinates() -> None:
    """Redelivered or retried, a producer's plain record is one event."""
    first = read(b"v", {})
    again = read(
        b"v",
        {envelope.ORIGIN_TOPIC: "toy.in", envelope.ORIGIN_PARTITION: "1", envelope.ORIGIN_OFFSET: "7", envelope.ATTEMPT: "2"},
        RETRIED,
    )
    assert again.id == first.id
    assert (again.attempt, again.position, again.first_position) == (2, RETRIED, HERE)
    assert first.time == 1.5


def test_a_rewrite_that_was_sent_back_says_so_in_its_body_too() -> None:
    """So that it is known at the end of its way; of a record of the topic itself no header is believed."""
    asked, headers = BODIES["RefinementRequested"], {envelope.SENT_BACK: "1"}
    plain = replace(asked, rewrite=replace(asked.rewrite, sent_back=False))
    name = REFINEMENT_REQUESTED.name
    said = [
        event_of(REFINEMENT_REQUESTED, Position(topic, 0, 7), b"k", encode(plain), 1_500, headers).body
        for topic in (name, f"{name}.refinement.retry")
    ]
    assert said == [plain, replace(plain, rewrite=replace(plain.rewrite, sent_back=True))]


def test_producers_cannot_write_our_headers() -> None:
    """On the topic itself attempts and origins are what the layer knows, whatever the record says."""
    event = read(b"v", {envelope.ATTEMPT: "4", envelope.ORIGIN_TOPIC: "x", "other": "kept"})
    assert (event.attempt, event.origin) == (1, None)
    assert event.headers == {"other": "kept"}


@pytest.mark.parametrize("time", ["soon", "", "9999999999999-01-01", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_is_none_gives_way_to_the_records(time: str) -> None:
    """Whatever ce_time says, the event has a time."""
    assert read(b"v", {"ce_time": time}).time == 1.5


def test_null_values_and_foreign_types_are_undecodable() -> None:
    """A tombstone is no event, and neither is a message of another type."""
    with pytest.raises(Undecodable, match="no value"):
        read(None, {})
    with pytest.raises(Undecodable, match="DatasetCutRequested"):
        event_of(CUT_REQUESTED, HERE, b"k", b"", 0, {"ce_type": "headrace_protos.sample.v1.Sample"})


def test_headers_that_are_no_text_are_left_out() -> None:
    """Odd bytes in one header cost that header alone."""
    assert texts_of([("a", b"\xff"), ("b", b"ok"), ("c", None), ("b", b"last")]) == {"b": "last"}


@pytest.mark.parametrize(("text", "attempt"), [("3", 3), ("-1", 1), ("", 1), ("٣", 1), ("9" * 30, 1), ("1e3", 1)])
def test_integers_in_headers_are_plain_or_nothing(text: str, attempt: int) -> None:
    """Only ASCII digits of a bounded length count."""
    assert envelope.integer({envelope.ATTEMPT: text}, envelope.ATTEMPT, 1) == attempt


def test_not_before_is_read_and_belongs_to_delayed_topics() -> None:
    """A delayed topic's records say when they may be handled; elsewhere it is a mistake."""
    delayed = toy_topic("toy.held", delayed=True)
    record = record_of(Send(delayed, b"x", not_before=12.5), event_id="e", source="s", trace={})
    assert not_before_of(record.headers) == 12.5
    assert not_before_of([("headrace_not_before_ms", b"never")]) == 0
    with pytest.raises(ValueError, match="not a delayed topic"):
        record_of(Send(TOPIC, b"x", not_before=12.5), event_id="e", source="s", trace={})
