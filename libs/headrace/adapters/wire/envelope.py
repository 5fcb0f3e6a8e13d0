"""Events as Kafka records: CloudEvents 1.0 in binary mode. The one place that writes and reads the headers."""

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from headrace.adapters.wire import events as wire
from headrace.core.events import Event, Position, Send
from headrace.core.rounds.sent_back import sent_back_once
from headrace.core.topics import Topic

CONTENT_TYPE = "application/protobuf"
DATA_REFERENCE = "ce_dataref"
"""CloudEvents' name for where a body lies that is not in the record."""
OWN_PREFIX = "headrace_"
NOT_BEFORE = f"{OWN_PREFIX}not_before_ms"
ATTEMPT = f"{OWN_PREFIX}attempt"
ORIGIN_TOPIC = f"{OWN_PREFIX}origin_topic"
ORIGIN_PARTITION = f"{OWN_PREFIX}origin_partition"
ORIGIN_OFFSET = f"{OWN_PREFIX}origin_offset"
ORIGIN_TIMESTAMP = f"{OWN_PREFIX}origin_timestamp_ms"
SENT_BACK = f"{OWN_PREFIX}sent_back"
"""On records that were sent back from the dead letters, and on what their further attempts leave behind."""
DISCARDED = f"{OWN_PREFIX}discarded"
"""On a dead letter that stays one: why. It is the letter of before once more."""
ANSWERED = f"{OWN_PREFIX}answered"
"""On a record among dead letters that is none: which of those before it were answered."""
ERROR_CLASS = f"{OWN_PREFIX}error_class"
ERROR = f"{OWN_PREFIX}error"
GROUP = f"{OWN_PREFIX}group"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE_CHARACTERS_MAX = 512
"""W3C Trace Context, section 3.3.1.5: so much is to be carried on."""
_IDS = bytes.fromhex("7d3f4c1e9f0e5b1a8a436f0f5a5d1c27")
"""The namespace of derived ids."""

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record to write: everything but the partition, which follows from the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def derived_id(parent_id: str, topic: str, index: int) -> str:
    """The id of the `index`-th event that a service makes of another: the same again when the work is done again."""
    # uuid.uuid5 by hand: the class costs three times as much, and ids are made for every output.
    digest = bytearray(hashlib.sha1(_IDS + f"{parent_id}\n{topic}\n{index}".encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def record_of(send: Send, *, event_id: str, source: str, trace: Mapping[str, str], now: float | None = None) -> Record:
    """The record of one event; `now` (Unix seconds) is its time, the clock's where None.

    Raises:
        TypeError, ValueError: the body does not fit the topic or cannot be written.
    """
    topic = send.topic
    headers = [
        ("ce_id", event_id.encode()),
        ("ce_time", _rfc3339(time.time() if now is None else now)),
        *_constant_headers(source, topic.body),
    ]
    headers += ((name, text.encode()) for name, text in trace_of(trace).items())
    if send.not_before is not None:
        if not topic.delayed:
            raise ValueError(f"{topic.name} is not a delayed topic, so not_before has no meaning there")
        headers.append((NOT_BEFORE, str(int(send.not_before * 1000)).encode()))
    return Record(topic.name, topic.key_of(send.body).encode(), wire.encode(send.body), tuple(headers))


def trace_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The W3C trace context among headers, if it is one; nothing else of them goes on, since producers write them."""
    parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    if not _TRACEPARENT.fullmatch(parent):
        return {}
    stated = 0 < len(state) <= _TRACESTATE_CHARACTERS_MAX and state.isascii() and state.isprintable()
    return {"traceparent": parent, "tracestate": state} if stated else {"traceparent": parent}


def is_letter(headers: Mapping[str, str]) -> bool:
    """Whether a record of a dead-letter topic says that something was given up, and not what became of letters before it."""
    return DISCARDED not in headers and ANSWERED not in headers


def texts_of(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    """The headers that are text; others are left out, and of repeated ones the last counts."""
    texts = {}
    for name, value in headers:
        if value is not None:
            try:
                texts[name] = value.decode()
            except UnicodeDecodeError:
                continue
    return texts


def event_of(
    topic: Topic, position: Position, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Mapping[str, str]
) -> Event[object]:
    """The event in a record of `topic`, which may have come back through a retry topic.

    What our own headers say counts only there: on the topic itself, producers write them.

    Raises:
        wire.Undecodable: the record is no such event.
    """
    if not value and DATA_REFERENCE in headers:
        raise wire.Undecodable(f"the body lies elsewhere ({DATA_REFERENCE} {headers[DATA_REFERENCE][:200]!r}): not fetched here")
    if value is None:
        raise wire.Undecodable("the record has no value")
    declared = headers.get("ce_type")
    if declared is not None and topic.body is not bytes and declared != wire.message_name(topic.body):
        raise wire.Undecodable(f"ce_type is {declared[:200]!r}, {topic.name} holds {wire.message_name(topic.body)}")
    own = headers if position.topic != topic.name else {}
    origin = origin_of(own)
    first = origin or position
    sent_back = SENT_BACK in own
    body: object = wire.decode(topic.body, value)
    return Event(
        id=headers.get("ce_id") or derived_id(f"{first.topic}/{first.partition}/{first.offset}", first.topic, 0),
        topic=topic.name,
        key="" if key is None else key.decode(errors="replace"),
        body=sent_back_once(body) if sent_back else body,
        time=_unix_seconds(headers.get("ce_time")) or timestamp_ms / 1000,
        position=position,
        attempt=integer(own, ATTEMPT, 1),
        headers={name: text for name, text in headers.items() if not name.startswith(OWN_PREFIX)},
        origin=origin,
        sent_back=sent_back,
    )


def origin_of(headers: Mapping[str, str]) -> Position | None:
    """Where a record was first read, when it came back through a retry topic or lies among the dead letters."""
    topic = headers.get(ORIGIN_TOPIC)
    if topic is None:
        return None
    return Position(topic, integer(headers, ORIGIN_PARTITION, -1), integer(headers, ORIGIN_OFFSET, -1))


def integer(headers: Mapping[str, str], name: str, default: int) -> int:
    """A header as an integer, `default` where it is absent or none."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else default  # noqa: PLR2004  # 64 bits


def not_before_of(headers: Iterable[tuple[str, bytes | None]]) -> float:
    """When a delayed record may be handled, in Unix seconds; 0 where it says nothing."""
    for name, value in headers:
        if name == NOT_BEFORE and value is not None and value.isdigit():
            return int(value[:20]) / 1000
    return 0.0


@lru_cache(maxsize=1_024)
def _constant_headers(source: str, body: type) -> Headers:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_type", wire.message_name(body).encode()),
        ("content-type", CONTENT_TYPE.encode()),
    )


@lru_cache(maxsize=64)  # the outputs of one batch share their time
def _rfc3339(unix_seconds: float) -> bytes:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def _unix_seconds(text: str | None) -> float | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None
