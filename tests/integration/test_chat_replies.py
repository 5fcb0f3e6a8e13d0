"""Paid replies on a real broker: known to whoever takes the work over, and never paid for twice."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer

from headrace.adapters.chat.replies import Replies
from headrace.adapters.chat.settings import RepliesSettings
from headrace.adapters.kafka.admin import KafkaAdmin, TopicSpec
from headrace.adapters.kafka.streams import bootstrap_list, read_topic
from headrace.core.chat import KeptReply, Reply, identity_of
from headrace.core.dossiers import Cost
from headrace.core.events import Stop
from headrace.core.topics import CHAT_REPLIES
from headrace.local.kafka import Kafka
from headrace.local.launch import Place, signal_group, spawn, stop_group
from headrace.local.ports import free_port
from tests.fakes.chat_endpoint import StubEndpoint, after, answers, prompt_in
from tests.fakes.chat_worker import PARTITIONS, worker_calls

pytestmark = pytest.mark.connected

ROOT = Path(__file__).resolve().parents[2]
CALLS = 200
IN_FLIGHT = 8


def new_topic(bootstrap: str) -> None:
    with KafkaAdmin(bootstrap) as admin:
        admin.create([TopicSpec(CHAT_REPLIES.name, PARTITIONS, {})], replication_factor=1)


@pytest.fixture(scope="module")
def broker(own_kafka: str) -> str:
    """A broker of this module's own, with the topic of replies."""
    new_topic(own_kafka)
    return own_kafka


def kept(text: str = "Fine.", account: str = "r") -> KeptReply:
    """A reply that nobody has kept yet."""
    return KeptReply(os.urandom(32).hex(), "refiner", "stub", account, Reply(text, Cost("refiner", 0.5, 7, 3), "stub-1", "stop"))


@asynccontextmanager
async def process(broker: str, **settings):
    """What one process knows."""
    async with Replies.opened(broker, "headrace/test", RepliesSettings(**settings)) as replies:
        yield replies


async def test_what_one_process_paid_another_knows_once_it_has_caught_up(broker):
    """With the partition it was kept for, and no other."""
    first, second = kept(), kept("Zwei: ä数\U0001f9ee")
    async with process(broker) as one, process(broker) as other:
        await one.catch_up([0, 1])
        await one.store(0, first)
        await one.store(1, second)
        assert await one.find(first.identity) == first
        assert await other.find(first.identity) is None
        await other.catch_up([1])
        assert await other.find(second.identity) == second
        assert await other.find(first.identity) is None
        await other.catch_up([0, 1])
        assert await other.find(first.identity) == first


async def test_two_processes_that_hold_a_partition_in_turn_know_each_other_s_replies(broker):
    """Whoever wrote last, and however often it went back and forth."""
    replies = [kept(str(number)) for number in range(40)]
    async with process(broker) as one, process(broker) as other:
        for number, reply in enumerate(replies):
            holder = (one, other)[number // 10 % 2]
            if number % 10 == 0:
                await holder.catch_up([2])
                for earlier in replies[:number]:
                    assert await holder.find(earlier.identity) == earlier
            await holder.store(2, reply)
        for each in (one, other):
            await each.catch_up([2])
            for reply in replies:
                assert await each.find(reply.identity) == reply


async def test_replies_that_are_stored_at_once_are_all_kept(broker):
    """Many together are written together; large ones in as many pieces as they need."""
    replies = [kept("x" * size) for size in (10,) * 300 + (400_000,) * 6]
    async with process(broker) as one, process(broker) as other:
        await asyncio.gather(*(one.store(3, reply) for reply in replies))
        await other.catch_up([3])
        for reply in replies:
            assert await other.find(reply.identity) == reply


async def test_only_the_latest_replies_are_read_back(broker):
    """Take-over takes a bounded time, however long a partition's history."""
    replies = [kept(str(number)) for number in range(30)]
    async with process(broker) as one, process(broker, back_max=10) as other:
        for reply in replies:
            await one.store(0, reply)
        await other.catch_up([0])
        assert await other.find(replies[19].identity) is None
        assert await other.find(replies[20].identity) == replies[20]


async def test_rubbish_among_the_replies_is_skipped(broker, caplog):
    """One record that nobody can read hides none of the others."""
    reply = kept()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_list(broker))
    await producer.start()
    for value in (b"\xff\xff rubbish", b"", None):
        await producer.send_and_wait(CHAT_REPLIES.name, value, key=b"k", partition=1)
    await producer.stop()
    async with process(broker) as one, process(broker) as other:
        await one.store(1, reply)
        await other.catch_up([1])
        assert await other.find(reply.identity) == reply
    assert "is no reply and is skipped" in caplog.text


