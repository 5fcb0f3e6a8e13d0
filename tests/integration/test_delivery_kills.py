"""Real processes killed, paused and woken in the middle of their work: a reader of committed records sees every id once."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer

from headrace.adapters.kafka.admin import KafkaAdmin, TopicSpec, consumer_specs
from headrace.adapters.kafka.streams import bootstrap_list
from headrace.core.topics import Topic
from tests.fakes.toy_topics import BRIEF, GROUP, bodies_in, dead_in, publish, toy_topic, until_seen

pytestmark = pytest.mark.connected

PARTITIONS = 4
WORKER = Path(__file__).parents[1] / "fakes" / "toy_worker.py"
ZOMBIE_S = 2.2
"""The session time-out is 1.5 s: someone else owns a worker's partitions when it wakes."""
FATES = (("KILL", 4), ("STOP", 3), ("STOP", 6), ("KILL", 7), ("KILL", 2), ("KILL", 5))
"""In which transaction the first workers kill or stop themselves; later ones live until they are killed from outside."""


class Workers:
    """Two workers for each stage; whoever dies is started again, and whoever stops is woken once it is a zombie."""

    def __init__(self, bootstrap: str, topics: list[Topic], log: Path, fates: tuple[tuple[str, int], ...]) -> None:
        self._bootstrap = bootstrap
        self._log = log.open("wb")
        self._fates = iter(fates)
        self._seed = 0
        self.kills = self.zombies = 0
        self.stages = [(source.name, target.name) for source, target in itertools.pairwise(topics) for _ in range(2)]
        self.running = [self._start(*stage) for stage in self.stages]

    async def tend(self) -> None:
        """Starts the dead again and wakes the stopped, until cancelled."""
        while True:
            for number, worker in enumerate(self.running):
                if worker.poll() is not None:
                    self.kills += 1
                    self.running[number] = self._start(*self.stages[number])
                elif psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED:
                    await asyncio.sleep(ZOMBIE_S)
                    worker.send_signal(signal.SIGCONT)
                    self.zombies += 1
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Ends them all."""
        for worker in self.running:
            worker.kill()
            worker.wait()
        self._log.close()

    def _start(self, source: str, target: str) -> subprocess.Popen[bytes]:
        self._seed += 1
        fate, at = next(self._fates, ("-", 0))
        arguments = [self._bootstrap, source, target, str(PARTITIONS), str(self._seed), fate, str(at)]
        return subprocess.Popen([sys.executable, str(WORKER), *arguments], stdout=self._log, stderr=self._log)


@contextmanager
def workers(bootstrap: str, topics: list[Topic], log: Path, fates: tuple[tuple[str, int], ...] = ()) -> Iterator[Workers]:
    """The workers of a flow, running."""
    started = Workers(bootstrap, topics, log, fates)
    try:
        yield started
    finally:
        started.stop()


async def test_killed_and_paused_workers_lose_and_double_nothing(kafka: str, tmp_path: Path) -> None:
    """Workers die and freeze inside transactions and anywhere else while 2,000 records go through two stages."""
    luck = random.Random(7)
    topics = three_topics(kafka)
    ids = [f"id-{number}".encode() for number in range(2_000)]
    with workers(kafka, topics, tmp_path / "workers.log", FATES) as flow:
        tending = asyncio.create_task(flow.tend())
        publishing = asyncio.create_task(trickle(kafka, topics[0], ids))
        for _ in range(4):
            await asyncio.sleep(luck.uniform(1.0, 2.5))
            flow.running[luck.randrange(4)].kill()
        await publishing
        await until_seen(kafka, topics[2], len(ids))
        await asyncio.sleep(1)  # for whatever should not come
        tending.cancel()
    for topic in topics[1:]:
        seen = Counter(await bodies_in(kafka, topic))
        assert seen == Counter(ids), [(body, count) for body, count in seen.items() if count != 1][:10]
    assert [await dead_in(kafka, topic) for topic in topics[:2]] == [[], []]
    thrown_away = sum([len(await uncommitted_in(kafka, topic.name)) - len(ids) for topic in topics[1:]])
    assert thrown_away > 0, "no kill met a transaction: the schedule shows nothing"
    print(f"{flow.kills} kills, {flow.zombies} zombies: {len(ids)} ids once each; {thrown_away} records thrown away")  # noqa: T201  # the count is the point


async def test_a_survivor_takes_over_within_seconds(kafka: str, tmp_path: Path) -> None:
    """From `kill -9` of one of two workers until its partitions go on elsewhere: long before a rebalance is given up."""
    topics = three_topics(kafka)
    with workers(kafka, topics, tmp_path / "workers.log") as flow:
        await publish(kafka, topics[0], [b"warm"])
        await until_seen(kafka, topics[1], 1)
        flow.running[0].kill()
        began = time.monotonic()
        last = [f"after-{number}".encode() for number in range(40)]  # enough for every partition to have some
        await publish(kafka, topics[0], last)
        await until_seen(kafka, topics[1], 1 + len(last))
        assert time.monotonic() - began < BRIEF.rebalance_timeout_ms / 1_000


def three_topics(bootstrap: str) -> list[Topic]:
    """A flow of two stages."""
    tag = f"headrace.toy-{os.urandom(4).hex()}"
    topics = [toy_topic(f"{tag}.{name}", partitions=PARTITIONS) for name in ("first", "second", "third")]
    with KafkaAdmin(bootstrap) as admin:
        specs = [TopicSpec(topic.name, PARTITIONS, {}) for topic in topics]
        for topic in topics[:2]:
            specs += consumer_specs(topic.name, GROUP, PARTITIONS)
        admin.create(specs, replication_factor=1)
    return topics


async def trickle(bootstrap: str, topic: Topic, ids: list[bytes]) -> None:
    """Publishes for about eight seconds, so that kills find work in hand."""
    for first in range(0, len(ids), 60):
        await publish(bootstrap, topic, ids[first : first + 60])
        await asyncio.sleep(0.2)


async def uncommitted_in(bootstrap: str, topic: str) -> list[bytes]:
    """What a reader that ignores transactions sees: also what was thrown away."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_list(bootstrap), auto_offset_reset="earliest")
    await consumer.start()
    try:
        values = []
        while batches := await consumer.getmany(timeout_ms=1_000):
            values += [record.value for batch in batches.values() for record in batch]
        return values
    finally:
        await consumer.stop()
