"""Reading whole topics: whatever a poll ends with, whoever reads on misses nothing."""

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from headrace.adapters.kafka.streams import RecordReader
from headrace.core.events import Position

GOOD, BAD = TopicPartition("toy", 0), TopicPartition("toy", 1)


class PlayedConsumer:
    """Six records in one partition; while the other `is_broken`, a poll takes some of them and fails, as aiokafka's does."""

    def __init__(self) -> None:
        self.positions = {GOOD: 0, BAD: 0}
        self.is_broken = False

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    async def end_offsets(self, _: object) -> dict[TopicPartition, int]:
        return {GOOD: 6, BAD: 0}

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def getmany(self, **_: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        first = self.positions[GOOD]
        self.positions[GOOD] = first + 2
        if self.is_broken:
            raise KafkaError("cannot be read")
        return {GOOD: [ConsumerRecord("toy", 0, offset, 0, 0, None, b"v", None, 0, 1, ()) for offset in (first, first + 1)]}


async def test_what_a_failed_poll_had_read_is_read_again() -> None:
    """Its positions went on, its records went with the error."""
    consumer = PlayedConsumer()
    reader = RecordReader(consumer, "nowhere", None)
    reader.seek(Position("toy", 0, 0))
    seen: list[int] = []

    async def read_until_it_breaks() -> None:
        async for record in reader.until_now():
            seen.append(record.offset)
            consumer.is_broken = len(seen) == 2

    with pytest.raises(KafkaError):
        await read_until_it_breaks()
    consumer.is_broken = False
    seen += [record.offset async for record in reader.until_now()]
    assert seen == [0, 1, 2, 3, 4, 5]
