"""Generating models as services need them: asked by role, each call with one outcome.

A handler asks for an answer that it can read, not for text (`headrace.core.chat_answers.answer_of` repeats a call whose
reply cannot be read, with the error shown):

    await replies.catch_up({event.first_position.partition for event in events})
    call = Call(REFINER, messages, Sampling(max_tokens=512), partition=event.first_position.partition, account=round_id)
    answer = await answer_of(chat, call, parse)

What is asked twice is paid once: outcomes are kept under the call's identity and read back. A call whose outcome cannot be
used, although the reply could be read, is asked anew under a higher `attempt`. `headrace.adapters.chat.opening.opened_chat` puts
everything together from HEADRACE_CHAT_*, in a service's app.py.
"""

from collections.abc import Iterable
from typing import Protocol

from headrace.core.chat import Call, KeptReply, Outcome


class ChatModel(Protocol):
    """The models behind the roles."""

    async def ask(self, call: Call) -> Outcome:
        """One reply, or why there is none. The same call asked at the same time is made once.

        Raises:
            headrace.core.events.Stop: the endpoint is gone, keeps us waiting or refuses our key, or Kafka is gone. No call
                is at fault; what was answered before is kept.
            ValueError: the call itself is impossible: its schema is no JSON, or it holds a number that is not finite.
        """
        ...


class KeptReplies(Protocol):
    """The replies that were paid for. A handler catches up; the rest is done for it by the model that it asks."""

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Know every reply that was kept for these input partitions, by whomever. Call it at the beginning of a batch.

        Raises:
            headrace.core.events.Stop: Kafka does not give what it has.
        """
        ...

    async def find(self, identity: str) -> KeptReply | None:
        """The reply kept under this identity; None where it was never paid for.

        Raises:
            headrace.core.events.Stop: it is there, but Kafka does not have it yet and does not take it.
        """
        ...

    async def store(self, partition: int, kept: KeptReply) -> None:
        """Returns once the reply is durable, for work that came from this input partition.

        Raises:
            headrace.core.events.Stop: Kafka does not take it. It is known all the same, and written when it is asked for again.
            ValueError: nobody paid for it, or it cannot be written.
        """
        ...
