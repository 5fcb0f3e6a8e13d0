"""Windows and places of streams, without a network."""

import asyncio

import pytest

from headrace.runtime.telemetry import Telemetry
from services.gateway.outbox import Answer, Answered, Status
from services.gateway.pace import Pace
from services.gateway.streams import Streams, TooManyStreams, Window
from services.gateway.tokens import Caller, Grant

CALLER = Caller(Grant(name="n", sha256="0" * 64, datasets=("*",)), Pace(None))


def ticket(name):
    return Answered(Answer(Status.RECEIVED, name))


async def answers_of(window):
    return [label async for batch in window.answers() for label, _ in batch]


async def test_answers_come_in_the_order_of_the_samples():
    """Whatever is ready first."""
    streams, reached = Streams(1, Telemetry()), []
    window: Window[int] = Window(4)

    async def read():
        for number in range(10):
            await window.put(number, ticket(str(number)))
            reached.append(number)

    with streams.opened("http", CALLER), streams.reading(read(), window):
        await asyncio.sleep(0.01)
        assert reached == [0, 1, 2, 3]
        assert await answers_of(window) == list(range(10))


async def test_a_reading_side_that_fails_ends_the_window():
    """The writing side answers what there is and then looks at what went wrong."""
    streams = Streams(1, Telemetry())
    window: Window[int] = Window(4)

    async def read():
        await window.put(1, ticket("1"))
        raise ValueError("broken")

    with streams.opened("http", CALLER), streams.reading(read(), window) as reader:
        assert await answers_of(window) == [1]
        with pytest.raises(ValueError, match="broken"):
            await reader


async def test_a_stream_that_begins_while_the_gateway_stops_ends_at_once():
    """Even if its reading side never took a step."""
    streams = Streams(1, Telemetry())
    window: Window[int] = Window(4)

    async def read():
        await asyncio.sleep(60)

    with streams.opened("http", CALLER):
        draining = asyncio.create_task(streams.drain(5))
        await asyncio.sleep(0)
        with streams.reading(read(), window):
            assert await asyncio.wait_for(answers_of(window), 1) == []
    await asyncio.wait_for(draining, 1)
    with pytest.raises(TooManyStreams, match="stopping"), streams.opened("http", CALLER):
        pass


async def test_who_does_not_read_is_not_waited_for():
    """A stop takes as long as it may, and no longer."""
    streams = Streams(1, Telemetry())
    with streams.opened("grpc", CALLER):
        await asyncio.wait_for(streams.drain(0.05), 1)


def test_a_place_is_left_once():
    """However often it is said."""
    streams = Streams(2, Telemetry())
    with streams.opened("grpc", CALLER) as place:
        place.leave()
        place.leave()
        assert streams.count == 0
    assert (streams.count, CALLER.streams) == (0, 0)
