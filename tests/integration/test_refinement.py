"""Rewrites through real processes and a real broker: refinement and admission, killed once, and an endpoint that counts."""

import asyncio
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.core.budgets import Spend
from headrace.core.chat import ANSWERER, REFINER
from headrace.core.dossiers import CURRENT, Dossier, PolicyPublished, Signals
from headrace.core.events import Send
from headrace.core.policies import Policy
from headrace.core.rounds.surveys import RefinementRequested
from headrace.core.samples import Message
from headrace.core.topics import (
    DECIDED,
    PLACED,
    POLICY_PUBLISHED,
    REFINEMENT_REQUESTED,
    RETRACTION_REQUESTED,
    ROUND_PROGRESSED,
    SUBMITTED,
)
from headrace.local.ports import free_port
from tests.fakes.chat_endpoint import StubEndpoint, after, completion
from tests.fakes.evidence import DATASET, placement
from tests.fakes.rewrites import MODEL, VERSION, judged, parent, rewrite

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
PARENTS = 60
AXES = ("hard", "low_quality", "sparse")
GOOD_AT = (1, 2, 9)
"""At which attempt a parent's rewrite is good; the last is never tried."""
CALLS = 2 * PARENTS * (1 + 2 + 2) // 3
IN_FLIGHT = 8
POLICY = Policy.model_validate({"rounds": {"unmended": "drop"}})


async def writes(request: dict[str, Any]) -> web.StreamResponse:
    """A new prompt, or an answer; other words for other requests."""
    mark = hashlib.sha256(json.dumps(request).encode()).hexdigest()[:12]
    refining = "training data" in request["messages"][0]["content"]
    text = f"<new_prompt>How far does train number {mark} go in an hour?</new_prompt>" if refining else f"It goes {mark} miles."
    return web.json_response(completion(text))


