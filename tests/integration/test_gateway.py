"""The gateway as a whole, in front of a real Kafka."""

import asyncio
import contextlib
import json
import time

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import RecordReader, read_topic
from headrace.adapters.policies.published import PolicyTopics, publish_policy
from headrace.client import Refused, Submitted, submit
from headrace.core.policies import Policy
from headrace.core.topics import INGEST, SUBMITTED, dlq_topic_name
from headrace.local.ports import LOCALHOST, free_port
from headrace.runtime.app import CannotStart, ServiceProcess
from headrace.runtime.settings import DeliverySettings, RuntimeSettings
from headrace_protos.sample.v1 import sample_pb2
from services.gateway.spine import spine_lag
from tests.fakes.gateway import lines, sample

pytestmark = pytest.mark.connected

DATASET = "gateway-whole"


@pytest.fixture
async def ports(kafka, monkeypatch):
    """A running gateway in front of a real broker: its gRPC and HTTP ports."""
    with KafkaAdmin(kafka) as admin:
        admin.ensure_topics(partitions=2, replication_factor=1)
    await publish_policy(DATASET, Policy(), PolicyTopics(kafka, 2, 1, 30), now=time.time())
    grpc_port = free_port(set())
    http_port = free_port({grpc_port})
    for name, value in (("GRPC_PORT", grpc_port), ("HTTP_PORT", http_port), ("LAG_MAX", 10**9)):
        monkeypatch.setenv(f"HEADRACE_GATEWAY_{name}", str(value))
    process = ServiceProcess(("gateway",), RuntimeSettings(kafka=kafka), DeliverySettings())
    running = asyncio.create_task(process.run())
    try:
        await _ready(process, running)
        yield grpc_port, http_port
    finally:
        process.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _ready(process, running):
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            if running.done():
                await running
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{LOCALHOST}:{process.health_port}/readyz") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)


async def submitted(kafka, count, dataset=DATASET):
    """The dossiers of a dataset once there are so many."""
    async with asyncio.timeout(60):
        while True:
            found = [event.body async for event in read_topic(SUBMITTED, kafka, until_now=True)]
            ours = [dossier for dossier in found if dossier.sample.dataset_id == dataset]
            if len(ours) >= count:
                return ours
            await asyncio.sleep(0.2)


