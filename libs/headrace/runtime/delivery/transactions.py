"""One transaction: outputs and the consumed offset become visible together, or not at all."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata

from headrace.adapters.kafka.partitioning import partition_of
from headrace.adapters.wire.envelope import Record

sender.BACKOFF_OVERRIDE = 0.005
"""Seconds until a transaction is begun again that met the last one's markers still being written; aiokafka waits 20 ms."""
_METADATA_S = 5.0
_CLOSE_S = 1.0


class TopicMissing(Exception):
    """An output's topic does not exist."""


async def write(
    producer: AIOKafkaProducer, records: Sequence[Record], source: TopicPartition, offset: int, group: str, metadata: str = ""
) -> None:
    """Writes the records and the group's offset in `source`, with the metadata beside it, as one transaction.

    After any error the producer is unusable, and whether the transaction took place is settled by whoever next starts a
    producer with its transactional id.
    """
    batches = await _batches(producer, records)
    await producer.begin_transaction()
    # Every send's future is awaited: commit_transaction() succeeds after a failed send, and the record would be missing.
    parts = [asyncio.create_task(_send(producer, target, builders)) for target, builders in batches.items()]
    offsets = producer.send_offsets_to_transaction({source: OffsetAndMetadata(offset, metadata)}, group)
    parts.append(asyncio.create_task(offsets))
    try:
        await asyncio.gather(*parts)
    finally:
        for part in parts:
            part.cancel()
    await producer.commit_transaction()


async def throw_away(producer: AIOKafkaProducer) -> None:
    """Closes a producer whatever state it is in, without waiting for what it still has to send, as `stop()` would."""
    producer._closed = True  # noqa: SLF001  # it has no method that closes without sending
    task = producer._sender.sender_task  # noqa: SLF001  # likewise
    for _ in range(2 if task is not None else 0):
        task.cancel()  # at first it waits for the requests on their way, the second time it leaves them
        await asyncio.wait({task}, timeout=_CLOSE_S)
    waiter = producer._txn_manager._transaction_waiter  # noqa: SLF001  # else its error is reported as never retrieved
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()
    with contextlib.suppress(Exception):
        await producer.client.close()


async def _batches(producer: AIOKafkaProducer, records: Sequence[Record]) -> dict[TopicPartition, list[BatchBuilder]]:
    """The records as batches by target partition, in order: one future for each batch instead of one for each record."""
    partitions = {topic: await _partitions_of(producer, topic) for topic in {record.topic for record in records}}
    batches: dict[TopicPartition, list[BatchBuilder]] = defaultdict(list)
    for record in records:
        numbers = partitions[record.topic]
        builders = batches[TopicPartition(record.topic, partition_of(record.key, numbers))]
        if not builders or not _append(builders[-1], record):
            builders.append(producer.create_batch())
            if not _append(builders[-1], record):
                raise ValueError(f"a record for {record.topic} does not fit an empty batch")
    return batches


async def _partitions_of(producer: AIOKafkaProducer, topic: str) -> list[int]:
    try:
        async with asyncio.timeout(_METADATA_S):
            return sorted(await producer.partitions_for(topic))
    except TimeoutError:
        raise TopicMissing(f"topic {topic} does not exist, or its broker does not answer") from None


def _append(builder: BatchBuilder, record: Record) -> bool:
    return builder.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers)) is not None


async def _send(producer: AIOKafkaProducer, target: TopicPartition, builders: Sequence[BatchBuilder]) -> None:
    sent = [await producer.send_batch(builder, target.topic, partition=target.partition) for builder in builders]
    await asyncio.gather(*sent)
