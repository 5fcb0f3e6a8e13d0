"""No call is paid twice: not on redelivery, and not by two who ask at once."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from headrace.adapters.chat.kept import ChatEndpoints, Ending, KeptChat
from headrace.adapters.chat.settings import ChatSettings
from headrace.core.chat import Call, NotMade, Reply, Sampling
from headrace.core.events import Stop
from headrace.core.samples import Message
from tests.fakes.chat_endpoint import StubEndpoint, after, answers, asked, says
from tests.fakes.chat_model import FakeReplies

CALL = Call("refiner", (Message("user", "Say something."),), Sampling(max_tokens=10), partition=3, account="round-1")


class World:
    """A model that keeps its replies, and everything around it."""

    def __init__(self, stub, replies):
        self.stub = stub
        self.replies = replies
        self.told = []
        self.chat = None


@asynccontextmanager
async def world(always=None, *script, replies=None, **settings):
    stub = StubEndpoint(always or answers(), list(script))
    async with stub.serving(), asked(stub.url, **settings) as endpoint:
        here = World(stub, replies or FakeReplies())
        endpoints = ChatEndpoints(endpoint._session, lambda _: endpoint.settings)

        def tell(role, ending, outcome):
            here.told.append((role, ending, outcome))

        here.chat = KeptChat(endpoints, here.replies, tell)
        yield here


def endings(here) -> list[Ending]:
    return [ending for _, ending, _ in here.told]


async def test_a_reply_is_kept_before_it_is_returned_and_read_back_after():
    """In the partition of the work it was made for; the second time costs nothing and is the same to the cent."""
    async with world(prompt_price=1.0, completion_price=1.0) as here:
        first = await here.chat.ask(CALL)
        assert [(partition, kept.outcome) for partition, kept in here.replies.stored] == [(3, first)]
        assert await here.chat.ask(replace(CALL, partition=5, account="round-2")) == first
        assert len(here.stub.requests) == 1
        assert endings(here) == [Ending.PAID, Ending.REUSED]


async def test_the_same_call_at_the_same_time_is_made_once():
    """Everybody gets the one reply."""
    async with world(after(0.1, answers())) as here:
        outcomes = await asyncio.gather(*(here.chat.ask(CALL) for _ in range(10)))
        assert len(here.stub.requests) == 1
        assert len(set(outcomes)) == 1
        assert sorted(endings(here)) == [Ending.PAID, *[Ending.REUSED] * 9]


async def test_a_call_that_is_cancelled_is_made_for_those_who_still_wait():
    """The first to ask may leave."""
    async with world(after(0.1, answers())) as here:
        first = asyncio.create_task(here.chat.ask(CALL))
        others = [asyncio.create_task(here.chat.ask(CALL)) for _ in range(3)]
        while not here.stub.requests:  # noqa: ASYNC110  # the stub tells nobody
            await asyncio.sleep(0.01)
        first.cancel()
        others[0].cancel()
        outcomes = await asyncio.gather(*others[1:])
        assert all(isinstance(outcome, Reply) for outcome in outcomes)
        assert len(here.stub.requests) == 2


async def test_another_attempt_is_another_call():
    """That is how a caller asks anew for what was answered."""
    async with world() as here:
        await here.chat.ask(CALL)
        await here.chat.ask(replace(CALL, attempt=2))
        assert len(here.stub.requests) == 2


async def test_what_was_paid_in_vain_is_not_paid_again():
    """Rubbish costs as much as a reply."""
    async with world(says(body=b"rubbish")) as here:
        first, second = await here.chat.ask(CALL), await here.chat.ask(CALL)
        assert isinstance(first, NotMade)
        assert first == second
        assert len(here.stub.requests) == 1
        assert endings(here) == [Ending.NOT_MADE, Ending.REUSED]


async def test_what_was_not_paid_is_not_kept():
    """A refusal may have been mended when the call comes again."""
    async with world(answers(), says(400, b"no such model")) as here:
        assert isinstance(await here.chat.ask(CALL), NotMade)
        assert not here.replies.stored
        assert isinstance(await here.chat.ask(CALL), Reply)


async def test_a_reply_that_kafka_does_not_take_is_not_used():
    """The work stops; nobody who waited for the call gets it either."""
    replies = FakeReplies(gone=True)
    async with world(replies=replies) as here:
        outcomes = await asyncio.gather(*(here.chat.ask(CALL) for _ in range(2)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Stop, Stop]
        assert not here.told


async def test_a_call_that_broke_off_leaves_nothing_behind():
    """The next one is made."""
    async with world(answers(), says(401)) as here:
        with pytest.raises(Stop):
            await here.chat.ask(CALL)
        assert isinstance(await here.chat.ask(CALL), Reply)


async def test_roles_with_equal_settings_share_an_endpoint_and_its_limits():
    """A limit on calls is one of the server, not of the name it is asked under."""
    async with world() as here:
        endpoints = ChatEndpoints(here.chat._endpoints._session, lambda role: ChatSettings(model=role[:1]))
        assert endpoints.of("judge") is endpoints.of("jury")
        assert endpoints.of("judge") is not endpoints.of("refiner")
