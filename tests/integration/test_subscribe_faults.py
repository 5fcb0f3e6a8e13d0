"""What goes wrong while one subscribes: large bodies, stores and brokers that are away, records that are none."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import aclosing
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from headrace.adapters.claim_check import ClaimLimits, LargeBodies
from headrace.adapters.kafka.unreachable import BrokerUnreachable
from headrace.adapters.object_store import open_object_store
from headrace.client import Accepted, SubscribeLimits, UnreadableRecord, subscribe
from headrace.core.dossiers import Retraction
from headrace.core.events import Stop
from headrace.core.topics import accepted_topic
from headrace.local.kafka import Kafka
from headrace.local.launch import Place
from headrace.local.ports import free_port
from headrace.local.running import started
from tests.fakes.accepted_topics import accepted, new_dataset, publish
from tests.fakes.toy_topics import until

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
LONG = "so much to say " * 30_000
CLAIMS = ClaimLimits(256 * 1024, 16 * 1024 * 1024, 4)


@pytest.fixture
async def large(kafka, s3):
    """A dataset with large samples among small ones, and the store that they lie in."""
    store = s3.model_copy(update={"bucket": f"claims-{uuid4().hex[:12]}"})
    dataset = new_dataset(kafka)
    bodies = LargeBodies(partial(open_object_store, store), CLAIMS)
    async with aclosing(bodies):
        await publish(kafka, dataset, accepted(dataset, ["small-1", "small-2"]), bodies)
        await publish(kafka, dataset, accepted(dataset, ["large-1", "large-2", "large-3"], text=LONG), bodies)
    return dataset, store


async def test_large_samples_come_whole(kafka, large):
    """Their records hold references; a bound on memory that is below their sizes lets them come one at a time."""
    dataset, store = large
    limits = SubscribeLimits(prefetch_bytes=100_000)
    async with subscribe(dataset, kafka=kafka, follow=False, store=store, limits=limits) as items:
        texts = {item.sample_id: item.messages[0]["content"] async for item in items if isinstance(item, Accepted)}
    assert {name for name, text in texts.items() if text.endswith(LONG)} == {"large-1", "large-2", "large-3"}
    assert len(texts) == 5


async def test_without_a_store_the_first_large_sample_names_the_setting(kafka, large, monkeypatch):
    """Not left out: a trainer would never know. What came before it, and the position behind that, are not lost."""
    monkeypatch.delenv("HEADRACE_S3_ENDPOINT", raising=False)
    dataset, store = large
    seen: list[str] = []
    subscription = subscribe(dataset, kafka=kafka, follow=False, limits=SubscribeLimits(prefetch_rows=2))

    async def read(items):
        async for item in items:
            seen.append(item.sample_id)  # noqa: PERF401 - what came before an error counts

    with pytest.raises(Stop, match=r"headrace\.accepted.*HEADRACE_S3_ENDPOINT"):
        await read(subscription)
    behind = subscription.position
    assert behind is not None
    async with subscribe(dataset, start=behind, kafka=kafka, follow=False, store=store) as items:
        await read(items)
    assert sorted(seen) == ["large-1", "large-2", "large-3", "small-1", "small-2"]


async def test_a_body_that_is_missing_is_named(kafka, large):
    """Someone deleted it."""
    dataset, store = large
    async with open_object_store(store) as objects:
        keys = [entry.key async for entry in objects.list("claims/")]
        for key in keys:
            await objects.delete(key)
    with pytest.raises(UnreadableRecord, match="claims/sha256/"):
        async for _ in subscribe(dataset, kafka=kafka, follow=False, store=store):
            pass


async def test_a_record_that_is_no_sample_is_named(kafka):
    """Somebody wrote to the topic by hand."""
    dataset = new_dataset(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka)
    producer.send(accepted_topic(dataset).name, key=b"a", value=b"\xff\xff").get(30)
    producer.close()
    with pytest.raises(UnreadableRecord, match=rf"headrace\.accepted\.{dataset}\[\d\]@0: no AcceptedSample"):
        async for _ in subscribe(dataset, kafka=kafka, follow=False):
            pass


async def test_a_topic_or_a_broker_that_is_not_there_is_named(kafka):
    """At once, or after as long as the caller wants to wait."""
    with pytest.raises(BrokerUnreachable, match=r"no such dataset at .*: no-such-dataset has no topic there"):
        await anext(subscribe("no-such-dataset", kafka=kafka))
    with pytest.raises(BrokerUnreachable, match="HEADRACE_KAFKA"):
        await anext(subscribe("notes", kafka=f"127.0.0.1:{free_port(set())}", limits=SubscribeLimits(patience_s=1)))


async def test_a_broker_that_restarts_costs_nothing(tmp_path):
    """Killed and started again while a subscriber follows: it goes on, with nothing twice and nothing left out."""
    part, ports = Kafka(), dict[str, int]()
    for name in part.port_names:
        ports[name] = free_port(set(ports.values()))
    launch = await asyncio.to_thread(part.prepare, Place(tmp_path / "kafka", tmp_path / "kafka.log", ports, {}), lambda _: None)
    seen: list[str] = []
    kafka = launch.tells["HEADRACE_KAFKA"]

    async def follow(dataset):
        async with subscribe(dataset, kafka=kafka) as items:
            async for item in items:
                seen.append(item.sample_id)  # noqa: PERF401 - others look at it meanwhile

    async def has_seen(count):
        return len(seen) >= count

    serving = started(launch)
    await asyncio.to_thread(serving.__enter__)
    dataset = new_dataset(kafka)
    await publish(kafka, dataset, accepted(dataset, [f"a-{n}" for n in range(10)]))
    following = asyncio.create_task(follow(dataset))
    try:
        await until(partial(has_seen, 10))
        await asyncio.to_thread(serving.__exit__, None, None, None)
        await asyncio.sleep(1)
        serving = started(launch)
        await asyncio.to_thread(serving.__enter__)
        await publish(kafka, dataset, accepted(dataset, [f"b-{n}" for n in range(10)]))
        await until(partial(has_seen, 20))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await asyncio.to_thread(serving.__exit__, None, None, None)
    assert sorted(seen) == sorted(f"{letter}-{n}" for letter in "ab" for n in range(10))


async def test_the_command_prints_and_goes_on(kafka, tmp_path):
    """A person sees it work: lines or JSON, the position at the end, an error in one line."""
    dataset = new_dataset(kafka)
    await publish(kafka, dataset, accepted(dataset, ["s-1"]))
    await publish(kafka, dataset, [Retraction(dataset, "s-1", 0, "privacy")])
    environment = os.environ | {"HEADRACE_KAFKA": kafka, "HEADRACE_HOME": str(tmp_path / "no-stack")}

    async def headrace(*arguments):
        command = [sys.executable, "-m", "headrace.cli.main", "subscribe", dataset, "--no-follow", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
        )

    first = await headrace("--limit", "1", "--json")
    assert json.loads(first.stdout)["messages"][3] == {"role": "assistant", "content": "42"}
    position = first.stderr.split()[1]
    assert (await headrace("--from", position)).stdout == "s-1 r0  taken back: privacy\n"
    refused = await headrace("--from", position[:-1])
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "position token" in refused.stderr
