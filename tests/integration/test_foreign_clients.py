"""Clients that are none of ours read accepted data with nothing but the AsyncAPI document and the .proto files."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Consumer
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from kafka import KafkaConsumer
from minio import Minio

from headrace.adapters.claim_check import ClaimLimits, LargeBodies
from headrace.adapters.object_store import open_object_store
from headrace.core.dossiers import Retraction
from headrace.core.topics import accepted_topic
from tests.fakes import console_consumer
from tests.fakes.accepted_topics import accepted, new_dataset, publish

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"s-{n}" for n in range(20)]
RECORDS = len(NAMES) + 2


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    """The document as `headrace topics asyncapi` prints it."""
    command = [sys.executable, "-m", "headrace.cli.main", "topics", "asyncapi"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT).stdout
    document: dict[str, Any] = json.loads(printed)
    return document


@pytest.fixture(scope="module")
def decode(contract, tmp_path_factory) -> Callable[[bytes], Any]:
    """Reads the message that the document names, as the .proto files say, compiled here."""
    folder = tmp_path_factory.mktemp("protos")
    sources = [str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("sample/v1/*.proto")]
    command = [
        sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", "--include_imports",
        f"--descriptor_set_out={folder}/all.binpb", *sources,
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=60, cwd=ROOT)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString((folder / "all.binpb").read_bytes()).file:
        pool.Add(file)
    [name] = contract["channels"]["headrace.accepted.{dataset}"]["messages"]
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return message.FromString


@pytest.fixture
async def topic(kafka, contract) -> str:
    """Acceptances, a revision, a retraction, and an attempt that was given up, which nobody may see."""
    assert "isolation.level=read_committed" in contract["info"]["description"]
    dataset = new_dataset(kafka)
    address: str = contract["channels"]["headrace.accepted.{dataset}"]["address"].format(dataset=dataset)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"given-up-{os.urandom(4).hex()}")
    await producer.start()
    await producer.begin_transaction()
    for number in range(20):
        await producer.send_and_wait(address, key=f"s-{number}".encode(), value=b"given up")
    await producer.abort_transaction()
    await producer.stop()
    await publish(kafka, dataset, accepted(dataset, NAMES))
    await publish(kafka, dataset, [*accepted(dataset, ["s-1"], 1), Retraction(dataset, "s-0", 0, "privacy")])
    return address


def is_complete(records: list[tuple[bytes, bytes]], decode: Callable[[bytes], Any]) -> None:
    """Everything is there, keyed by sample, in order for each."""
    changes: dict[str, list[Any]] = {}
    for key, value in records:
        changes.setdefault(key.decode(), []).append(decode(value))
    assert sorted(changes) == sorted(NAMES)
    assert [change.WhichOneof("change") for change in changes["s-0"]] == ["accepted", "retracted"]
    assert changes["s-0"][1].retracted.reason == "privacy"
    assert [change.accepted.sample.revision for change in changes["s-1"]] == [0, 1]
    sample = changes["s-2"][0].accepted.sample
    assert [turn.role for turn in sample.messages] == ["user", "assistant", "tool", "assistant"]
    assert dict(sample.attributes) == {"topic": "multiplication", "level": "1"}


def test_librdkafka_reads_accepted_samples(kafka, topic, contract, decode):
    """The client under those of C, Go, Rust and .NET; its headers are those of the document."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    records: list[tuple[bytes, bytes]] = []
    message: Any = None
    try:
        while len(records) < RECORDS:
            message = consumer.poll(60)
            assert message is not None
            assert message.error() is None
            records.append((message.key(), message.value()))
    finally:
        consumer.close()
    is_complete(records, decode)
    [name] = contract["channels"]["headrace.accepted.{dataset}"]["messages"]
    headers = {key: value.decode() for key, value in message.headers()}
    assert set(contract["components"]["messages"][name]["headers"]["required"]) <= set(headers)
    assert headers["ce_type"] == name


def test_kafkas_console_consumer_reads_accepted_samples(kafka, topic, tmp_path, decode):
    """The Java client, with nothing added to it."""
    is_complete(console_consumer.read_topic(kafka, topic, tmp_path, records=RECORDS), decode)


def test_kafka_python_reads_accepted_samples(kafka, topic, decode):
    """The pure Python client."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed", consumer_timeout_ms=60_000
    )
    records = []
    for record in consumer:
        records.append((record.key, record.value))
        if len(records) == RECORDS:
            break
    consumer.close()
    is_complete(records, decode)


async def test_a_large_sample_is_where_its_headers_say(kafka, s3, contract, decode):
    """An S3 client of the reader's own follows the reference that the document declares, and checks length and hash."""
    dataset = new_dataset(kafka)
    bodies = LargeBodies(partial(open_object_store, s3), ClaimLimits(256 * 1024, 64 * 1024**2, parallel_max=1))
    try:
        await publish(kafka, dataset, accepted(dataset, ["large"], text="x" * 2 * 1024**2), bodies)
    finally:
        await bodies.aclose()
    consumer = KafkaConsumer(
        accepted_topic(dataset).name, bootstrap_servers=kafka, auto_offset_reset="earliest", consumer_timeout_ms=60_000
    )
    record = next(iter(consumer))
    consumer.close()
    assert not record.value
    headers = {name: text.decode() for name, text in record.headers}
    [name] = contract["channels"]["headrace.accepted.{dataset}"]["messages"]
    assert set(headers) <= set(contract["components"]["messages"][name]["headers"]["properties"])
    address, secret = s3.endpoint.removeprefix("http://"), s3.secret_key.get_secret_value()
    client = Minio(address, access_key=s3.access_key, secret_key=secret, secure=False, region=s3.region)
    body = client.get_object(s3.bucket, headers["ce_dataref"]).data
    assert (str(len(body)), hashlib.sha256(body).hexdigest()) == (headers["ce_datarefbytes"], headers["ce_datarefsha256"])
    assert "x" * 2 * 1024**2 in decode(body).accepted.sample.messages[0].content
