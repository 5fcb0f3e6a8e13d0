"""Checkpoints rolled out by a real controller to a real Triton (with a tiny model), killed on the way; scoring follows."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import tritonclient.grpc.aio as triton_client

from headrace.adapters.checkpoints.store import CheckpointStore
from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.core.checkpoints import CheckpointKind, CheckpointPublished
from headrace.core.dossiers import CURRENT, Dossier
from headrace.core.events import Send
from headrace.core.samples import Message, Sample
from headrace.core.topics import CHECKPOINT_PUBLISHED, CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT, SCORED, SUBMITTED, Topic
from headrace.lm.weights import weights_sha256
from headrace.local.launch import Launch
from headrace.local.running import running
from tests.fakes.checkpoints import details
from tests.fakes.commands import said
from tests.fakes.model_repositories import adapter_folder, weights_folder
from tests.fakes.tiny_triton import TinyTriton

pytestmark = [pytest.mark.connected, pytest.mark.model, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]


class World:
    """Broker, bucket and model server, and the processes that find them."""

    def __init__(self, kafka: str, s3: ObjectStoreSettings, triton: Launch, folder: Path) -> None:
        self.kafka = kafka
        self.s3 = s3.model_copy(update={"bucket": f"roll-out-{uuid4().hex[:12]}"})
        self.triton = triton.tells["HEADRACE_SCORING_TRITON"]
        self.repository = Path(triton.tells["HEADRACE_CONTROLLER_MODEL_REPOSITORY"])
        self.folder = folder
        self.submitted = 0
        self.environment = os.environ | triton.tells | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}",
            "HEADRACE_HOME": str(folder / "no-stack"),
            "HEADRACE_KAFKA": kafka,
            "HEADRACE_S3_ENDPOINT": self.s3.endpoint,
            "HEADRACE_S3_ACCESS_KEY": self.s3.access_key,
            "HEADRACE_S3_SECRET_KEY": self.s3.secret_key.get_secret_value(),
            "HEADRACE_S3_BUCKET": self.s3.bucket,
            "HEADRACE_DELIVERY_SESSION_TIMEOUT_MS": "3000",
        }  # fmt: skip

    @contextmanager
    def process(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{service}.log").open("ab") as log:
            command = [sys.executable, "-m", "headrace.cli.main", "run", service]
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=ROOT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    async def publish(self, folder: Path, kind: CheckpointKind = CheckpointKind.ADAPTER) -> CheckpointPublished:
        """A trainer's part: weights to the object store, then the event."""
        base = weights_sha256(self.repository / "signals" / "1" / "weights")
        async with open_object_store(self.s3) as objects:
            published = await CheckpointStore(objects).publish(folder, details(kind=kind, base_sha256=base))
        await self._send([Send(CHECKPOINT_PUBLISHED, published)])
        return published

    async def submit(self, count: int) -> None:
        sends = []
        for _ in range(count):
            self.submitted += 1
            messages = (Message("user", f"{self.submitted}?"), Message("assistant", "Yes."))
            sends.append(Send(SUBMITTED, Dossier(Sample("d", f"s{self.submitted}", 0, "0" * 64, messages), time.time())))
        await self._send(sends)

    async def scored_by(self) -> list[str]:
        """The versions that measured, in the order of the topic."""
        bodies = await self.bodies(SCORED)
        versions = [body.dossier.signals_of(CURRENT).model_version for body in bodies]
        assert len({body.dossier.sample.id for body in bodies}) == len(bodies), "a sample was scored twice"
        return versions

    async def until_scored_by(self, version: str) -> None:
        """Submits until that version measures."""
        async with asyncio.timeout(120):
            while (await self.scored_by())[-1:] != [version]:
                await self.submit(3)
                await asyncio.sleep(0.3)

    async def bodies(self, topic: Topic) -> list[Any]:
        async with aclosing(read_topic(topic, self.kafka, until_now=True)) as events:
            return [event.body async for event in events]

    async def until_told(self, topic: Topic, checkpoint_id: str) -> Any:
        async with asyncio.timeout(120), aclosing(read_topic(topic, self.kafka)) as events:
            async for event in events:
                if event.body.checkpoint_id == checkpoint_id:
                    return event.body
        raise AssertionError("a topic that is followed does not end")

    async def ready(self) -> list[str]:
        client = triton_client.InferenceServerClient(self.triton)
        try:
            return sorted((await client.get_model_metadata("signals")).versions)
        finally:
            await client.close()

    async def _send(self, sends: Sequence[Send]) -> None:
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            await publisher.publish_many([(uuid4().hex, send) for send in sends])


