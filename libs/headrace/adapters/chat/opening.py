"""Puts the generating models of a service together, from the settings HEADRACE_CHAT_* and HEADRACE_REPLIES_*."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace.adapters.chat.endpoint import chat_session
from headrace.adapters.chat.kept import ChatEndpoints, KeptChat, LimitsOf, Told, spend_of
from headrace.adapters.chat.replies import Replies
from headrace.adapters.chat.settings import RepliesSettings
from headrace.adapters.kafka.streams import START_S
from headrace.core.budgets import BudgetLedger, Limits
from headrace.core.chat import KeptReply


@dataclass(frozen=True, slots=True)
class Chat:
    """What a service needs: the models, their kept replies (caught up with at the beginning of each batch), what was spent."""

    model: KeptChat
    replies: Replies
    ledger: BudgetLedger
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
    limits_of: LimitsOf = lambda _: Limits(),
    start_s: float = START_S,
) -> AsyncIterator[Chat]:
    """The models of these roles, for a service that speaks as `source` (`headrace/<service>`).

    `limits_of` says what an account (`Call.account`) may spend. A process counts what it spent and what it reads back from the
    partitions that it catches up with: a limit on a whole round is enforced to that extent by each replica.

    Raises:
        BrokerUnreachable: Kafka does not answer, or lacks the topic of replies.
        ValueError: a setting is wrong.
    """
    ledger = BudgetLedger()

    def booked(kept: KeptReply) -> None:
        if kept.outcome.cost is not None:
            ledger.book(kept.account, spend_of(kept.outcome.cost))

    async with (
        chat_session() as session,
        Replies.opened(bootstrap, source, RepliesSettings(), booked, start_s=start_s) as replies,
    ):
        endpoints = ChatEndpoints(session)
        for role in roles:
            endpoints.of(role)
        yield Chat(KeptChat(endpoints, replies, ledger, limits_of, told), replies, ledger, endpoints)
