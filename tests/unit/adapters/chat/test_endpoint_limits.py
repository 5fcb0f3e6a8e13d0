"""How many calls an endpoint gets at a time, in a minute, and of how many tokens."""

import asyncio
import time

from headrace.core.chat import Call, Reply, Sampling
from headrace.core.samples import Message
from tests.fakes.chat_endpoint import StubEndpoint, after, answers, asked, says

CALL = Call("refiner", (Message("user", "Say something."),), Sampling(max_tokens=64))


async def test_calls_on_their_way_are_limited_and_those_that_wait_are_not():
    """A call that waits for its next try gives its place to others, so that errors cost no concurrency."""
    stub = StubEndpoint(after(0.05, answers()), [says(500)] * 4)
    async with stub.serving(), asked(stub.url, concurrency=4, retry_s_min=0.2, retry_s_max=0.2) as endpoint:
        outcomes = await asyncio.gather(*(endpoint.ask(CALL) for _ in range(20)))
    assert all(isinstance(outcome, Reply) for outcome in outcomes)
    assert len(stub.requests) == 24
    assert stub.in_flight_most == 4


async def test_calls_are_spaced_where_the_minute_is_limited():
    """Six hundred a minute are ten a second."""
    stub = StubEndpoint()
    async with stub.serving(), asked(stub.url, calls_per_min=600) as endpoint:
        began = time.monotonic()
        await asyncio.gather(*(endpoint.ask(CALL) for _ in range(6)))
        assert time.monotonic() - began >= 0.45


async def test_a_call_asks_for_no_more_than_the_endpoint_s_limit():
    """The limit is a setting, whatever a prompt's author wrote."""
    async with asked("http://127.0.0.1:1/v1", tokens_max=10) as endpoint:
        assert endpoint.bounded(CALL).sampling.max_tokens == 10
        small = Call("refiner", CALL.messages, Sampling(max_tokens=5))
        assert endpoint.bounded(small) is small
