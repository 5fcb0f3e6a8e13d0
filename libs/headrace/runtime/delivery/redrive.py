"""Dead letters: reading them, and sending them back to the service that could not process them, exactly once."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from headrace.adapters.claim_check import LargeBodies
from headrace.adapters.kafka import mend as kafka_mend  # noqa: F401  # before the first consumer: redriving reads a committed offset
from headrace.adapters.kafka.streams import RecordReader, bootstrap_list, reach
from headrace.adapters.wire.envelope import (
    ATTEMPT,
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
from headrace.runtime.delivery.transactions import throw_away, write

REDRIVE_GROUP = "headrace.redrive"
"""Its offset in a dead-letter topic says up to where the letters were redriven."""
_CHUNK = 200
_DROPPED = frozenset({ATTEMPT, ERROR, ERROR_CLASS, GROUP, NOT_BEFORE, SENT_BACK})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that a service gave up, as it was read, and why."""

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
    )


async def redriven_up_to(bootstrap: str, dlq_topic: str) -> int:
    """The offset before which every letter was redriven.

    Raises:
        BrokerUnreachable: the broker does not answer.
    """
    consumer = _consumer(bootstrap, dlq_topic)
    try:
        await reach(consumer.start, bootstrap)
        return await _committed(consumer, TopicPartition(dlq_topic, 0))
    finally:
        await consumer.stop()


async def redrive(bootstrap: str, dlq_topic: str, *, limit: int | None = None) -> int:
    """Sends the letters that were not redriven yet back, oldest first and at most `limit`; returns how many.

    They go to the retry topic of the service that gave them up, not to their source topic, where its other readers would
    see them again; the service handles them there as records of the source topic, with their own bytes, key, headers and
    first coordinates, and all attempts before them. Each chunk is one transaction with the offset up to which letters were
    redriven: interrupted, run twice or run by two people at once, it sends each letter back once.

    Raises:
        BrokerUnreachable: the broker does not answer, or there is no such topic.
        KafkaError: the broker refused, or someone else redrives the same letters at this moment.
    """
    retry_topic = dlq_topic.removesuffix(DLQ_SUFFIX) + RETRY_SUFFIX
    tp = TopicPartition(dlq_topic, 0)
    async with RecordReader.opened(bootstrap, [dlq_topic, retry_topic], start="end"):
        pass  # says clearly which topic is not there
    consumer = _consumer(bootstrap, dlq_topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_list(bootstrap), transactional_id=f"{REDRIVE_GROUP}-{dlq_topic}", retry_backoff_ms=10
    )
    sent = 0
    try:
        await reach(producer.start, bootstrap)
        await reach(consumer.start, bootstrap)
        consumer.seek(tp, await _committed(consumer, tp))
        end = (await consumer.end_offsets([tp]))[tp]
        while (limit is None or sent < limit) and await consumer.position(tp) < end:
            most = _CHUNK if limit is None else min(_CHUNK, limit - sent)
            batch = (await consumer.getmany(timeout_ms=200, max_records=most)).get(tp, [])
            if batch:
                await write(
                    producer, [returned_record(record, retry_topic) for record in batch], tp, batch[-1].offset + 1, REDRIVE_GROUP
                )
                sent += len(batch)
    finally:
        await consumer.stop()
        await throw_away(producer)
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


async def _committed(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
    committed: int | None = await consumer.committed(tp)
    beginnings: dict[TopicPartition, int] = await consumer.beginning_offsets([tp])
    return max(committed or 0, beginnings[tp])
