"""A service process from start to stop, policies, and the commands that look at topics, on a real broker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher
from headrace.cli.main import main
from headrace.core.dossiers import PolicyPublished
from headrace.core.events import Send
from headrace.core.policies import Policy
from headrace.core.topics import (
    CONSUMERS,
    DAY_MS,
    INGEST,
    POLICY_PUBLISHED,
    TOPICS,
    accepted_topic,
    dlq_topic_name,
    retry_topic_name,
)
from headrace.local.ports import free_port
from headrace.runtime.policies import PolicyBook
from headrace.runtime.settings import RuntimeSettings
from tests.fakes.commands import command
from tests.fakes.toy_topics import bodies_in, new_topics, publish, until, until_seen

pytestmark = pytest.mark.connected

ROOT = Path(__file__).parents[2]
SERVICE = """
from contextlib import asynccontextmanager
from headrace.core.events import Emit, Send
from headrace.runtime.service import Service, Subscription
from tests.fakes.toy_topics import GROUP, toy_topic

@asynccontextmanager
async def open_service(runtime):
    async def handle(events):
        return [Emit((Send(toy_topic("{out}"), event.body),)) for event in events]

    async def ping():
        pass

    yield Service("toy", (Subscription(toy_topic("{source}"), GROUP, handle),), {{"nothing": ping}})
    print("closed", flush=True)
"""


def environment(bootstrap: str, **more: str) -> Mapping[str, str]:
    paths = os.pathsep.join([str(ROOT / "libs"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": paths, "HEADRACE_KAFKA": bootstrap, "HEADRACE_HOME": "/nonexistent", **more}


def readiness(port: int) -> tuple[int, object]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError as error:
        return 0, str(error)


@contextmanager
def service_process(folder: Path, source: str, out: str, environ: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """`headrace run toy` in a checkout that holds this one service."""
    (folder / "services" / "toy").mkdir(parents=True)
    for package in ("services", "services/toy"):
        (folder / package / "__init__.py").touch()
    (folder / "services" / "toy" / "app.py").write_text(SERVICE.format(source=source, out=out))
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace.cli.main", "run", "toy"],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_a_service_starts_works_tells_its_health_and_stops(kafka: str, tmp_path: Path) -> None:
    """Ready once its partitions are taken over; SIGTERM ends it by itself, with everything closed and exit code 0."""
    source, out = new_topics(kafka)
    await publish(kafka, source, [b"one", b"two"])
    port = free_port(set())
    environ = environment(kafka, HEADRACE_HEALTH_PORT=str(port), HEADRACE_LOG_FORMAT="json")
    with service_process(tmp_path, source.name, out.name, environ) as process:
        await until(lambda: readiness(port)[0] == 200)
        await until_seen(kafka, out, 2)
        process.send_signal(signal.SIGTERM)
        printed, logged = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, logged
    assert printed == "closed\n"
    assert all(json.loads(line)["service"] == "toy" for line in logged.splitlines())
    assert sorted(await bodies_in(kafka, out)) == [b"one", b"two"]


async def test_a_restarted_instance_does_not_wait_for_the_one_that_died(kafka: str, tmp_path: Path) -> None:
    """With sessions of minutes a killed service works again at once, if its name says that it is the same replica."""
    source, out = new_topics(kafka)
    await publish(kafka, source, [b"one"])
    more = {"HEADRACE_INSTANCE": "toy-0", "HEADRACE_DELIVERY_SESSION_TIMEOUT_MS": "300000", "HEADRACE_HEALTH_PORT": "0"}
    with service_process(tmp_path / "first", source.name, out.name, environment(kafka, **more)):
        await until_seen(kafka, out, 1)  # leaving the block kills it
    await publish(kafka, source, [b"two"])
    with service_process(tmp_path / "second", source.name, out.name, environment(kafka, **more)):
        await until_seen(kafka, out, 2)
    assert sorted(await bodies_in(kafka, out)) == [b"one", b"two"]


async def test_missing_topics_are_one_line_that_names_the_command(kafka: str, tmp_path: Path) -> None:
    """A broker without the topics is waited for a bounded time; then the process ends and says what to do."""
    environ = environment(kafka, HEADRACE_KAFKA_START_S="1")
    with service_process(tmp_path, "headrace.never-made", "headrace.nor-this", environ) as process:
        _, logged = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 1
    assert logged.splitlines()[-1].startswith("headrace run toy: Kafka at")
    assert "run `headrace topics create`" in logged.splitlines()[-1]


async def test_a_broker_that_does_not_answer_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    """Within a bounded time, with exit code 1."""
    environ = environment("127.0.0.1:1", HEADRACE_KAFKA_START_S="1")
    with service_process(tmp_path, "headrace.a", "headrace.b", environ) as process:
        _, logged = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 1
    assert "is HEADRACE_KAFKA right?" in logged.splitlines()[-1]


async def test_policies_are_complete_at_start_and_follow_what_is_published(kafka: str) -> None:
    """Those published before are known at once, later ones soon, and an unreadable one leaves the standing policy in force."""
    with KafkaAdmin(kafka) as admin:
        admin.ensure_topics(partitions=2, replication_factor=1)
    book = PolicyBook(RuntimeSettings(kafka=kafka))

    def policy(dataset: str, description: str) -> PolicyPublished:
        text = Policy(description=description).canonical_json() if description else '{"unknown": 1}'
        return PolicyPublished(dataset, "v", text, 1.0)

    async with EventPublisher(kafka, "headrace/test") as publisher:

        async def say(dataset: str, description: str) -> None:
            await publisher.publish(Send(POLICY_PUBLISHED, policy(dataset, description)), event_id=f"{dataset}-{description}")

        for number in range(20):
            await say(f"set-{number}", "first")
        await say("set-1", "second")
        await book.start()
        await book.start()
        try:
            known = {name: standing.description for name, standing in book.policies.items() if name.startswith("set-")}
            assert known == {f"set-{number}": "second" if number == 1 else "first" for number in range(20)}
            assert book.policy_of("none") is None
            await book.ping()
            await say("set-2", "")
            await say("set-2b", "live")
            await say("set-3", "third")
            await until(lambda: book.policy_of("set-2b") is not None)
            await until(lambda: (standing := book.policy_of("set-3")) is not None and standing.description == "third")
            standing = book.policy_of("set-2")
            assert standing is not None
            assert standing.description == "first"
        finally:
            await book.stop()
    with pytest.raises(RuntimeError):
        await book.ping()


def test_topics_are_created_as_the_registry_says(own_kafka: str) -> None:
    """Read back from the broker: partitions, what is kept for how long or compacted, sizes, and how many replicas acknowledge."""
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=2, replication_factor=1)
        admin.create_accepted_topic("kept", partitions=2, replication_factor=1)
        partitions = admin.topics()
    topics = {topic.name: topic for topic in (*TOPICS, accepted_topic("kept"))}
    expected = {name: (2 if topic.partitions > 1 else 1, kept_as(topic.retention_ms)) for name, topic in topics.items()}
    larger = {"max.message.bytes": str(2 * 1024 * 1024), "compression.type": "uncompressed"}
    for name, groups in CONSUMERS.items():
        for group in groups:
            expected[retry_topic_name(name, group)] = (expected[name][0], kept_as(7 * DAY_MS) | larger)
            expected[dlq_topic_name(name, group)] = (1, kept_as(90 * DAY_MS) | larger)
    with closing(KafkaAdminClient(bootstrap_servers=own_kafka)) as client:
        told = client.describe_configs([ConfigResource("topic", name) for name in expected])["topic"]
    found = {name: (partitions[name], {key: each["value"] for key, each in told[name].items()}) for name in expected}
    assert found == expected


def kept_as(retention_ms: int | None) -> dict[str, str]:
    """What differs from the broker's own settings, or is set all the same."""
    kept = {"cleanup.policy": "compact"} if retention_ms is None else {"retention.ms": str(retention_ms)}
    return {"min.insync.replicas": "1", "compression.type": "uncompressed", "max.message.bytes": "1048588", **kept}


