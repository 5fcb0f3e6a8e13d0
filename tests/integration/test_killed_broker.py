"""A broker without others keeps what it confirmed, however often it is killed."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from headrace.adapters.wire.envelope import Record
from headrace.core.topics import Topic
from headrace.local.kafka import Kafka, Node, properties
from headrace.local.killed_broker import was_killed
from headrace.local.launch import Launch, Place, signal_group, spawn, stop_group
from headrace.local.ports import free_port
from headrace.runtime.delivery.transactions import TransactionalWriter
from tests.fakes.toy_topics import new_topics
from tests.integration.test_transactions import committed, to

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]

KILLS = 3
WRITERS = 8


class Broker:
    """One broker that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        taken: set[int] = set()
        ports = {}
        for name in Kafka().port_names:
            ports[name] = free_port(taken)
            taken.add(ports[name])
        self.log_folder = folder / "kafka" / "log"
        self.launch: Launch = Kafka().prepare(Place(folder / "kafka", folder / "kafka.log", ports), lambda _: None)
        self.address = self.launch.tells["HEADRACE_KAFKA"]
        self.process: subprocess.Popen[bytes] = spawn(self.launch)

    @classmethod
    @asynccontextmanager
    async def serving(cls, folder: Path) -> "AsyncIterator[Broker]":
        """Stopped, not killed, at the end."""
        broker = cls(folder)
        try:
            await broker.serves()
            yield broker
        finally:
            await asyncio.to_thread(stop_group, broker.process, broker.launch)

    def kill(self) -> None:
        """SIGKILL; it is started again at once."""
        signal_group(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert was_killed(self.log_folder)
        self.process = spawn(self.launch)

    async def serves(self) -> None:
        """Returns once it does."""
        while True:
            with suppress(OSError):
                return await self.launch.probe()
            assert self.process.poll() is None
            await asyncio.sleep(0.1)


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


async def test_what_a_killed_broker_confirmed_is_there_when_it_is_back(tmp_path: Path) -> None:
    """Transactions of eight writers; it is let in again long before the session would end that it had when it was killed."""
    session_s = int(str(properties(Node(1, 1, 2), (Node(1, 1, 2),), tmp_path)["broker.session.timeout.ms"])) / 1000
    confirmed = {f"writer-{number}": 0 for number in range(WRITERS)}
    over = asyncio.Event()
    async with Broker.serving(tmp_path) as broker, asyncio.TaskGroup() as group:
        topics = await asyncio.to_thread(new_topics, broker.address, partitions=4)
        for name in confirmed:
            group.create_task(_write_on(broker.address, name, topics, confirmed, over))
        for _ in range(KILLS):
            await asyncio.sleep(2.0)
            before = dict(confirmed)
            broker.kill()
            killed_at = time.monotonic()
            await broker.serves()
            assert time.monotonic() - killed_at < session_s
            while any(confirmed[name] <= before[name] + 1 for name in confirmed):  # noqa: ASYNC110  # nothing sets an event for us
                await asyncio.sleep(0.1)
        over.set()
    assert not was_killed(broker.log_folder)
