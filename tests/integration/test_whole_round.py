"""One whole round by all services together, on a real broker and a real store: from the command to the verdict."""

import asyncio
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from headrace.adapters.kafka import EventPublisher, read_topic
from headrace.adapters.kafka_admin import KafkaAdmin
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.version_store import VersionStore
from headrace.cli.main import app
from headrace.core.dossiers import DatasetCutRequested, Dossier, PolicyPublished
from headrace.core.events import Send
from headrace.core.fine_tuning import is_held_out
from headrace.core.policies import Policy
from headrace.core.rounds.progress import RoundState
from headrace.core.samples import Message, Sample, content_hash_of, prompt_hash_of
from headrace.core.topics import (
    CHECKPOINT_ROLLED_OUT,
    COMMITTED,
    CUT_REQUESTED,
    DECIDED,
    POLICY_PUBLISHED,
    REFINEMENT_REQUESTED,
    ROUND_STATE,
    SUBMITTED,
    Topic,
)
from tests.fakes.bodies import BODIES
from tests.fakes.chat_endpoint import StubEndpoint, completion
from tests.fakes.triton_server import StubTriton

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
DATASET = "maths"
ROWS = 80
CALLS_IN_FLIGHT = 8
SERVICES = ("scoring", "diversity", "admission", "datasets", "controller", "refinement")
POLICY = Policy.model_validate(
    {
        "signals": {"base_model": "base"},
        "diversity": {"near_duplicate_cosine": None},
        "training": {"held_out_share": 0.2, "held_out_seed": "seed"},
        "rounds": {
            "train": False,
            "meaning_cosine_min": -1.0,
            "guards": {"near_duplicate_share_max": 1.0, "model_written_share_max": 1.0},
        },
    }
)


async def writes(request: dict[str, Any]) -> web.StreamResponse:
    """A new prompt, or an answer; other words for other requests."""
    mark = hashlib.sha256(json.dumps(request).encode()).hexdigest()[:12]
    refining = "training data" in request["messages"][0]["content"]
    text = f"<new_prompt>How far does train number {mark} go in an hour?</new_prompt>" if refining else f"It goes {mark} miles."
    return web.json_response(completion(text))


LONELY = {
    7: "Train number go in an hour, alpha beta gamma delta?",
    24: "Delta number in an hour: epsilon zeta eta theta?",
    41: "Iota go in kappa, number an lambda mu?",
}
"""Prompts unlike all others."""


def sample(number: int) -> Sample:
    """Alike but for a word, and a few that are lonely: the sparse ones."""
    asked = LONELY.get(number, f"How far does train {number} go?")
    said = (Message("user", asked), Message("assistant", f"Quite far: {number * 17} miles."))
    return Sample(DATASET, f"s{number:03}", 0, content_hash_of(said, "", None), said)


class World:
    """A broker, a bucket, and all services as one process."""

    def __init__(self, kafka: str, environment: dict[str, str], folder: Path) -> None:
        self.kafka = kafka
        self.environment = environment
        self.log = folder / "services.log"

    @asynccontextmanager
    async def services(self) -> AsyncIterator[asyncio.subprocess.Process]:
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace.cli.main", "run", *SERVICES,
                env=os.environ | self.environment, cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            await process.wait()

    async def publish(self, *events: tuple[str, Send]) -> None:
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            await publisher.publish_many(list(events))

    async def count(self, topic: Topic, count: int) -> list[Any]:
        """The bodies of a topic, once there are so many."""
        bodies = []
        async with asyncio.timeout(150), aclosing(read_topic(topic, self.kafka)) as events:
            async for event in events:
                bodies.append(event.body)
                if len(bodies) == count:
                    return bodies
        raise AssertionError("a topic that is followed does not end")

    async def all_of(self, topic: Topic) -> list[Any]:
        return [event.body async for event in read_topic(topic, self.kafka, until_now=True)]

    async def until_phase(self, *phases: str) -> Any:
        async with asyncio.timeout(150), aclosing(read_topic(ROUND_STATE, self.kafka)) as events:
            async for event in events:
                if event.body.phase in phases:
                    return event.body
        raise AssertionError("a topic that is followed does not end")


