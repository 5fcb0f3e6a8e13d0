"""Rewrites as refinement makes them: its own handler, asking the endpoint that the settings name, or a small one of our own."""

import importlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.adapters.chat.checking import RoleChecks
from headrace.adapters.chat.endpoint import chat_session
from headrace.adapters.chat.kept import ChatEndpoints, KeptChat
from headrace.adapters.chat.settings import PREFIX, ChatSettings, endpoint_of
from headrace.core.budgets import Spend
from headrace.core.chat import ANSWERER, JUDGE, Call, KeptReply
from headrace.core.dossiers import Dossier, Rewrite
from headrace.core.events import Event, Position
from headrace.core.policies import Policy
from headrace.core.rounds.rewrite_costs import tokens_of
from headrace.core.rounds.rewrite_judging import RewriteJudging
from headrace.core.rounds.rewriting import Style
from headrace.core.rounds.surveys import RefinementRequested
from headrace.core.topics import REFINEMENT_REQUESTED, SUBMITTED
from headrace.local.chat import Chat
from headrace.local.running import running

_STYLE = "HEADRACE_REFINEMENT_STYLE"

SettingsOf = Callable[[str], ChatSettings]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoint of each role, and the style in which a refiner is asked where refinement's own setting says none."""

    settings_of: SettingsOf
    style: Style


@dataclass(frozen=True, slots=True)
class Written:
    """What came of one attempt at a rewrite: a dossier, or the reason why there is none."""

    rewrite: Rewrite
    dossier: Dossier | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes rewrites; `model` is the endpoint's name for what answers, `replies` what was paid for."""

    model: str
    refinement: Any
    replies: "_RepliesOfThisRun"
    handle: Callable[..., Any]

    async def write(self, rewrites: Sequence[Rewrite]) -> list[Written]:
        """One attempt at each, at the same time.

        Raises:
            Stop: the endpoint is gone.
        """
        results = await self.handle([_event(number, rewrite) for number, rewrite in enumerate(rewrites)], self.refinement)
        return [_written(rewrite, result.sends[0]) for rewrite, result in zip(rewrites, results, strict=True)]

    def tokens_spent(self, rewrites: Sequence[Rewrite]) -> int:
        """What the endpoint says it read and wrote for the rounds of these rewrites."""
        accounts = {f"{rewrite.parent.dataset_id}/{rewrite.round_id}" for rewrite in rewrites}
        costs = (kept.outcome.cost for kept in self.replies.all() if kept.account in accounts)
        return sum(tokens_of(cost) or 0 for cost in costs if cost is not None)


@contextmanager
def endpoints_for(folder: Path) -> Iterator[Endpoints]:
    """What HEADRACE_CHAT_* name, else a small model that is served here meanwhile. Not within a running loop.

    Raises:
        StackFailed: there is none, and none can be started.
    """
    if "url" in ChatSettings().model_fields_set:
        yield Endpoints(endpoint_of, Style.MARKED)
        return
    with running(Chat(), folder) as launch:
        told = {name.removeprefix(PREFIX).lower(): value for name, value in launch.tells.items()}
        local = ChatSettings.model_validate(told)
        yield Endpoints(lambda _: local, Style(launch.tells[_STYLE]))


@asynccontextmanager
async def opened_writer(named: Endpoints, policy: Policy, tokens_max: int) -> AsyncIterator[Writer]:
    """A writer whose replies, prompts and answers alike, have `tokens_max` tokens at most."""
    handlers, recipes, settings = (
        importlib.import_module(f"services.refinement.{name}")  # a service is no part of the wheel
        for name in ("handlers", "recipes", "settings")
    )
    chosen = settings.RefinementSettings(prompt_tokens_max=tokens_max, answer_tokens_max=tokens_max)
    style = chosen.style if "style" in chosen.model_fields_set else named.style
    async with chat_session() as session:
        endpoints, replies = ChatEndpoints(session, named.settings_of), _RepliesOfThisRun()

        def worst_of(call: Call) -> Spend:
            endpoint = endpoints.of(call.role)
            return endpoint.worst_of(endpoint.bounded(call))

        refinement = handlers.Refinement(
            policy_of=lambda _: policy,
            chat=KeptChat(endpoints, replies, lambda *_: None),
            replies=replies,
            worst_of=worst_of,
            checked=RoleChecks(endpoints),
            recipes=recipes.read_recipes(style),
            limits=chosen.limits(),
            refining=chosen.refining(),
            answering=chosen.answering(),
            judging=RewriteJudging(recipes.read_judging(), chosen.judging(), named.settings_of(JUDGE).model),
        )
        yield Writer(named.settings_of(ANSWERER).model, refinement, replies, handlers.refine)


class _RepliesOfThisRun:
    """As `KeptReplies`, for as long as the experiment lasts."""

    def __init__(self) -> None:
        self._kept: dict[str, KeptReply] = {}

    def all(self) -> Iterable[KeptReply]:
        """Every reply that was paid for."""
        return self._kept.values()

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Nobody else keeps any."""

    async def find(self, identity: str) -> KeptReply | None:
        return self._kept.get(identity)

    async def store(self, partition: int, kept: KeptReply) -> None:
        del partition  # there is one place for all
        self._kept[kept.identity] = kept


def _event(number: int, rewrite: Rewrite) -> Event[RefinementRequested]:
    position = Position(REFINEMENT_REQUESTED.name, 0, number)
    name = f"{rewrite.round_id}/{rewrite.axis}/{rewrite.parent.id}/{rewrite.attempt}"
    body = RefinementRequested(rewrite)
    return Event(name, REFINEMENT_REQUESTED.name, rewrite.parent.key, body, time.time(), position)


def _written(rewrite: Rewrite, send: Any) -> Written:
    if send.topic is SUBMITTED:
        return Written(rewrite, send.body)
    return Written(rewrite, None, send.body.fact.reason)