async def test_every_entry_leads_to_one_topic(kafka, ports):
    """gRPC, HTTP and Kafka; what is acknowledged is readable, what is garbled is among the dead letters with its bytes."""
    grpc_port, http_port = ports
    answers = [
        answer
        async for answer in submit(
            DATASET, [sample("g1", id="g1"), {}, sample("g2", id="g2")], gateway=f"{LOCALHOST}:{grpc_port}"
        )
    ]
    assert [type(answer) for answer in answers] == [Submitted, Refused, Submitted]
    async with aiohttp.ClientSession() as session:
        url = f"http://{LOCALHOST}:{http_port}/v1/datasets/{DATASET}/samples"
        async with session.post(url, data=lines(sample("h1", id="h1"), sample("h2", id="h2"))) as response:
            assert [json.loads(line)["status"] for line in (await response.text()).splitlines()] == ["received", "received"]
    assert {dossier.sample.id for dossier in await submitted(kafka, 4)} >= {"g1", "g2", "h1", "h2"}

    garbled = b"\xff\x00 garbled"
    message = sample_pb2.Sample(
        id="k2", messages=[sample_pb2.Message(role="user", content="a"), sample_pb2.Message(role="assistant", content="b")]
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        await producer.send_and_wait(INGEST.name, json.dumps(sample("k1", id="k1", dataset=DATASET)).encode())
        headers = [("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_source", b"tests"), ("ce_type", b"org.example.sample")]
        headers += [("ce_dataset", DATASET.encode()), ("content-type", b"application/protobuf")]
        await producer.send_and_wait(INGEST.name, message.SerializeToString(), headers=headers)
        for number in range(250):  # more than the dead letters that would stop a consumer of our own events
            await producer.send(INGEST.name, b"\xff garbled %d" % number)
        await producer.flush()
        await producer.send_and_wait(INGEST.name, garbled, headers=[("dataset", DATASET.encode())])
        await producer.send_and_wait(INGEST.name, json.dumps(sample("k3")).encode(), headers=[("dataset", b"../etc")])
        for number in range(8):  # into every partition, behind the garbled ones
            last = json.dumps(sample(f"l{number}", id=f"l{number}", dataset=DATASET)).encode()
            await producer.send_and_wait(INGEST.name, last, partition=number % 2)
    finally:
        await producer.stop()
    dossiers = {dossier.sample.id: dossier for dossier in await submitted(kafka, 14)}
    assert {name: dossiers[name].sample.origin.entry for name in ("g1", "h1", "k1", "k2")} == {
        "g1": "grpc", "h1": "http", "k1": "kafka", "k2": "kafka",
    }  # fmt: skip
    assert {garbled} < await _dead_letters(kafka, lambda found: len(found) >= 252)


async def _dead_letters(kafka, are_enough):
    async with asyncio.timeout(60):
        while True:
            async with RecordReader.opened(kafka, [dlq_topic_name(INGEST.name, "gateway")]) as reader:
                values = {record.value async for record in reader.until_now()}
            if are_enough(values):
                return values
            await asyncio.sleep(0.2)


async def test_compressed_samples_come_in_whatever_the_codec(kafka, ports):
    """The gateway itself unpacks gzip alone; the broker does it, for librdkafka as it comes."""
    await publish_policy("gateway-packed", Policy(), PolicyTopics(kafka, 2, 1, 30), now=time.time())
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    for codec in codecs:
        records = [sample(f"{codec} " * 100, id=f"{codec}-{number}", dataset="gateway-packed") for number in range(20)]
        assert await asyncio.to_thread(produced, kafka, map(json.dumps, records), {"compression.codec": codec}) == [""] * 20
    found = {dossier.sample.id for dossier in await submitted(kafka, 20 * len(codecs), "gateway-packed")}
    assert found == {f"{codec}-{number}" for codec in codecs for number in range(20)}


async def test_what_unpacks_to_more_than_the_intake_takes_is_refused_to_its_producer(kafka, ports):
    """One record or a batch of small ones, however few bytes are sent; the largest that is taken can be dead-lettered too."""
    too_large = ["MSG_SIZE_TOO_LARGE"]
    at_once = {"message.max.bytes": 8_000_000, "batch.size": 8_000_000, "linger.ms": 1_000}
    for codec in ("gzip", "zstd"):
        sent = at_once | {"compression.codec": codec}
        assert await asyncio.to_thread(produced, kafka, ["x" * 1_100_000], sent) == too_large
        assert await asyncio.to_thread(produced, kafka, ["x" * 150_000] * 8, sent) == too_large * 8
        apart = {"compression.codec": codec, "linger.ms": 1_000}  # a batch of librdkafka's default size
        assert await asyncio.to_thread(produced, kafka, ["x" * 150_000] * 8, apart) == [""] * 8
        assert await asyncio.to_thread(produced, kafka, [codec + "x" * 1_048_400], sent) == [""]
    largest = {(codec + "x" * 1_048_400).encode() for codec in ("gzip", "zstd")}
    letters = await _dead_letters(kafka, largest.issubset)
    assert b"x" * 150_000 in letters
    assert b"x" * 1_100_000 not in letters


def produced(kafka, values, settings):
    """What librdkafka says of each record in one partition: nothing where the broker has it, else its error."""
    told = []
    producer = Producer({"bootstrap.servers": kafka, "message.timeout.ms": 30_000, **settings})
    for value in values:
        producer.produce(INGEST.name, value, partition=0, on_delivery=lambda error, _: told.append(error.name() if error else ""))
    assert producer.flush(60) == 0
    return told


async def test_a_dataset_made_a_moment_ago_can_be_sent_to(kafka, ports):
    """`headrace dataset create` and then at once `headrace submit`; what was never made is not found."""
    grpc_port, http_port = ports
    await publish_policy("gateway-fresh", Policy(), PolicyTopics(kafka, 2, 1, 30), now=time.time())
    samples = [sample(str(number)) for number in range(3)]
    answers = [answer async for answer in submit("gateway-fresh", samples, gateway=f"{LOCALHOST}:{grpc_port}")]
    assert [type(answer) for answer in answers] == [Submitted] * 3
    async with aiohttp.ClientSession() as session:
        url = f"http://{LOCALHOST}:{http_port}/v1/datasets/gateway-never/samples"
        async with session.post(url, data=lines(sample())) as response:
            assert response.status == 404


async def test_thousands_come_through_in_order_and_are_counted_as_lag(kafka, ports):
    """Nothing is lost or doubled on the way, and the spine, which nobody serves here, is behind by as many."""
    grpc_port, _ = ports
    await publish_policy("gateway-many", Policy(), PolicyTopics(kafka, 2, 1, 30), now=time.time())
    async with spine_lag(kafka, 10) as read_lag:
        before = await read_lag()
        target = f"{LOCALHOST}:{grpc_port}"
        answers = [
            answer async for answer in submit("gateway-many", (sample(str(n), id=f"n{n}") for n in range(3_000)), gateway=target)
        ]
        assert [answer.ref for answer in answers] == list(range(3_000))
        assert await read_lag() - before == 3_000
    ids = [dossier.sample.id for dossier in await submitted(kafka, 3_000, "gateway-many")]
    assert sorted(ids) == sorted(f"n{n}" for n in range(3_000))


async def test_it_does_not_start_open_to_others(kafka):
    """Without tokens, on an address that others can reach."""
    process = ServiceProcess(("gateway",), RuntimeSettings(kafka=kafka, host="0.0.0.0"), DeliverySettings())  # noqa: S104
    with pytest.raises(CannotStart, match="HEADRACE_GATEWAY_TOKENS_FILE"):
        await process.run()
