"""Our records are CloudEvents 1.0 in Kafka binary mode, as the CloudEvents SDK reads and writes them."""

import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.base import Format
from cloudevents.core.v1.event import CloudEvent

from headrace.adapters.wire.envelope import event_of, record_of, texts_of
from headrace.adapters.wire.events import Undecodable, encode, message_name
from headrace.core.events import Position, Send
from headrace.core.topics import INGEST, SUBMITTED, TOPICS, Topic, accepted_topic
from tests.fakes.bodies import BODIES, DOSSIER, NOON
from tests.fakes.bodies import SUBMITTED as BODY

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1"}
TOPICS_WITH_BODIES = [
    (topic, body) for topic in (*TOPICS, accepted_topic("arithmetic")) for body in BODIES.values() if type(body) is topic.body
]


class Bytes(Format):
    """Event data as they are: the SDK ships JSON only."""

    def write_data(self, data, datacontenttype):
        return data

    def read_data(self, body, datacontenttype):
        return body

    def read(self, event_factory, data):
        raise NotImplementedError

    def write(self, event):
        raise NotImplementedError

    def get_content_type(self):
        return "application/cloudevents"


def _message(record) -> KafkaMessage:
    return KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)


@pytest.mark.parametrize(("topic", "body"), TOPICS_WITH_BODIES, ids=lambda part: getattr(part, "name", type(part).__name__))
def test_the_sdk_reads_every_event_of_ours(topic: Topic, body):
    """Id, source, type, time, content type, key and data arrive as what they are."""
    send = Send(topic, body, not_before=NOON if topic.delayed else None)
    record = record_of(send, event_id="event-1", source="headrace/gateway", trace=TRACE, now=NOON)
    event = from_binary(_message(record), Bytes())
    assert event.get_id() == "event-1"
    assert event.get_source() == "headrace/gateway"
    assert event.get_type() == message_name(topic.body)
    assert event.get_specversion() == "1.0"
    assert event.get_time() == datetime.fromtimestamp(NOON, UTC)
    assert event.get_datacontenttype() == "application/protobuf"
    assert event.get_extension("partitionkey") == topic.key_of(body)
    assert event.get_data() == encode(body)


def test_header_names_are_unique_and_values_are_text():
    """Binary mode: one header per attribute, UTF-8; the content type does not claim structured mode."""
    record = record_of(Send(SUBMITTED, BODY), event_id="ä", source="headrace/gateway", trace=TRACE, now=NOON)
    names = [name for name, _ in record.headers]
    assert len(set(names)) == len(names)
    texts = {name: value.decode() for name, value in record.headers}
    assert not texts["content-type"].startswith("application/cloudevents")
    assert texts["traceparent"] == TRACE["traceparent"]


def test_we_read_events_that_the_sdk_writes():
    """A producer that uses the CloudEvents SDK is understood."""
    written = CloudEvent(
        {
            "id": "from-the-sdk",
            "source": "https://producer.example/1",
            "type": message_name(SUBMITTED.body),
            "time": datetime.fromtimestamp(NOON, UTC),
            "datacontenttype": "application/protobuf",
            "partitionkey": "arithmetic/problem-7",
        },
        encode(BODY),
    )
    message = to_binary(written, Bytes())
    key = message.key.encode() if isinstance(message.key, str) else message.key
    event = event_of(SUBMITTED, Position(SUBMITTED.name, 0, 5), key, message.value, 0, texts_of(message.headers.items()))
    assert (event.id, event.time, event.key, event.body) == ("from-the-sdk", NOON, "arithmetic/problem-7", BODY)


def test_what_we_write_is_what_we_read():
    """Record and event are one another's inverse."""
    record = record_of(Send(SUBMITTED, DOSSIER), event_id="event-1", source="headrace/gateway", trace=TRACE, now=NOON)
    event = event_of(SUBMITTED, Position(SUBMITTED.name, 1, 2), record.key, record.value, 7, texts_of(record.headers))
    assert (event.id, event.key, event.body, event.time, event.attempt) == ("event-1", DOSSIER.sample.key, DOSSIER, NOON, 1)
    assert event.headers["traceparent"] == TRACE["traceparent"]


def test_an_event_of_another_type_is_undecodable():
    """An event says what it is; on a topic of something else it is not taken for that."""
    record = record_of(Send(SUBMITTED, BODY), event_id="event-1", source="headrace/gateway", trace={}, now=NOON)
    headers = texts_of(record.headers) | {"ce_type": "headrace_protos.sample.v9.Dossier"}
    with pytest.raises(Undecodable, match="v9"):
        event_of(SUBMITTED, Position(SUBMITTED.name, 0, 0), record.key, record.value, 0, headers)


def test_a_record_without_headers_is_read_by_its_topic():
    """Plain records have the topic's type, the record's time, and an id that is the same at every reading."""
    position = Position(SUBMITTED.name, 3, 44)
    first, again = (event_of(SUBMITTED, position, None, encode(BODY), 1_767_225_600_250, {}) for _ in range(2))
    assert first == again
    assert (first.body, first.time, first.key) == (BODY, NOON, "")
    assert first.id


def test_raw_intake_takes_any_bytes():
    """Intake by Kafka is read whatever it is: the gateway says what is wrong with it."""
    line = json.dumps({"prompt": "1+1", "completion": "2"}).encode()
    event = event_of(INGEST, Position(INGEST.name, 0, 0), b"k", line, 0, {"ce_type": "com.example.anything"})
    assert event.body == line
