"""Dead letters: reading them, and sending them back to the service that could not process them, or not, exactly once."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from headrace.adapters.claim_check import LargeBodies
from headrace.adapters.kafka import mend as kafka_mend  # noqa: F401  # before the first consumer: redriving reads a committed offset
from headrace.adapters.kafka.streams import RecordReader, bootstrap_list, reach
from headrace.adapters.wire.envelope import (
    ANSWERED,
    ATTEMPT,
    DISCARDED,
    ERROR,
    ERROR_CLASS,
    GROUP,
    NOT_BEFORE,
    ORIGIN_TIMESTAMP,
    OWN_PREFIX,
    SENT_BACK,
    Record,
    integer,
    origin_of,
    texts_of,
)
from headrace.core.events import Position
from headrace.core.topics import DLQ_SUFFIX, RETRY_SUFFIX
from headrace.runtime.delivery.answered import Answered
from headrace.runtime.delivery.transactions import TransactionalWriter

REDRIVE_GROUP = "headrace.redrive"
"""Its offset in a dead-letter topic, and what stands beside that, say which letters were answered; so does the last mark."""
_CHUNK = 200
_TRANSACTION_MS = 60_000
_DROPPED = frozenset({ATTEMPT, ERROR, ERROR_CLASS, GROUP, NOT_BEFORE, SENT_BACK, DISCARDED})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that a service gave up, as it was read, and why; `discarded` says why it is to stay where it is."""

    position: Position
    service: str
    origin: Position | None
    origin_timestamp_ms: int
    attempts: int
    error_class: str
    error: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str]
    discarded: str = ""


Which = Callable[[DeadLetter], bool]


async def dead_letters(
    bootstrap: str, dlq_topic: str, *, offset: int | None = None, large_bodies: LargeBodies | None = None
) -> AsyncGenerator[DeadLetter, None]:
    """The letters in a dead-letter topic as it stands now, oldest first; from `offset` on where one is given.

    A letter that refers to a body in the object store has that body as its value only with `large_bodies`, else none.

    Raises:
        BrokerUnreachable: the broker does not answer, or there is no such topic.
    """
    async with RecordReader.opened(bootstrap, [dlq_topic], large_bodies=large_bodies) as reader:
        if offset is not None:
            reader.seek(Position(dlq_topic, 0, offset))
        async for record in reader.until_now():
            if not _is_mark(record):
                yield letter_of(record)


def letter_of(record: ConsumerRecord) -> DeadLetter:
    """What a record of a dead-letter topic says; the letter's headers are the original record's."""
    texts = texts_of(record.headers)
    return DeadLetter(
        Position(record.topic, record.partition, record.offset),
        texts.get(GROUP, ""),
        origin_of(texts),
        integer(texts, ORIGIN_TIMESTAMP, -1),
        integer(texts, ATTEMPT, 1),
        texts.get(ERROR_CLASS, ""),
        texts.get(ERROR, ""),
        record.key,
        record.value,
        {name: text for name, text in texts.items() if not name.startswith(OWN_PREFIX)},
        texts.get(DISCARDED, ""),
    )


async def answered(bootstrap: str, dlq_topic: str) -> Answered:
    """Which letters were sent back or discarded.

    Raises:
        BrokerUnreachable: the broker does not answer.
    """
    consumer = _consumer(bootstrap, dlq_topic)
    try:
        await reach(consumer.start, bootstrap)
        return await _answered(consumer, bootstrap, TopicPartition(dlq_topic, 0))
    finally:
        await consumer.stop()


async def pending(bootstrap: str, dlq_topic: str) -> int:
    """How many letters were neither sent back nor discarded.

    Raises:
        BrokerUnreachable: the broker does not answer, or there is no such topic.
    """
    done, count = await answered(bootstrap, dlq_topic), 0
    async for letter in dead_letters(bootstrap, dlq_topic, offset=done.up_to):
        count += letter.position.offset not in done and not letter.discarded
    return count


async def redrive(bootstrap: str, dlq_topic: str, *, limit: int | None = None, which: Which | None = None) -> int:
    """Sends the letters that were not answered yet back, oldest first and at most `limit`; returns how many.

    With `which`, only those that it picks. They go to the retry topic of the service that gave them up, not to their source
    topic, where its other readers would see them again; the service handles them there as records of the source topic, with
    their own bytes, key, headers and first coordinates, and all attempts before them. Each chunk is one transaction with the
    mark of what was answered: interrupted, run twice or run by two people at once, it sends each letter back once.

    Raises:
        BrokerUnreachable: the broker does not answer, or there is no such topic.
        TooScattered: too many letters would be answered out of order.
        KafkaError: the broker refused, or someone else answers the same letters at this moment.
    """
    retry_topic = dlq_topic.removesuffix(DLQ_SUFFIX) + RETRY_SUFFIX
    return await _answer(bootstrap, dlq_topic, retry_topic, lambda record: returned_record(record, retry_topic), limit, which)


