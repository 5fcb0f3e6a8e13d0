"""From a policy file to decisions and back: admission and validation as real processes, and the policy's own commands."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.adapters.claim_check import no_large_bodies
from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings
from headrace.core.events import Send
from headrace.core.samples import Reference
from headrace.core.topics import DECIDED, PLACED, accepted_topic
from headrace.demo.passage import read_passages
from tests.fakes.commands import said
from tests.fakes.evidence import DATASET, dossier, placement, signals

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
POLICY = """
signals: {loss_max: 5.0}
checks:
- check: math
  cpu_s_max: 0.5
- check: duplicate_prompt
"""
STRICT = POLICY.replace("5.0", "2.0")
OTHER_CHECKS = POLICY + "- check: constraints\n  characters_max: 100\n"


class World:
    """A broker, a bucket of its own, and the settings by which processes find them."""

    def __init__(self, kafka: str, s3: ObjectStoreSettings, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}",
            "HEADRACE_HOME": str(folder / "no-stack"),
            "HEADRACE_KAFKA": kafka,
            "HEADRACE_S3_ENDPOINT": s3.endpoint,
            "HEADRACE_S3_ACCESS_KEY": s3.access_key,
            "HEADRACE_S3_SECRET_KEY": s3.secret_key.get_secret_value(),
            "HEADRACE_S3_BUCKET": f"policies-{uuid4().hex[:12]}",
            "HEADRACE_DATASETS_PACE_S": "0.1",
            "HEADRACE_DATASETS_SETTLE_S_MAX": "100",
            "HEADRACE_DATASETS_EMBEDDINGS_WAIT_S": "0",  # there are none
        }

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    @contextmanager
    def serving(self, *names: str) -> Iterator[None]:
        with (self.folder / "services.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "headrace.cli.main", "run", *names], env=self.environment, stdout=log, stderr=log, cwd=ROOT
            )
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(60) == 0, (self.folder / "services.log").read_text()

    async def headrace(self, *arguments: str, fails: bool = False) -> str:
        return await said(self.environment, *arguments, fails=fails)

    async def place(self, *dossiers) -> None:
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            await publisher.publish_many([(f"placed-{each.sample.id}", Send(PLACED, each)) for each in dossiers])

    async def decided(self, count: int) -> dict[str, str]:
        """The reason of each sample, once that many are decided."""
        reasons: dict[str, str] = {}
        async with asyncio.timeout(60):
            async for event in read_topic(DECIDED, self.kafka):
                reasons[event.body.sample.id] = event.body.decisions[-1].reason
                if len(reasons) == count:
                    break
        return reasons


@pytest.fixture
def world(own_kafka, s3, tmp_path) -> World:
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=4, replication_factor=1)
    return World(own_kafka, s3, tmp_path)


def answered(sample_id: str, response: str, reference: str = "42", **evidence):
    return dossier(response, sample_id=sample_id, reference=Reference(reference, "math"), **evidence)


async def test_policy_is_applied_followed_and_replayed(world):
    """Published, obeyed by running services, explained by its commands, and held against what it would have decided."""
    loose = world.file("loose.yaml", POLICY)
    assert "no dataset 'arithmetic'" in await world.headrace("policy", "show", "-d", DATASET, fails=True)
    assert "must be lower-case" in await world.headrace("policy", "apply", "-d", "../etc", "-f", loose, fails=True)
    assert "first policy" in await world.headrace("policy", "apply", "--dataset", DATASET, "-f", loose)
    with world.serving("admission", "validation", "datasets"):
        await world.place(
            answered("right", "It is 42."),
            answered("right-but-surprising", "It is 42.", scored=signals(3.0)),
            answered("wrong", "It is 41."),
            answered("runaway", "$9^{9^{9^{9}}}$"),
            answered("prose", "It is 42.", reference="no such number"),
            answered("copy", "It is 42.", placed=placement(prompt_copies=1)),
            answered("strange", "It is 42.", scored=signals(9.0)),
        )
        assert await world.decided(5) == {
            "right": "accepted",
            "right-but-surprising": "accepted",
            "wrong": "check_failed",
            "copy": "check_failed",
            "strange": "loss_too_high",
        }
        await parked(world)
        await timed(world)
        accepted = [e.body.change.sample.id async for e in read_topic(accepted_topic(DATASET), world.kafka, until_now=True)]
        assert sorted(accepted) == ["right", "right-but-surprising"]
        await world.headrace("dataset", "cut", DATASET, "--wait", "--timeout", "110")
    await replayed(world, loose)
    await changed(world)


async def parked(world):
    letters = json.loads(await world.headrace("dlq", "ls", "--json"))
    [row] = [row for row in letters if row["topic"] == "headrace.sample.validated.admission.dlq"]
    assert row["errors"] == {"check_not_made": 2}


async def timed(world):
    """The demo tells where the time went: of all that admission saw, and of those that were checked, one of them for long."""
    passages = await read_passages(world.kafka, DATASET, no_large_bodies())
    assert {stage: len(seconds) for stage, seconds in passages.items() if seconds} == {"admission": 7, "validation": 6}
    assert max(passages["validation"]) >= 0.5  # of processor time alone


async def replayed(world, loose):
    same = json.loads(await world.headrace("replay", "-d", DATASET, "-f", loose, "--json"))
    assert (same["decided"], same["unchanged"], same["changes"]) == (5, 5, [])
    strict = json.loads(await world.headrace("replay", "-d", DATASET, "-f", world.file("strict.yaml", STRICT), "--json"))
    assert strict["changes"] == [
        {
            "from": {"verdict": "accepted", "reason": "accepted"},
            "to": {"verdict": "rejected", "reason": "loss_too_high"},
            "count": 1,
            "examples": ["right-but-surprising"],
        }
    ]
    other = world.file("other.yaml", OTHER_CHECKS)
    assert json.loads(await world.headrace("replay", "-d", DATASET, "-f", other, "--json"))["checks_needed"] == {"constraints": 4}
    text = await world.headrace("replay", "-d", DATASET, "-f", other)
    assert "5 decided, 1 unchanged; accepted 2 -> 0" in text
    assert "4 would need check constraints" in text
    assert "no version yet" in await world.headrace("replay", "-d", "elsewhere", "-f", other, fails=True)


async def changed(world):
    strict = str(world.folder / "strict.yaml")
    assert await world.headrace("policy", "diff", "-d", DATASET, "-f", strict) == "  signals.loss_max: 5.0 -> 2.0\n"
    assert "signals.loss_max: 5.0 -> 2.0" in await world.headrace("policy", "apply", "-d", DATASET, "-f", strict)
    shown = await world.headrace("policy", "show", "-d", DATASET)
    assert "nothing changes" in await world.headrace("policy", "diff", "-d", DATASET, "-f", world.file("shown.yaml", shown))
    [row] = json.loads(await world.headrace("policy", "ls", "--json"))
    assert (row["dataset"], row["policy"]["signals"]["loss_max"]) == (DATASET, 2.0)
    assert DATASET in await world.headrace("policy", "ls")


async def test_policy_without_a_broker_names_the_setting(world):
    """No traceback, and what to look at."""
    world.environment |= {"HEADRACE_KAFKA": "127.0.0.1:1", "HEADRACE_KAFKA_START_S": "0.5"}
    said = await world.headrace("policy", "ls", fails=True)
    assert "is HEADRACE_KAFKA right?" in said
    assert "Traceback" not in said
