"""A sample is accepted, retracted by the command line, and gone: for subscribers, the index, versions, and at last the store."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.dossiers import CURRENT, AcceptedSample, Dossier, Embeddings, Retraction, ScoredSample, Signals
from headrace.core.events import Send
from headrace.core.policies import Policy
from headrace.core.samples import Message, Sample, content_hash_of
from headrace.core.topics import DECIDED, SCORED, accepted_topic
from headrace.runtime.delivery import Hop
from headrace.runtime.settings import DeliverySettings
from services.admission import subscribers as admission
from services.admission.handlers import Admission
from services.diversity import subscribers as diversity
from services.diversity.handlers import Diversity
from services.diversity.retractions import Retracting
from services.diversity.surveying import Surveying
from tests.fakes.commands import said
from tests.fakes.surveys import NoDensities
from tests.fakes.vector_engine import DictEngine

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
DATASET = "notes"
WAIT_S = 120


class World:
    """The command line and the datasets service as processes, diversity and admission here, around one broker and one bucket."""

    def __init__(self, kafka, s3, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}",
            "HEADRACE_HOME": str(folder / "no-stack"),
            "HEADRACE_KAFKA": kafka,
            "HEADRACE_S3_ENDPOINT": s3.endpoint,
            "HEADRACE_S3_ACCESS_KEY": s3.access_key,
            "HEADRACE_S3_SECRET_KEY": s3.secret_key.get_secret_value(),
            "HEADRACE_S3_BUCKET": f"retraction-{uuid4().hex[:12]}",
            "HEADRACE_DATASETS_PACE_S": "0.1",
            "HEADRACE_DATASETS_SETTLE_S_MAX": "100",
        }

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        index = QdrantVectorIndex(DictEngine())
        policy = Policy()
        deciding = Admission(lambda _: policy, lambda _: {})
        subscriptions = (
            *diversity.subscriptions(
                Diversity(index, lambda _: policy),
                Retracting(index, lambda _: policy),
                Surveying(index, NoDensities(), lambda _: policy),
                64,
            ),
            *admission.subscriptions(deciding, 64),
        )
        hops = [Hop(each, self.kafka, DeliverySettings()) for each in subscriptions]
        with (self.folder / "datasets.log").open("ab") as log:
            command = [sys.executable, "-m", "headrace.cli.main", "run", "datasets"]
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=ROOT)  # noqa: ASYNC220 - it is short
        async with AsyncExitStack() as stack:
            stack.callback(process.wait)
            stack.callback(process.terminate)
            for hop in hops:
                await hop.start()
                stack.push_async_callback(hop.stop)
            yield

    async def headrace(self, *arguments: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await said(self.environment, *arguments, "--json"))
        return told

    async def cut(self) -> tuple[int, int]:
        committed = await self.headrace("dataset", "cut", DATASET, "--wait", "--timeout", str(WAIT_S))
        return committed["rows_accepted"], committed["rows_rejected"]

    async def submit(self, sample_id: str, revision: int = 0) -> str:
        """Sends a sample as scoring would; returns the reason of its decision."""
        scored = scored_sample(sample_id, revision)
        marker = uuid4().hex
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            decided = asyncio.create_task(self._decision_after(await self._decided()))
            await publisher.publish(Send(SCORED, scored), event_id=marker)
            return await decided

    async def _decided(self) -> int:
        return len([event async for event in read_topic(DECIDED, self.kafka, until_now=True)])

    async def _decision_after(self, count: int) -> str:
        async with asyncio.timeout(WAIT_S):
            async for event in read_topic(DECIDED, self.kafka):
                count -= 1
                if count < 0 and isinstance(event.body, Dossier):
                    return event.body.decisions[-1].reason
        raise AssertionError("the topic ended")

    async def heard(self, count: int) -> list[tuple[str, str, int]]:
        """The first records of the accepted topic, once there are so many."""
        told = []
        async with asyncio.timeout(WAIT_S):
            async for event in read_topic(accepted_topic(DATASET), self.kafka):
                assert isinstance(event.body, AcceptedSample)
                change = event.body.change
                if isinstance(change, Retraction):
                    told.append((change.reason, change.sample_id, change.revision))
                else:
                    told.append(("accepted", change.sample.id, change.sample.revision))
                if len(told) == count:
                    break
        return told


def scored_sample(sample_id: str, revision: int) -> ScoredSample:
    vector = np.random.default_rng([ord(sample_id[0]), revision]).normal(size=16)
    unit = (vector / np.linalg.norm(vector)).astype("<f4").tobytes()
    messages = (Message("user", f"question {sample_id}"), Message("assistant", f"answer {sample_id} {revision}"))
    sample = Sample(DATASET, sample_id, revision, content_hash_of(messages, "", None), messages)
    signals = (Signals(CURRENT, "model", "1", 1.5, 0.5, 12, 3),)
    return ScoredSample(Dossier(sample, time.time(), signals), Embeddings("model", "1", unit, unit))


async def test_from_acceptance_to_oblivion(own_kafka, s3, tmp_path):
    """Retracted once, it stays away: the same revision is turned away, a later one comes in, and the account closes."""
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=2, replication_factor=1)
    world = World(own_kafka, s3, tmp_path)
    await world.headrace("dataset", "create", DATASET)
    async with world.serving():
        assert [await world.submit(name) for name in ("a", "b")] == ["accepted", "accepted"]
        assert await world.cut() == (2, 0)
        asked = await world.headrace("dataset", "retract", DATASET, "a", "nobody", "--reason", "licence", "--note", "a textbook")
        assert (asked["requested"], asked["unknown"]) == ({"a": 0}, ["nobody"])
        told = await world.heard(3)
        assert [record for record in told if record[1] == "a"] == [("accepted", "a", 0), ("licence", "a", 0)]
        assert await world.submit("a") == "retracted"
        assert await world.cut() == (1, 1)
        again = await world.headrace("dataset", "retract", DATASET, "a", "--reason", "licence")
        assert (again["requested"], again["already_retracted"]) == ({}, ["a"])
        assert await world.submit("a", revision=1) == "accepted"
        assert await world.cut() == (2, 1)
    counted = await world.headrace("account", "--dataset", DATASET)
    assert (counted["accepted"], counted["retracted"], counted["rejected"]) == (3, 1, 1)
    # The samples of this test begin behind scoring: nobody submitted them, and the account says so.
    assert counted["ended_unsubmitted"] == counted["accepted"] + counted["rejected"]
    assert (counted["in_flight"], counted["dead_lettered"]) == (0, 0)
    shown = await world.headrace("dataset", "show", DATASET)
    assert (shown["counts"]["retracted"], [stream for stream in shown["inputs"] if stream.startswith("retracted/")]) != (0, [])
    forgotten = await world.headrace("dataset", "gc", "--forget", DATASET, "a")
    assert (forgotten["versions"], forgotten["rows"]) == (3, 3)
    assert "for ever" in forgotten["still_held"]
    assert await world.headrace("dataset", "gc") == {"dry_run": False, "objects": {}, "bytes": {}}