async def discard(bootstrap: str, dlq_topic: str, reason: str, *, limit: int | None = None, which: Which | None = None) -> int:
    """Marks letters as discarded, for this reason and for good: they stay dead letters and never go back; returns how many.

    Each is written once more to the end of its topic, with the reason, in the transaction that marks the first as answered.
    Otherwise as `redrive`, and raises as it does.
    """

    def discarded(record: ConsumerRecord) -> Record:
        return Record(dlq_topic, record.key, record.value, (*record.headers, (DISCARDED, reason.encode(errors="replace"))))

    return await _answer(bootstrap, dlq_topic, dlq_topic, discarded, limit, which)


async def _answer(
    bootstrap: str,
    dlq_topic: str,
    target: str,
    answer: Callable[[ConsumerRecord], Record],
    limit: int | None,
    which: Which | None,
) -> int:
    tp = TopicPartition(dlq_topic, 0)
    async with RecordReader.opened(bootstrap, [dlq_topic, target], start="end"):
        pass  # says clearly which topic is not there
    consumer = _consumer(bootstrap, dlq_topic)
    writer = TransactionalWriter(
        bootstrap, f"{REDRIVE_GROUP}-{dlq_topic}", REDRIVE_GROUP, client_id=REDRIVE_GROUP, timeout_ms=_TRANSACTION_MS
    )
    sent = 0
    first_left: int | None = None  # the offset of the first letter that stays unanswered
    try:
        await reach(writer.start, bootstrap)
        await reach(consumer.start, bootstrap)
        done = await _answered(consumer, bootstrap, tp)
        consumer.seek(tp, done.up_to)
        seen = done.up_to
        end = (await consumer.end_offsets([tp]))[tp]
        while (limit is None or sent < limit) and await consumer.position(tp) < end:
            batch = (await consumer.getmany(timeout_ms=200, max_records=_CHUNK)).get(tp, [])
            chosen: list[ConsumerRecord] = []
            spans: list[range] = []
            for record in batch:
                letter = letter_of(record)
                span, seen = range(seen, record.offset + 1), record.offset + 1  # with the offsets before it that hold no letter
                if record.offset in done or letter.discarded or _is_mark(record):
                    spans.append(span)
                elif record.offset < end and (which is None or which(letter)) and (limit is None or sent + len(chosen) < limit):
                    spans.append(span)
                    chosen.append(record)
                elif first_left is None:
                    first_left = record.offset
            if batch:
                done = done.and_then(spans, batch[-1].offset + 1 if first_left is None else first_left)
            if chosen:
                mark = Record(dlq_topic, None, None, ((ANSWERED, done.text().encode()),))
                await writer.write([*(answer(record) for record in chosen), mark], tp, done.up_to, done.metadata())
                sent += len(chosen)
    finally:
        await consumer.stop()
        await writer.close()
    return sent


def returned_record(record: ConsumerRecord, retry_topic: str) -> Record:
    """A dead letter as it goes back: its attempts begin anew, and it says that it was here."""
    headers = tuple((name, value) for name, value in record.headers if name not in _DROPPED)
    return Record(retry_topic, record.key, record.value, (*headers, (SENT_BACK, b"1")))


def _consumer(bootstrap: str, dlq_topic: str) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_list(bootstrap),
        group_id=REDRIVE_GROUP,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    consumer.assign([TopicPartition(dlq_topic, 0)])
    return consumer


def _is_mark(record: ConsumerRecord) -> bool:
    return any(name == ANSWERED for name, _ in record.headers)


async def _answered(consumer: AIOKafkaConsumer, bootstrap: str, tp: TopicPartition) -> Answered:
    marks = await consumer._coordinator.fetch_committed_offsets([tp])  # noqa: SLF001  # committed() keeps the metadata to itself
    beginnings: dict[TopicPartition, int] = await consumer.beginning_offsets([tp])
    mark = marks.get(tp)
    done = await _marked(bootstrap, tp.topic) if mark is None or mark.offset < 0 else Answered.read(mark.offset, mark.metadata)
    return done if done.up_to >= beginnings[tp] else Answered(beginnings[tp], done.beyond)


async def _marked(bootstrap: str, dlq_topic: str) -> Answered:
    """What the last mark among the letters says: Kafka has forgotten the offset, or nothing was ever answered."""
    told = "0:"
    async with RecordReader.opened(bootstrap, [dlq_topic]) as reader:
        async for record in reader.until_now():
            told = texts_of(record.headers).get(ANSWERED, told)
    return Answered.of_text(told)