async def test_a_caller_who_leaves_does_not_lose_what_was_paid(broker):
    """Cancelled while Kafka takes the reply: it is kept all the same."""
    reply = kept()
    async with process(broker) as one:
        storing = asyncio.create_task(one.store(2, reply))
        await asyncio.sleep(0)
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
    async with process(broker) as other:
        await other.catch_up([2])
        assert await other.find(reply.identity) == reply


async def once_kafka_is_there(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What it comes to: a broker that has just begun, or goes on, leads its partitions only after a while."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Stop):
                return await ask()


async def test_while_kafka_is_away_work_stops_and_a_paid_reply_waits(tmp_path):
    """It is written when it is asked for again, and not paid again."""
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in Kafka().port_names}
    launch = Kafka().prepare(Place(tmp_path / "kafka", tmp_path / "kafka.log", ports), lambda _: None)
    broker = await asyncio.to_thread(spawn, launch)
    try:
        while True:
            try:
                await launch.probe()
                break
            except OSError:
                await asyncio.sleep(0.1)
        bootstrap = launch.tells["HEADRACE_KAFKA"]
        await asyncio.to_thread(new_topic, bootstrap)
        reply = kept()
        async with process(bootstrap, wait_s_max=1.0) as one:
            await once_kafka_is_there(partial(one.store, 0, kept()))
            signal_group(broker.pid, signal.SIGSTOP)
            for attempt in (one.store(0, reply), one.find(reply.identity), one.catch_up([0])):
                with pytest.raises(Stop, match="Kafka"):
                    await attempt
            signal_group(broker.pid, signal.SIGCONT)
            assert await once_kafka_is_there(partial(one.find, reply.identity)) == reply
        async with process(bootstrap) as other:
            await other.catch_up([0])
            assert await other.find(reply.identity) == reply
    finally:
        signal_group(broker.pid, signal.SIGCONT)
        await asyncio.to_thread(stop_group, broker, launch)


async def started(bootstrap: str, url: str, model: str) -> asyncio.subprocess.Process:
    environment = os.environ | {
        "HEADRACE_CHAT_URL": url, "HEADRACE_CHAT_MODEL": model, "HEADRACE_CHAT_CONCURRENCY": str(IN_FLIGHT),
    }  # fmt: skip
    return await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "tests/fakes/chat_worker.py", bootstrap, str(CALLS),
        stdout=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip


async def durable(bootstrap: str, model: str) -> set[str]:
    """What was asked in the calls of that model whose replies Kafka has."""
    ours = {identity_of(call, model): call.messages[0].content for call in worker_calls(CALLS)}
    kept = {event.body.identity async for event in read_topic(CHAT_REPLIES, bootstrap, until_now=True)}
    return {ours[identity] for identity in kept & ours.keys()}


async def asked_by_two(broker: str, stub: StubEndpoint, model: str, until: Callable[[], Awaitable[bool]]) -> set[str]:
    """One process is killed once `until` says so, another starts and asks all; what Kafka had between them."""
    async with stub.serving():
        first = await started(broker, stub.url, model)
        while not await until():  # noqa: ASYNC110  # neither the stub nor Kafka tells
            await asyncio.sleep(0.005)
        first.kill()
        await first.wait()
        between = await durable(broker, model)
        asked_before = len(stub.requests)
        stub.always = answers()
        again = await started(broker, stub.url, model)
        told, _ = await again.communicate()
    asked = Counter(prompt_in(request) for request in stub.requests)
    assert int(told) == len(asked) == CALLS
    assert {asked[prompt] for prompt in between} == {1}
    # Fewer where Kafka took the last writes of the killed process only after we looked.
    assert sum(times - 1 for times in asked.values()) <= asked_before - len(between)
    return between


async def test_a_process_that_is_killed_pays_nothing_twice_that_kafka_has(broker):
    """Killed amid its writes, at 60% of its calls, and started again: everything is answered, and nothing is lost."""
    stub = StubEndpoint(after(0.02, answers()))

    async def until() -> bool:
        return len(stub.requests) >= CALLS * 0.6

    assert await asked_by_two(broker, stub, "amid", until)


async def test_a_process_that_is_killed_pays_again_only_for_what_was_on_its_way(broker):
    """Every reply that came has been kept by the time: only the calls that the endpoint had not answered are made again."""
    replies, held = 120, asyncio.Event()

    async def behave(request: dict[str, Any]) -> web.StreamResponse:
        if len(stub.requests) > replies:
            await held.wait()
        return await answers()(request)

    async def until() -> bool:
        return len(stub.requests) == replies + IN_FLIGHT and len(await durable(broker, "held")) == replies

    stub = StubEndpoint(behave)
    assert len(await asked_by_two(broker, stub, "held", until)) == replies
    assert len(stub.requests) == CALLS + IN_FLIGHT