def test_topics_create_gives_an_older_intake_what_readers_rely_on(own_kafka: str) -> None:
    """It says what it changed, once; what the owner set beside it stays."""
    intake = ConfigResource("topic", INGEST.name)
    with KafkaAdmin(own_kafka) as admin, closing(KafkaAdminClient(bootstrap_servers=own_kafka)) as client:
        admin.ensure_topics(partitions=2, replication_factor=1)
        client.reset_configs([ConfigResource("topic", INGEST.name, ["compression.type"])])
        older = {"max.message.bytes": "8000000", "retention.ms": "3600000"}
        client.alter_configs([ConfigResource("topic", INGEST.name, older)])
        told = [topics_create(own_kafka) for _ in range(2)]
        settings = client.describe_configs([intake])["topic"][INGEST.name]
    changed = f"changed {INGEST.name}: compression.type=uncompressed, max.message.bytes=1048588, for what is written from now on"
    assert [changed in lines for lines in told] == [True, False]
    assert told[1] == ["0 created, 0 changed, the others were there"]
    assert {name: each["value"] for name, each in settings.items()} == kept_as(3_600_000)


def topics_create(bootstrap: str) -> list[str]:
    result = command({"HEADRACE_KAFKA": bootstrap}, "topics", "create")
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_the_commands_print_what_scripts_read(
    own_kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`topics`, `lag` and `dlq` answer in JSON, and a broker that is away is one line."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.setenv("HEADRACE_PARTITIONS", "2")
    monkeypatch.setenv("HEADRACE_KAFKA", own_kafka)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out or printed.err

    assert run("topics", "create", "--accepted", "toys")[0] == 0
    topics = {row["topic"]: row for row in json.loads(run("topics", "ls", "--json")[1])}
    assert topics["headrace.sample.submitted"]["readers"] == ["scoring"]
    assert topics["headrace.accepted.toys"]["partitions"] == 2
    lag = json.loads(run("lag", "--json")[1])
    assert {row["records"] for row in lag if row["topic"] == "headrace.sample.decided"} == {0}
    assert json.loads(run("dlq", "redrive", "headrace.sample.submitted.scoring.dlq", "--json")[1])["redriven"] == 0
    assert isinstance(json.loads(run("dlq", "ls", "--json")[1]), list)
    assert run("dlq", "show", "headrace.sample.submitted")[0] == 2
    assert run("dlq", "show", "headrace.none.dlq")[0] == 1
    monkeypatch.setenv("HEADRACE_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("HEADRACE_KAFKA_START_S", "1")
    code, said = run("topics", "ls")
    assert (code, "is HEADRACE_KAFKA right?" in said.splitlines()[-1]) == (1, True)
