"""Puts the generating models of a service together, from the settings HEADRACE_CHAT_* and HEADRACE_REPLIES_*."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace.adapters.chat.endpoint import chat_session
from headrace.adapters.chat.kept import ChatEndpoints, KeptChat, Told
from headrace.adapters.chat.replies import Replies
from headrace.adapters.chat.settings import RepliesSettings
from headrace.adapters.kafka.streams import START_S


@dataclass(frozen=True, slots=True)
class Chat:
    """What a service needs: the models, and their kept replies, caught up with at the beginning of each batch."""

    model: KeptChat
    replies: Replies
    endpoints: ChatEndpoints

    async def ping(self) -> None:
        """Return when the endpoint of every role answers.

        Raises:
            aiohttp.ClientError, TimeoutError: one does not.
        """
        for endpoint in dict.fromkeys(self.endpoints.roles.values()):
            await endpoint.ping()


@asynccontextmanager
async def opened_chat(
    bootstrap: str,
    source: str,
    roles: Sequence[str],
    *,
    told: Told,
    start_s: float = START_S,
) -> AsyncIterator[Chat]:
    """The models of these roles, for a service that speaks as `source` (`headrace/<service>`).

    Raises:
        BrokerUnreachable: Kafka does not answer, or lacks the topic of replies.
        ValueError: a setting is wrong.
    """
    async with (
        chat_session() as session,
        Replies.opened(bootstrap, source, RepliesSettings(), start_s=start_s) as replies,
    ):
        endpoints = ChatEndpoints(session)
        for role in roles:
            endpoints.of(role)
        yield Chat(KeptChat(endpoints, replies, told), replies, endpoints)
