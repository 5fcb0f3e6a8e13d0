"""Transactions on a broker of today and on one whose cluster has not agreed on Kafka's newer transactions."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from headrace.adapters.kafka.streams import bootstrap_list
from headrace.adapters.wire.envelope import Record
from headrace.core.topics import Topic
from headrace.local.kafka import Kafka
from headrace.local.launch import run_tool
from headrace.local.running import running
from headrace.runtime.delivery.transactions import TopicMissing, TransactionalWriter
from tests.fakes.toy_topics import new_topics, records_in

pytestmark = pytest.mark.connected

Opening = Callable[..., AbstractAsyncContextManager[TransactionalWriter]]


@pytest.fixture(scope="module")
def older_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker whose cluster was made before Kafka 4.0, as far as transactions go."""
    with pytest.MonkeyPatch.context() as patch:
        feature = ("--feature", "transaction.version=0")
        patch.setattr("headrace.local.kafka.run_tool", lambda command, **options: run_tool((*command, *feature), **options))
        with running(Kafka(), tmp_path_factory.mktemp("older-kafka"), killed=True) as launch:
            yield launch.tells["HEADRACE_KAFKA"]


@pytest.fixture(params=["newer", "older"])
def broker(request: pytest.FixtureRequest) -> str:
    """The address of either broker."""
    address: str = request.getfixturevalue("kafka" if request.param == "newer" else "older_kafka")
    return address


@pytest.fixture
def topics(broker: str) -> tuple[Topic, Topic]:
    """A source of one partition, and what is made of it."""
    return new_topics(broker, partitions=1)


@pytest.fixture
def writing(broker: str) -> Opening:
    """Opens a writer; its group, and so whose offset it moves, has the name of its transactional id."""

    @asynccontextmanager
    async def opened(name: str | None = None) -> AsyncIterator[TransactionalWriter]:
        name = name or f"headrace.test-{os.urandom(4).hex()}"
        writer = TransactionalWriter(broker, name, name, client_id="test", timeout_ms=10_000)
        try:
            await writer.start()
            yield writer
        finally:
            await writer.close()

    return opened


def to(topic: Topic, *bodies: bytes, key: bytes | None = b"key") -> list[Record]:
    return [Record(topic.name, key, body, (("ce_id", b"1"),)) for body in bodies]


