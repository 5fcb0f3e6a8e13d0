"""A chat model that pays for each call once: looks its reply up, else makes the call and keeps the reply."""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum

import aiohttp

from headrace.adapters.chat.endpoint import ChatEndpoint
from headrace.adapters.chat.settings import ChatSettings, endpoint_of
from headrace.core.chat import Call, KeptReply, Outcome, Reply, identity_of
from headrace.core.ports.chat_model import KeptReplies


class Ending(StrEnum):
    """How a call that was asked for ended."""

    PAID = "paid"
    """A reply came and was kept."""
    REUSED = "reused"
    """Its outcome was there already."""
    NOT_MADE = "not_made"
    """There is no reply; where it has a cost, that was paid and kept too."""


Told = Callable[[str, Ending, Outcome], None]
"""Is told role, ending and outcome of every call; a reused outcome's cost was told when it was paid."""


class ChatEndpoints:
    """The endpoint of each role. Roles with equal settings share one, and its limits."""

    def __init__(self, session: aiohttp.ClientSession, settings_of: Callable[[str], ChatSettings] = endpoint_of) -> None:
        self._session = session
        self._settings_of = settings_of
        self._roles: dict[str, ChatEndpoint] = {}

    def of(self, role: str) -> ChatEndpoint:
        """The role's endpoint.

        Raises:
            ValueError: the role cannot have settings, or has wrong ones.
        """
        endpoint = self._roles.get(role)
        if endpoint is None:
            settings = self._settings_of(role)
            same = (each for each in self._roles.values() if each.settings == settings)
            endpoint = self._roles[role] = next(same, None) or ChatEndpoint(settings, self._session)
        return endpoint

    @property
    def roles(self) -> Mapping[str, ChatEndpoint]:
        """The endpoints of the roles that were asked for so far."""
        return self._roles


class KeptChat:
    """As `ChatModel`. What a call may cost is for the caller to say before: `headrace.core.rounds.rewrite_costs.AllowedChat`."""

    def __init__(self, endpoints: ChatEndpoints, replies: KeptReplies, told: Told) -> None:
        self._endpoints = endpoints
        self._replies = replies
        self._told = told
        self._running: dict[str, asyncio.Future[Outcome | None]] = {}

    async def ask(self, call: Call) -> Outcome:
        """As `ChatModel.ask`."""
        endpoint = self._endpoints.of(call.role)
        call = endpoint.bounded(call)
        identity = identity_of(call, endpoint.settings.model)
        while True:
            running = self._running.get(identity)
            if running is None:
                return await self._lead(endpoint, call, identity)
            await asyncio.wait((running,))  # cancels nobody's call
            if outcome := running.result():
                self._told(call.role, Ending.REUSED, outcome)
                return outcome

    async def _lead(self, endpoint: ChatEndpoint, call: Call, identity: str) -> Outcome:
        """Makes the call for everybody who asks for it meanwhile; where it comes to nothing, the next one leads."""
        running = self._running[identity] = asyncio.get_running_loop().create_future()
        outcome = None
        try:
            kept = await self._replies.find(identity)
            if kept is not None:
                outcome = kept.outcome
                self._told(call.role, Ending.REUSED, outcome)
            else:
                outcome = await endpoint.ask(call)
                if outcome.cost is not None:
                    reply = KeptReply(identity, call.role, endpoint.settings.model, call.account, outcome)
                    await self._replies.store(call.partition, reply)
                self._told(call.role, Ending.PAID if isinstance(outcome, Reply) else Ending.NOT_MADE, outcome)
        except BaseException:
            outcome = None  # it was not kept, so nobody may use it
            raise
        finally:
            del self._running[identity]
            running.set_result(outcome)
        return outcome