async def test_a_round_goes_from_the_command_to_the_verdict(own_kafka, s3, tmp_path, monkeypatch):
    """What was selected is rewritten, what is better is in the next version, the scale is held; killed once on the way."""
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=2, replication_factor=1)
        admin.create_accepted_topic(DATASET, partitions=2, replication_factor=1)
    settings = s3.model_copy(update={"bucket": f"whole-round-{os.urandom(4).hex()}"})
    endpoint = StubEndpoint(writes)
    async with StubTriton.running(models={"signals": ["1", "2"], "base": ["1"]}) as triton, endpoint.serving():
        environment = {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}", "HEADRACE_HOME": str(tmp_path / "no-stack"), "HEADRACE_KAFKA": own_kafka,
            "HEADRACE_INSTANCE": "test", "HEADRACE_CHAT_URL": endpoint.url, "HEADRACE_CHAT_MODEL": "stub",
            "HEADRACE_CHAT_CONCURRENCY": str(CALLS_IN_FLIGHT),
            "HEADRACE_SCORING_TRITON": triton.address, "HEADRACE_CONTROLLER_TRITON": triton.address,
            "HEADRACE_S3_ENDPOINT": settings.endpoint, "HEADRACE_S3_ACCESS_KEY": settings.access_key,
            "HEADRACE_S3_SECRET_KEY": settings.secret_key.get_secret_value(), "HEADRACE_S3_BUCKET": settings.bucket,
            "HEADRACE_DIVERSITY_INDEX_PATH": str(tmp_path / "index"),
        }  # fmt: skip
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        world = World(own_kafka, environment, tmp_path)
        first = replace(BODIES["CheckpointRolledOut"], checkpoint_id="", model_version="1", rollback_request_id="")
        published = PolicyPublished(DATASET, POLICY.version, POLICY.canonical_json(), time.time())
        await world.publish(("policy", Send(POLICY_PUBLISHED, published)), ("first", Send(CHECKPOINT_ROLLED_OUT, first)))
        try:
            async with world.services():
                begun = await _begun(world)
                await world.until_phase("refining")
            async with world.services():
                kept = await world.until_phase("kept", "stopped", "frozen")
                await _require_whole(world, begun, kept, settings)
            calls = Counter(json.dumps(request) for request in endpoint.requests)
            assert len(calls) >= 2 * kept.selected.total
            assert calls.total() - len(calls) <= CALLS_IN_FLIGHT  # at the kill; no other is paid twice
        finally:
            print(world.log.read_text()[-8_000:])  # noqa: T201 - for whoever looks at a failure


async def _headrace(*arguments: str) -> str:
    done = await asyncio.to_thread(lambda: CliRunner().invoke(app, ["round", *arguments]))
    return done.output


async def _begun(world: World) -> dict[str, Any]:
    """Samples are accepted and cut into a version, and the round begins."""
    await world.publish(*((f"s{n}", Send(SUBMITTED, Dossier(sample(n), time.time()))) for n in range(ROWS)))
    decided = await world.count(DECIDED, ROWS)
    assert Counter(body.decisions[-1].reason for body in decided) == {"accepted": ROWS}
    await world.publish(("cut", Send(CUT_REQUESTED, DatasetCutRequested(DATASET, "cut-1", "test"))))
    [committed] = await world.count(COMMITTED, 1)
    assert committed.rows_accepted == ROWS
    begun: dict[str, Any] = json.loads(await _headrace("start", DATASET, "--json"))
    return begun


async def _require_whole(world: World, begun: dict[str, Any], kept: RoundState, settings: ObjectStoreSettings) -> None:
    assert kept.selected is not None
    assert kept.committed is not None
    assert (kept.phase, kept.reason) == ("kept", "not_trained"), kept.detail
    assert begun["begun"]["rows"] == ROWS == kept.rows.sent == kept.rows.measured
    assert kept.rows.lost == ()
    assert kept.selected.held_out_rows == sum(is_held_out(prompt_hash_of(sample(n)), 0.2, "seed") for n in range(ROWS))
    asked = await world.all_of(REFINEMENT_REQUESTED)
    first_attempts = [body.rewrite for body in asked if body.rewrite.attempt == 1]
    assert len(first_attempts) == kept.selected.total == kept.rewrites.requested == kept.rewrites.ended
    assert not [each for each in first_attempts if is_held_out(prompt_hash_of(each.parent), 0.2, "seed")]
    accepted = [body for body in await world.all_of(DECIDED) if body.rewrite and body.decisions[-1].verdict == "accepted"]
    assert Counter(body.rewrite.axis for body in accepted) == kept.rewrites.accepted
    async with open_object_store(settings) as objects:
        version = await VersionStore(objects).version(DATASET)
    assert (version.id, version.manifest.sequence) == (kept.committed.version, 2)
    assert version.manifest.counts.accepted == ROWS + kept.rewrites.accepted.get("sparse", 0) - kept.evicted
    assert kept.evicted == kept.rewrites.accepted["sparse"] == 1
    watched = await _headrace("watch", DATASET)
    for words in ("kept unjudged", "loss, nats per response token, 80 rows", "density, mean cosine", "quality, 0 to 10"):
        assert words in watched