async def committed(broker: str, group: str, topic: Topic) -> int | None:
    """The offset up to which the group has read the topic's first partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_list(broker), group_id=group, enable_auto_commit=False)
    consumer.assign([TopicPartition(topic.name, 0)])
    await consumer.start()
    try:
        offset: int | None = await consumer.committed(TopicPartition(topic.name, 0))
        return offset
    finally:
        await consumer.stop()


def bodies(records: list[ConsumerRecord]) -> list[bytes]:
    return [record.value for record in records]


async def test_the_broker_says_which_transactions_it_knows(broker: str, writing: Opening, request: pytest.FixtureRequest) -> None:
    """Else one of the two ways would be tested twice and the other one never."""
    async with writing() as writer:
        assert writer._dialect.announces == ("older" in request.node.name)


async def test_outputs_and_offset_are_visible_together(broker: str, topics: tuple[Topic, Topic], writing: Opening) -> None:
    """Transaction after transaction, to several topics, also one without outputs."""
    source, out = topics
    _, other = new_topics(broker, partitions=3)
    tp = TopicPartition(source.name, 0)
    async with writing("headrace.test-together") as writer:
        for number in range(20):
            await writer.write([*to(out, b"%d" % number), *to(other, b"%d" % number, key=b"%d" % number)], tp, number + 1)
        await writer.write([], tp, 40)
    assert bodies(await records_in(broker, out.name)) == [b"%d" % number for number in range(20)]
    assert sorted(map(int, bodies(await records_in(broker, other.name)))) == list(range(20))
    async with writing("headrace.test-together"):  # settled behind InitProducerId
        assert await committed(broker, "headrace.test-together", source) == 40


async def test_more_than_a_batch_for_one_partition_keeps_its_order(
    topics: tuple[Topic, Topic], broker: str, writing: Opening
) -> None:
    """A request carries one batch for each partition: the next goes behind it."""
    source, out = topics
    large = [bytes([65 + number]) * 400_000 for number in range(8)]
    async with writing() as writer:
        for offset in (1, 2):
            await writer.write(to(out, *large), TopicPartition(source.name, 0), offset)
    assert [body[:1] for body in bodies(await records_in(broker, out.name))] == [body[:1] for body in large] * 2


async def test_a_later_writer_shuts_an_earlier_one_out(topics: tuple[Topic, Topic], broker: str, writing: Opening) -> None:
    """Nothing of the earlier one becomes visible any more, and the later one goes on at once."""
    source, out = topics
    tp = TopicPartition(source.name, 0)
    name = f"headrace.test-{os.urandom(4).hex()}"
    async with writing(name) as earlier:
        await earlier.write(to(out, b"before"), tp, 1)
        async with writing(name) as later:
            with pytest.raises(ProducerFenced):
                await earlier.write(to(out, b"zombie"), tp, 2)
            await later.write(to(out, b"after"), tp, 3)
    assert bodies(await records_in(broker, out.name)) == [b"before", b"after"]


async def test_what_was_not_committed_is_settled_by_the_next_writer(
    topics: tuple[Topic, Topic], broker: str, writing: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that dies with everything written and nothing committed leaves nothing behind, and holds nobody up."""
    source, out = topics
    tp = TopicPartition(source.name, 0)
    name = f"headrace.test-{os.urandom(4).hex()}"

    async def dies() -> None:
        raise ConnectionResetError

    async with writing(name) as writer:
        monkeypatch.setattr(writer, "_commit", dies)
        with pytest.raises(ConnectionResetError):
            await writer.write(to(out, b"never"), tp, 7)
    async with writing(name) as writer:
        assert await committed(broker, name, source) is None
        await writer.write(to(out, b"ever"), tp, 1)
    async with asyncio.timeout(5):
        assert bodies(await records_in(broker, out.name)) == [b"ever"]


async def test_a_record_that_the_broker_refuses_fails_the_whole_transaction(broker: str, writing: Opening) -> None:
    """An offset that moved past a record that was not written would have lost it (trap 5)."""
    source, out = new_topics(broker, partitions=1, config={"max.message.bytes": "2000"})
    _, other = new_topics(broker, partitions=1)
    name = f"headrace.test-{os.urandom(4).hex()}"
    async with writing(name) as writer:
        with pytest.raises(MessageSizeTooLargeError):
            await writer.write([*to(other, b"small"), *to(out, b"x" * 10_000)], TopicPartition(source.name, 0), 1)
    async with writing(name):
        assert await committed(broker, name, source) is None
    assert not await records_in(broker, other.name)


async def test_a_topic_that_does_not_exist_is_named(
    topics: tuple[Topic, Topic], writing: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In seconds, instead of at the end of a time-out that says nothing."""
    monkeypatch.setattr("headrace.runtime.delivery.transactions._METADATA_S", 0.5)
    async with writing() as writer:
        with pytest.raises(TopicMissing, match=r"headrace\.nowhere"):
            await writer.write([Record("headrace.nowhere", b"k", b"v", ())], TopicPartition(topics[0].name, 0), 1)


async def test_a_transaction_that_takes_too_long_is_aborted(topics: tuple[Topic, Topic], broker: str) -> None:
    """The broker gives it up at its time-out, and says so as if another writer had come (trap 9)."""
    source, out = topics
    name = f"headrace.test-{os.urandom(4).hex()}"
    writer = TransactionalWriter(broker, name, name, client_id="test", timeout_ms=1_000)
    plain = writer._commit

    async def late() -> None:
        await asyncio.sleep(4)
        await plain()

    writer._commit = late  # type: ignore[method-assign]  # a process that was paused
    try:
        await writer.start()
        with pytest.raises(KafkaError):
            await writer.write(to(out, b"late"), TopicPartition(source.name, 0), 1)
    finally:
        await writer.close()
    assert not await records_in(broker, out.name)
