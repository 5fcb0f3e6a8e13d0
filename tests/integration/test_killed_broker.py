"""A broker without others keeps what it confirmed, however often it is killed."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from headrace.adapters.wire.envelope import Record
from headrace.core.topics import Topic
from headrace.local.kafka import Kafka, Node, properties
from headrace.local.killed_broker import was_killed
from headrace.local.launch import stop_group
from headrace.runtime.delivery.transactions import TransactionalWriter
from tests.e2e.spine import Spine
from tests.fakes.toy_topics import new_topics
from tests.integration.test_transactions import committed, to

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]

KILLS = 3
WRITERS = 8


async def _write_on(address: str, name: str, topics: tuple[Topic, Topic], confirmed: dict[str, int], over: asyncio.Event) -> None:
    """Commits one offset after the other; looks, after each time that it had to begin anew, whether the latest is there still."""
    source, out = topics
    while not over.is_set():
        writer = TransactionalWriter(address, name, name, client_id="test", timeout_ms=10_000)
        try:
            async with asyncio.timeout(30):
                await writer.start()
                found = await committed(address, name, source) or 0
            assert found >= confirmed[name], f"{name}: {confirmed[name]} was confirmed, {found} is there"
            confirmed[name] = found
            while not over.is_set():
                records: list[Record] = to(out, b"body", key=str(found % 5).encode())
                async with asyncio.timeout(30):
                    await writer.write(records, TopicPartition(source.name, 0), confirmed[name] + 1)
                confirmed[name] += 1
        except (KafkaError, OSError, TimeoutError):
            await asyncio.sleep(0.05)
        finally:
            await writer.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Spine]:
    """One broker, and nothing else."""
    spine = Spine(tmp_path)
    try:
        spine.start(Kafka())
        yield spine
    finally:
        spine.stop()


async def test_what_a_killed_broker_confirmed_is_there_when_it_is_back(alone: Spine) -> None:
    """Transactions of eight writers; it is let in again long before the session would end that it had when it was killed."""
    session_s = int(str(properties(Node(1, 1, 2), (Node(1, 1, 2),), alone.folder)["broker.session.timeout.ms"])) / 1000
    confirmed = {f"writer-{number}": 0 for number in range(WRITERS)}
    over = asyncio.Event()
    address, log_folder = alone.environment["HEADRACE_KAFKA"], alone.folder / "kafka" / "log"
    async with asyncio.TaskGroup() as group:
        topics = await asyncio.to_thread(new_topics, address, partitions=4)
        for name in confirmed:
            group.create_task(_write_on(address, name, topics, confirmed, over))
        for _ in range(KILLS):
            await asyncio.sleep(2.0)
            before = dict(confirmed)
            alone.kill("kafka")
            assert was_killed(log_folder)
            alone.restart("kafka")
            killed_at = time.monotonic()
            await asyncio.to_thread(alone.wait_until_it_serves, "kafka")
            assert time.monotonic() - killed_at < session_s
            while any(confirmed[name] <= before[name] + 1 for name in confirmed):  # noqa: ASYNC110  # nothing sets an event for us
                await asyncio.sleep(0.1)
        over.set()
    running = alone.parts["kafka"]
    stop_group(running.process, running.launch)
    assert not was_killed(log_folder)