@pytest.fixture
async def world(own_kafka, s3, tmp_path) -> AsyncIterator[World]:
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=1, replication_factor=1)
    with contextlib.ExitStack() as stack:
        launch = await asyncio.to_thread(stack.enter_context, running(TinyTriton(), tmp_path, killed=True))
        yield World(own_kafka, s3, launch, tmp_path)


async def test_a_checkpoint_becomes_the_version_that_measures_whoever_is_killed(world):
    """Killed twice in mid-roll-out: one version number, one announcement; no sample lost, none measured by two versions.

    Then a checkpoint that is worse is refused and nothing moves, and a rollback brings the first version back.
    """
    await said(world.environment, "dataset", "create", "d")
    (world.folder / "triton" / "load_s").write_text("6")  # so long that a restarted controller still meets it
    with world.process("scoring"):
        await world.until_scored_by("1")
        good = await world.publish(adapter_folder(world.folder / "good", change=0.25))
        for attempt in (1, 2):
            with world.process("controller"):
                await until_loading(world, attempt)
        assert await world.bodies(CHECKPOINT_REFUSED) == []
        with world.process("controller"):
            told = await world.until_told(CHECKPOINT_ROLLED_OUT, good.checkpoint_id)
            assert (told.model_version, told.previous_version, told.dimensions) == ("2", "1", 6)
            assert told.golden_loss == pytest.approx(2.25)
            await world.until_scored_by("2")
            assert await world.ready() == ["1", "2"]

            (world.folder / "triton" / "load_s").write_text("0")
            worse = weights_folder(world.folder / "worse", loss=7.5)
            worse = await world.publish(worse, CheckpointKind.FULL)
            refused = await world.until_told(CHECKPOINT_REFUSED, worse.checkpoint_id)
            assert (refused.step, "LOSS_RATIO_MAX" in refused.reason) == ("golden", True)
            await world.until_scored_by("2")
            await until_ready(world, ["2"])

            out = await said(world.environment, "checkpoint", "rollback", "--wait", "--timeout", "120")
            assert "version 1 again" in out
            await world.until_scored_by("1")
    announced = await world.bodies(CHECKPOINT_ROLLED_OUT)
    assert [(told.model_version, bool(told.rollback_request_id)) for told in announced] == [
        ("1", False),
        ("2", False),
        ("1", True),
    ]
    versions = await world.scored_by()
    moves = [one for one, other in zip(versions, [*versions[1:], ""], strict=True) if one != other]
    assert moves == ["1", "2", "1"]
    loads = (world.folder / "triton" / "loads.log").read_text().split()
    assert loads.count("2") <= 3
    print(f"loaded: {loads}; {told.load_seconds:.1f} s of {told.seconds:.1f} s for the first were loading")  # noqa: T201  # for the reader


async def until_loading(world: World, attempt: int) -> None:
    """Until version 2 is being loaded for the so-manieth time; on a slow machine the second attempt may find it loaded."""
    counter = world.repository / ".loads" / "signals" / "2"
    async with asyncio.timeout(120):
        while not (counter.exists() and counter.read_text() >= str(attempt)):
            if "2" in await world.ready():
                return
            await asyncio.sleep(0.05)


async def until_ready(world: World, versions: list[str]) -> None:
    async with asyncio.timeout(120):
        while await world.ready() != versions:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.1)
