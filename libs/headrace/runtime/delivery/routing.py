"""Where results go: outputs, the retry topic, the dead letters. Pure: no clock, no client."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
    OWN_PREFIX,
    SENT_BACK,
    Headers,
    Record,
    derived_id,
    integer,
    record_of,
    texts_of,
)
from headrace.core.events import Emit, Event, Reject, Result, Retry
from headrace.core.topics import dlq_topic_name, retry_topic_name
from headrace.runtime.delivery.incoming import Incoming
from headrace.runtime.settings import DeliverySettings

ERROR_CHARS_MAX = 2_000
UNDECODABLE = "Undecodable"


def back_off_s(attempt: int, settings: DeliverySettings) -> float:
    """Seconds between the `attempt`-th attempt (from 1) and the next: doubling, within bounds."""
    doublings = min(attempt - 1, 64)
    return float(min(settings.retry_s_max, settings.retry_s_min * 2.0**doublings))


@dataclass(slots=True)
class Routed:
    """What one partition's part of a batch leads to, ready to be committed with its offset.

    `bodies`, by key, must lie in the object store before the records are written. `settled` holds the events with their
    results as they take effect; `dead` says of every record, undecodable ones too,
    whether it becomes a dead letter, and `faults` whether that counts towards the limit on them.
    """

    records: list[Record] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    emitted: Counter[str] = field(default_factory=Counter)
    settled: list[tuple[Event[Any], Result]] = field(default_factory=list)
    dead: list[bool] = field(default_factory=list)
    faults: list[bool] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def ended_as(self, kind: type[Result]) -> int:
        """How many events ended with this kind of result."""
        return sum(isinstance(result, kind) for _, result in self.settled)


class Router:
    """Turns the results of one subscription into records; with `claims`, large bodies leave their records."""

    def __init__(self, topic: str, group: str, settings: DeliverySettings, *, claims: bool = False) -> None:
        self._topic = topic
        self._group = group
        self._settings = settings
        self._claims = claims
        self._largest = (
            ("CLAIM_BYTES_MAX", settings.claim_bytes_max) if claims else ("RECORD_BYTES_MAX", settings.record_bytes_max)
        )

    def add(self, routed: Routed, incoming: Incoming, result: Result, trace: Mapping[str, str], now: float) -> None:
        """Adds what the result of one record leads to; `now` is Unix seconds."""
        event = incoming.event
        attempts = event.attempt if event is not None else 1
        if isinstance(result, Emit) and event is not None:
            result = self._emit(routed, event, result, trace, now)
        elif isinstance(result, Retry) and attempts >= self._settings.attempts_max:
            result = Reject(result.error_class, result.error)
        if isinstance(result, Retry):
            routed.records.append(self._retry(incoming, result, attempts, now))
        elif isinstance(result, Reject):
            routed.records.append(self._dead_letter(incoming, result, attempts))
            routed.errors[result.error_class] += 1
        routed.dead.append(isinstance(result, Reject))
        routed.faults.append(isinstance(result, Reject) and not result.parked)
        if event is not None:
            routed.settled.append((event, result))

    def _emit(self, routed: Routed, event: Event[Any], emit: Emit, trace: Mapping[str, str], now: float) -> Emit | Reject:
        """Adds all of an event's outputs, or none where one cannot be written: that would fail again however often."""
        source = f"headrace/{self._group}"
        try:
            records = [
                record_of(send, event_id=derived_id(event.id, send.topic.name, index), source=source, trace=trace, now=now)
                for index, send in enumerate(emit.sends)
            ]
        except Exception as error:  # noqa: BLE001  # a body that cannot be written is one record's trouble, not the batch's
            return Reject(type(error).__name__, f"an output cannot be written: {error}")
        largest = max((len(record.value or b"") for record in records), default=0)
        setting, most = self._largest
        if largest > most:
            return Reject("RecordTooLarge", f"an output of {largest} bytes is above HEADRACE_DELIVERY_{setting} ({most})")
        routed.records += (self._carried(routed, record) for record in records)
        routed.emitted.update(record.topic for record in records)
        return emit

    def _carried(self, routed: Routed, record: Record) -> Record:
        body = record.value or b""
        if not self._claims or len(body) <= self._settings.inline_bytes_max:
            return record
        record, key = detached(record)
        routed.bodies[key] = body
        return record

    def _retry(self, incoming: Incoming, retry: Retry, attempts: int, now: float) -> Record:
        not_before = now + back_off_s(attempts, self._settings)
        return self._again(
            retry_topic_name(self._topic, self._group),
            incoming,
            retry,
            {ATTEMPT: str(attempts + 1), NOT_BEFORE: str(int(not_before * 1000))},
        )

    def _dead_letter(self, incoming: Incoming, result: Reject, attempts: int) -> Record:
        return self._again(dlq_topic_name(self._topic, self._group), incoming, result, {ATTEMPT: str(attempts)})

    def _again(self, topic: str, incoming: Incoming, result: Retry | Reject, own: Mapping[str, str]) -> Record:
        """The record as it was read, bytes, key and headers, with where it came from and what went wrong."""
        record = incoming.record
        headers: Headers = tuple((name, value) for name, value in record.headers if not name.startswith(OWN_PREFIX))
        added = {
            **self._origin(incoming),
            ERROR_CLASS: result.error_class[:ERROR_CHARS_MAX],
            ERROR: result.error[:ERROR_CHARS_MAX],
            GROUP: self._group,
            **own,
        }
        encoded = tuple((name, text.encode(errors="replace")) for name, text in added.items())
        return Record(topic, record.key, record.value, headers + encoded)

    def _origin(self, incoming: Incoming) -> dict[str, str]:
        record = incoming.record
        if record.topic != self._topic:  # it came back: its first coordinates are those that count
            texts = texts_of(record.headers)
            return {
                ORIGIN_TOPIC: texts.get(ORIGIN_TOPIC, self._topic),
                ORIGIN_PARTITION: str(integer(texts, ORIGIN_PARTITION, -1)),
                ORIGIN_OFFSET: str(integer(texts, ORIGIN_OFFSET, -1)),
                ORIGIN_TIMESTAMP: str(integer(texts, ORIGIN_TIMESTAMP, -1)),
                **({SENT_BACK: "1"} if SENT_BACK in texts else {}),
            }
        return {
            ORIGIN_TOPIC: record.topic,
            ORIGIN_PARTITION: str(record.partition),
            ORIGIN_OFFSET: str(record.offset),
            ORIGIN_TIMESTAMP: str(record.timestamp),
        }


class DeadLetterLimit:
    """Whether too many of the latest records ended among the dead letters by a fault: a bad deploy, not bad records."""

    def __init__(self, share_max: float, window: int) -> None:
        self._most = share_max * window
        self._latest: deque[bool] = deque(maxlen=window)

    def exceeded_by(self, faults: Iterable[bool]) -> bool:
        """Whether the share would be above the limit once these records have ended so."""
        latest = self._latest.copy()
        latest.extend(faults)
        return sum(latest) > self._most

    def add(self, faults: Iterable[bool]) -> None:
        """These records have ended."""
        self._latest.extend(faults)
