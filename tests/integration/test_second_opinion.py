"""A second opinion through real processes, a real broker, and an endpoint that writes better the second time."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.core.dossiers import EndpointJudgement, PolicyPublished
from headrace.core.events import Send
from headrace.core.policies import Policy
from headrace.core.rounds.surveys import RefinementRequested
from headrace.core.topics import DECIDED, POLICY_PUBLISHED, REFINEMENT_REQUESTED, ROUND_PROGRESSED
from tests.fakes.chat_endpoint import StubEndpoint, completion
from tests.fakes.evidence import DATASET
from tests.fakes.rewrites import scores
from tests.integration.test_refinement import World, asked

pytestmark = [pytest.mark.connected, pytest.mark.timeout(180)]

POLICY = Policy.model_validate({"rounds": {"judge_rewrites": "endpoint"}})
QUALITIES = {"train 0": 6.0, "train number 1": 4.0, "train number 2": 7.0}
"""What the judge thinks of the parent, and of the rewrites of the first and the second attempt."""


def is_judging(request: dict[str, Any]) -> bool:
    return str(request["model"]) == "judge-1"


async def test_a_rewrite_that_is_judged_worse_is_tried_again_and_its_parent_judged_once(own_kafka, tmp_path):
    """Turned away with its reason and numbers, which the refiner is shown; the next one is accepted with its own."""
    written = 0

    async def behave(request: dict[str, Any]) -> web.StreamResponse:
        nonlocal written
        said = request["messages"][-1]["content"]
        if is_judging(request):
            [judged] = [name for name in QUALITIES if f"How far does {name} go" in said]
            return web.json_response(completion(f"```json\n{scores(QUALITIES[judged])}\n```"))
        if "<new_prompt>" not in request["messages"][0]["content"]:
            return web.json_response(completion("It goes forty miles."))
        written += 1
        return web.json_response(completion(f"<new_prompt>How far does train number {written} go in an hour?</new_prompt>"))

    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=4, replication_factor=1)
        admin.create_accepted_topic(DATASET, partitions=4, replication_factor=1)
    rewrite = replace(asked(0).rewrite, gate=POLICY.rounds.gate())
    published = PolicyPublished(DATASET, POLICY.version, POLICY.canonical_json(), 1_000.0)
    async with StubEndpoint(behave).serving() as stub:
        world = World(own_kafka, stub.url, tmp_path)
        world.environment["HEADRACE_CHAT_JUDGE_MODEL"] = "judge-1"
        await world.publish(
            ("policy", Send(POLICY_PUBLISHED, published)), ("asked", Send(REFINEMENT_REQUESTED, RefinementRequested(rewrite)))
        )
        async with world.measuring():
            service = await world.started()
            try:
                await asyncio.wait_for(world.ended(1), 120)
            finally:
                service.terminate()
                await service.wait()

    judging = [request["messages"][-1]["content"] for request in stub.requests if is_judging(request)]
    assert [next(name for name in QUALITIES if f"How far does {name} go" in said) for said in judging] == list(QUALITIES)
    assert sorted(check["model"] for check in stub.checks) == ["judge-1", "stub"]
    assert any("judged_worse; rewrite_judged_quality is 4, and should be >= 6" in str(request) for request in stub.requests)
    first, second = [body for body in await world.all_of(DECIDED) if body.rewrite is not None]
    assert (first.decisions[-1].verdict, first.decisions[-1].reason) == ("rejected", "judged_worse")
    assert first.rewrite.judged == EndpointJudgement(6.0, 4.0, "judge-1", "judge.v1")
    assert (second.rewrite.attempt, second.decisions[-1].verdict) == (2, "accepted")
    assert second.rewrite.judged == EndpointJudgement(6.0, 7.0, "judge-1", "judge.v1")
    assert re.search("train number 2", second.sample.messages[-2].content)
    [ended] = await world.all_of(ROUND_PROGRESSED)
    assert (ended.fact.ending, ended.fact.attempts, ended.fact.tokens) == ("accepted", 2, 10 * len(stub.requests))
    assert len(stub.requests) == 7
    assert second.rewrite.tokens_allowed == 100_000 - 70