def asked(number: int) -> RefinementRequested:
    """One parent's first attempt."""
    said = (Message("user", f"How far does train {number} go?"), Message("assistant", "Quite far, as trains go."))
    of = parent(id=f"p{number:02}", messages=said, reference=None)
    allowed = {"tokens_allowed": 100_000, "roles_allowed": (Spend(50_000, None, ANSWERER),)}
    return RefinementRequested(rewrite(AXES[number // 3 % 3], parent=of, attempts_max=2, **allowed))


def number_of(dossier: Dossier) -> int:
    assert dossier.rewrite is not None
    return int(dossier.rewrite.parent.id[1:])


def measured(dossier: Dossier) -> Dossier:
    """What scoring and diversity would say: better than its parent from the attempt on that is to be good."""
    assert dossier.rewrite is not None
    good = dossier.rewrite.attempt >= GOOD_AT[number_of(dossier) % 3]
    signals = Signals(CURRENT, MODEL, VERSION, 3.0 if good else 5.0, 0.1, 10, 5, judgement=judged(6.0 if good else 2.0))
    placed = replace(placement(), parent_cosine=0.9 if good or dossier.rewrite.axis != "sparse" else 0.1)
    return replace(dossier, signals=(signals,), placement=placed)


class World:
    """A broker with the topics and a policy, services as a process, and this test in the place of scoring and diversity."""

    def __init__(self, kafka: str, url: str, folder: Path) -> None:
        self.kafka = kafka
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}", "HEADRACE_HOME": str(folder / "no-stack"), "HEADRACE_KAFKA": kafka,
            "HEADRACE_INSTANCE": "test", "HEADRACE_CHAT_URL": url, "HEADRACE_CHAT_MODEL": "stub",
            "HEADRACE_CHAT_CONCURRENCY": str(IN_FLIGHT), "HEADRACE_REFINEMENT_BATCH_RECORDS_MAX": "16",
        }  # fmt: skip
        self.log = folder / "services.log"

    async def started(self) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace.cli.main", "run", "refinement", "admission",
                env=self.environment, cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip

    async def publish(self, *events: tuple[str, Send]) -> None:
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            await publisher.publish_many(list(events))

    @asynccontextmanager
    async def measuring(self) -> AsyncIterator[list[Dossier]]:
        """Everything submitted is measured and placed; yields what was."""
        seen: list[Dossier] = []

        async def measure() -> None:
            async with (
                EventPublisher(self.kafka, "headrace/test") as publisher,
                aclosing(read_topic(SUBMITTED, self.kafka)) as submitted,
            ):
                async for event in submitted:
                    seen.append(event.body)
                    await publisher.publish_many([(f"placed-{event.id}", Send(PLACED, measured(event.body)))])

        task = asyncio.create_task(measure())
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def ended(self, count: int) -> None:
        """Returns once so many rewrites have ended."""
        async with asyncio.timeout(120), aclosing(read_topic(ROUND_PROGRESSED, self.kafka)) as progressed:
            async for _ in progressed:
                count -= 1
                if not count:
                    return

    async def all_of(self, topic) -> list[Any]:
        return [event.body async for event in read_topic(topic, self.kafka, until_now=True)]


@pytest.fixture
async def stub() -> AsyncIterator[StubEndpoint]:
    endpoint = StubEndpoint(after(0.02, writes))
    async with endpoint.serving():
        yield endpoint


async def test_every_rewrite_ends_once_whatever_is_killed(own_kafka, stub, tmp_path):
    """Killed amid its calls: each attempt is submitted once, each way ends once, and only calls in flight are paid twice."""
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=4, replication_factor=1)
        admin.create_accepted_topic(DATASET, partitions=4, replication_factor=1)
    world = World(own_kafka, stub.url, tmp_path)
    published = PolicyPublished(DATASET, POLICY.version, POLICY.canonical_json(), 1_000.0)
    requests = [(f"asked-{number}", Send(REFINEMENT_REQUESTED, asked(number))) for number in range(PARENTS)]
    await world.publish(("policy", Send(POLICY_PUBLISHED, published)), *requests)
    async with world.measuring() as submitted:
        first = await world.started()
        while len(stub.requests) < CALLS * 0.4:
            assert first.returncode is None, world.log.read_text()
            await asyncio.sleep(0.005)
        first.kill()
        await first.wait()
        again = await world.started()
        try:
            await world.ended(PARENTS)
        finally:
            again.terminate()
            await again.wait()

    paid = Counter(json.dumps(request) for request in stub.requests)
    assert len(paid) == CALLS
    assert sum(paid.values()) - CALLS <= 2 * IN_FLIGHT
    revisions = Counter((dossier.sample.id, dossier.sample.revision) for dossier in submitted)
    assert set(revisions.values()) == {1}
    assert len(revisions) == CALLS // 2

    facts = {body.fact.parent_id: body.fact for body in await world.all_of(ROUND_PROGRESSED)}
    assert len(facts) == PARENTS == len(await world.all_of(ROUND_PROGRESSED))
    for number in range(PARENTS):
        fact, good_at = facts[f"p{number:02}"], GOOD_AT[number % 3]
        assert (fact.ending, fact.attempts) == ("accepted" if good_at <= 2 else "rejected", min(good_at, 2))
        assert (fact.axis, fact.tokens, fact.money) == (AXES[number // 3 % 3], 20 * fact.attempts, None)
        assert fact.roles_spent == (Spend(10 * fact.attempts, None, ANSWERER), Spend(10 * fact.attempts, None, REFINER))
    retracted = {(body.sample_id, body.reason) for body in await world.all_of(RETRACTION_REQUESTED)}
    assert retracted == {(f"p{n:02}", "unmended") for n in range(PARENTS) if n % 3 == 2 and AXES[n // 3 % 3] != "sparse"}

    decided = [body for body in await world.all_of(DECIDED) if body.decisions[-1].verdict == "accepted"]
    assert len(decided) == 2 * PARENTS // 3
    for dossier in decided:
        assert re.search(r"train number [0-9a-f]{12}", dossier.sample.messages[-2].content)
        assert dossier.rewrite.tokens_allowed == 100_000 - 20 * dossier.rewrite.attempt
        assert dossier.rewrite.roles_allowed == (Spend(50_000 - 10 * dossier.rewrite.attempt, None, ANSWERER),)


async def test_an_endpoint_that_comes_late_is_waited_for(own_kafka, tmp_path):
    """Nothing is dead-lettered or given up while it is away: the consumer keeps its place."""
    stub, port = StubEndpoint(writes), free_port(set())
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=4, replication_factor=1)
    world = World(own_kafka, f"http://127.0.0.1:{port}/v1", tmp_path)
    world.environment["HEADRACE_CHAT_GONE_S_MAX"] = "0.5"
    published = PolicyPublished(DATASET, POLICY.version, POLICY.canonical_json(), 1_000.0)
    late = replace(asked(0).rewrite, parent=replace(asked(0).rewrite.parent, id="late"))
    await world.publish(
        ("policy-again", Send(POLICY_PUBLISHED, published)), ("late", Send(REFINEMENT_REQUESTED, RefinementRequested(late)))
    )
    service = await world.started()
    try:
        async with asyncio.timeout(60):
            while "cannot be reached" not in world.log.read_text():
                assert service.returncode is None, world.log.read_text()
                await asyncio.sleep(0.05)
        async with stub.serving(port), asyncio.timeout(60), aclosing(read_topic(SUBMITTED, own_kafka)) as submitted:
            async for event in submitted:
                if event.body.sample.id == "late":
                    break
    finally:
        service.terminate()
        await service.wait()
    assert len(stub.requests) == 2
