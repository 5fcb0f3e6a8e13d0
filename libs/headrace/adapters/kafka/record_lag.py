"""How many records, not offsets, readers have still before them: commit markers take offsets and are no records."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from headrace.adapters.kafka.admin import Gap, KafkaAdmin, consumer_groups
from headrace.adapters.kafka.streams import START_S, bootstrap_list, reach

COUNT_MAX = 10_000
"""Records counted one by one in each partition; what lies further is estimated from their density."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What one group has still to read of one partition. `exact` is False where `records` is an estimate."""

    group: str
    topic: str
    partition: int
    records: int
    exact: bool
    offsets: int


async def gaps(bootstrap: str, groups: Iterable[tuple[str, Sequence[str]]], *, start_s: float = START_S) -> list[Gap]:
    """How far groups are behind in their topics, in offsets: see `KafkaAdmin.gaps`.

    Raises:
        BrokerUnreachable: the broker does not answer within `start_s` seconds.
        KafkaError: it stopped answering.
    """

    def read() -> list[Gap]:
        with KafkaAdmin(bootstrap, start_s=start_s) as admin:
            return admin.gaps(groups)

    return await asyncio.to_thread(read)


async def lags(
    bootstrap: str,
    groups: Iterable[tuple[str, Sequence[str]]] | None = None,
    *,
    count_max: int = COUNT_MAX,
    start_s: float = START_S,
) -> list[Lag]:
    """The lag of every exactly-once consumer, or of the groups given with their topics, by partition.

    Raises:
        BrokerUnreachable: the broker does not answer within `start_s` seconds.
    """
    wanted = list(consumer_groups() if groups is None else groups)
    found = await gaps(bootstrap, wanted, start_s=start_s)
    if not any(gap.offsets for gap in found):  # a consumer that is stopped as soon as it has started raises CancelledError
        return [_nothing(gap) for gap in found]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_list(bootstrap),
        isolation_level="read_committed",
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
    )
    try:
        await reach(consumer.start, bootstrap, start_s)
        return [await _count(consumer, gap, count_max) for gap in found]
    finally:
        await consumer.stop()


async def _count(consumer: AIOKafkaConsumer, gap: Gap, count_max: int) -> Lag:
    if not gap.offsets:
        return _nothing(gap)
    tp = TopicPartition(gap.topic, gap.partition)
    consumer.assign([tp])
    consumer.seek(tp, gap.committed)
    records, position = 0, gap.committed
    while position < gap.end and records < count_max:
        for batch in (await consumer.getmany(tp, timeout_ms=200, max_records=count_max)).values():
            records += sum(record.offset < gap.end for record in batch)
        position = await consumer.position(tp)
    exact = position >= gap.end
    if not exact:
        records = round(records * gap.offsets / (position - gap.committed))
    return Lag(gap.group, gap.topic, gap.partition, records, exact, gap.offsets)


def _nothing(gap: Gap) -> Lag:
    return Lag(gap.group, gap.topic, gap.partition, 0, exact=True, offsets=0)
