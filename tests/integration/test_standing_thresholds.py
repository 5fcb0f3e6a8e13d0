"""Thresholds between rounds, by real processes: samples in, and by themselves a version, a policy, and samples held to it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings
from headrace.core.dossiers import Decision, Dossier
from headrace.core.events import Send
from headrace.core.policies import Policy
from headrace.core.topics import DECIDED, PLACED, POLICY_PUBLISHED
from tests.fakes.commands import said
from tests.fakes.evidence import DATASET, dossier, signals

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
ROWS = 8
POLICY = f"standing: {{rows: {ROWS}}}\n"


class World:
    """A broker, a bucket of its own, and the processes that find them."""

    def __init__(self, kafka: str, s3: ObjectStoreSettings, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}", "HEADRACE_HOME": str(folder / "no-stack"), "HEADRACE_KAFKA": kafka,
            "HEADRACE_S3_ENDPOINT": s3.endpoint, "HEADRACE_S3_ACCESS_KEY": s3.access_key,
            "HEADRACE_S3_SECRET_KEY": s3.secret_key.get_secret_value(), "HEADRACE_S3_BUCKET": f"standing-{uuid4().hex[:12]}",
            "HEADRACE_DATASETS_PACE_S": "0.1", "HEADRACE_DATASETS_SETTLE_S_MAX": "100",
            "HEADRACE_DATASETS_EMBEDDINGS_WAIT_S": "0",  # there are none
        }  # fmt: skip

    @contextmanager
    def serving(self, *names: str) -> Iterator[None]:
        log = self.folder / "services.log"
        with log.open("ab") as file:
            command = [sys.executable, "-m", "headrace.cli.main", "run", *names]
            process = subprocess.Popen(command, env=self.environment, stdout=file, stderr=file, cwd=ROOT)
        try:
            yield
        finally:
            process.terminate()
            code = process.wait(60)
        assert code == 0, log.read_text()[-6_000:]

    async def headrace(self, *arguments: str) -> str:
        return await said(self.environment, *arguments)

    async def apply(self, text: str) -> None:
        file = self.folder / "policy.yaml"
        file.write_text(text)
        await self.headrace("policy", "apply", "-d", DATASET, "-f", str(file))

    async def place(self, *dossiers: Dossier) -> None:
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            await publisher.publish_many([(f"placed-{each.sample.id}", Send(PLACED, each)) for each in dossiers])

    async def decision(self, sample_id: str) -> Decision:
        """How the sample ends, once it does."""
        async with asyncio.timeout(90), aclosing(read_topic(DECIDED, self.kafka)) as events:
            async for event in events:
                if event.body.sample.id == sample_id:
                    found: Decision = event.body.decisions[-1]
                    return found
        raise AssertionError("a topic that is followed does not end")

    async def policy_of(self, source: str) -> Policy:
        """The first policy whose thresholds are of this version and source, once it is published."""
        async with asyncio.timeout(90), aclosing(read_topic(POLICY_PUBLISHED, self.kafka)) as events:
            async for event in events:
                policy = Policy.model_validate_json(event.body.policy_json)
                thresholds = policy.standing.thresholds
                if thresholds is not None and f"{thresholds.model_version}, {thresholds.source}" == source:
                    return policy
        raise AssertionError("a topic that is followed does not end")


@pytest.fixture
def world(own_kafka, s3, tmp_path) -> World:
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=1, replication_factor=1)
    return World(own_kafka, s3, tmp_path)


def scored(sample_id: str, loss: float, version: str = "1") -> Dossier:
    return dossier(f"It is {sample_id}.", sample_id=sample_id, scored=replace(signals(loss), model_version=version))


async def test_a_calibration_holds_the_samples_that_come_after_it(world):
    """The first eight are let in; then what is above mean and deviation is not, until another version measures. Nobody cuts."""
    await world.apply(POLICY)
    losses = [1.0, 2.0] * (ROWS // 2)
    with world.serving("admission", "datasets", "controller"):
        await world.place(*(scored(f"s{n}", loss) for n, loss in enumerate(losses)))
        policy = await world.policy_of("1, calibration")
        thresholds = policy.standing.thresholds
        assert thresholds is not None
        assert (thresholds.rows, thresholds.loss_mean, thresholds.loss_std, thresholds.loss_max) == (ROWS, 1.5, 0.5, 2.0)
        await until_admission_knows(world, policy.version)
        await world.place(scored("hard", 2.1), scored("easy", 2.0), scored("of another version", 9.0, "2"))
        hard, easy = await world.decision("hard"), await world.decision("easy")
        assert (hard.reason, hard.detail) == ("loss_too_high", f"standing threshold of model 1, calibration of {ROWS} rows")
        assert [(each.quantity, each.bound, each.held) for each in hard.comparisons] == [("loss_mean", 2.0, False)]
        assert (easy.reason, easy.policy_version) == ("accepted", policy.version)
        assert (await world.decision("of another version")).reason == "accepted"
        told = await world.headrace("policy", "show", "-d", DATASET)
        assert "#   loss at most 2 (mean 1.5 + 1 deviations of 0.5)" in told
        await world.apply(told)  # what is printed can be applied again, thresholds and all
        assert json.loads(await world.headrace("policy", "show", "-d", DATASET, "--json"))["version"] == policy.version
        await world.place(*(scored(f"t{n}", 3 * loss, "2") for n, loss in enumerate(losses)))
        assert (await world.decision(f"t{ROWS - 1}")).reason == "accepted"
        after = (await world.policy_of("2, calibration")).standing.thresholds
        assert after is not None
        assert after.rows == ROWS
        versions = json.loads(await world.headrace("dataset", "log", DATASET, "--json"))
        assert versions[-1]["counts"]["decided"] == ROWS  # the first one, cut for the calibration alone


async def until_admission_knows(world: World, version: str) -> None:
    """Policies are followed: samples that are decided under the one before say so."""
    number = 0
    async with asyncio.timeout(60):
        while True:
            number += 1
            await world.place(scored(f"probe{number}", 1.5))
            if (await world.decision(f"probe{number}")).policy_version == version:
                return
