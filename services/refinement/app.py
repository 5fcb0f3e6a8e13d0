"""Puts refinement together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.adapters.chat.checking import RoleChecks
from headrace.adapters.chat.kept import ChatEndpoints, Ending
from headrace.adapters.chat.opening import opened_chat
from headrace.adapters.chat.settings import endpoint_of
from headrace.core.budgets import Spend
from headrace.core.chat import ANSWERER, JUDGE, REFINER, Call, Outcome
from headrace.core.rounds.rewrite_judging import RewriteJudging
from headrace.runtime.app import Runtime
from headrace.runtime.service import Service
from headrace.runtime.telemetry import Attribute, Metric, Telemetry
from services.refinement.handlers import Refinement
from services.refinement.recipes import read_judging, read_recipes
from services.refinement.settings import RefinementSettings
from services.refinement.subscribers import NAME, subscriptions


@asynccontextmanager
async def open_service(runtime: Runtime) -> AsyncIterator[Service]:
    """Refinement, ready to run; the endpoints may come later."""
    settings = RefinementSettings()
    judging = RewriteJudging(read_judging(), settings.judging(), endpoint_of(JUDGE).model)
    async with opened_chat(
        runtime.settings.kafka,
        f"headrace/{NAME}",
        (REFINER, ANSWERER),
        told=_Told(runtime.telemetry),
        start_s=runtime.settings.kafka_start_s,
    ) as chat:
        refinement = Refinement(
            policy_of=runtime.policies.policy_of,
            chat=chat.model,
            replies=chat.replies,
            worst_of=_WorstOf(chat.endpoints),
            checked=RoleChecks(chat.endpoints),
            recipes=read_recipes(settings.style),
            limits=settings.limits(),
            refining=settings.refining(),
            answering=settings.answering(),
            judging=judging,
        )
        pings = {"policies": runtime.policies.ping, "chat": chat.ping}
        subscribed = subscriptions(refinement, batch_records_max=settings.batch_records_max)
        yield Service(NAME, subscribed, pings)


class _WorstOf:
    """The most that a call may cost at the endpoint that it goes to."""

    def __init__(self, endpoints: ChatEndpoints) -> None:
        self._endpoints = endpoints

    def __call__(self, call: Call) -> Spend:
        endpoint = self._endpoints.of(call.role)
        return endpoint.worst_of(endpoint.bounded(call))


class _Told:
    """Tells telemetry what became of a call, and what it took."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __call__(self, role: str, ending: Ending, outcome: Outcome) -> None:
        attributes = {Attribute.MODEL_ROLE: role, Attribute.OUTCOME: ending.value}
        self._telemetry.count(Metric.CHAT_CALLS, 1, attributes)
        cost = outcome.cost
        if ending is Ending.REUSED or cost is None:
            return
        if cost.seconds is not None:
            self._telemetry.record(Metric.CHAT_CALL_DURATION, cost.seconds, attributes)
            self._telemetry.called("chat", cost.seconds, attributes)
        for kind, tokens in (("prompt", cost.prompt_tokens), ("response", cost.completion_tokens)):
            if tokens is not None:
                self._telemetry.count(Metric.CHAT_TOKENS, tokens, {Attribute.MODEL_ROLE: role, Attribute.TOKENS: kind})
