"""Work beside the handlers: while it goes on nothing is said, and its end is told at the ping and in the log."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from headrace.runtime.background import background


async def test_work_that_ends_is_told_at_the_ping_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """What it raised stands in the log, and nowhere in the way of closing."""
    going = asyncio.Event()

    async def work() -> None:
        await going.wait()
        raise KeyError("unforeseen")

    async with AsyncExitStack() as stack:
        ping = background(stack, work(), "following something")
        await asyncio.sleep(0)
        await ping()
        going.set()
        for _ in range(3):
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="following something has ended: restart"):
            await ping()
    assert "following something has ended: restart" in caplog.text
    assert "KeyError: 'unforeseen'" in caplog.text


async def test_work_that_just_returns_is_missed_likewise(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing failed, but what it was there for is done by nobody."""

    async def work() -> None:
        return

    async with AsyncExitStack() as stack:
        ping = background(stack, work(), "sweeping")
        for _ in range(3):
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="sweeping has ended"):
            await ping()
    assert "sweeping has ended" in caplog.text


async def test_work_ends_with_the_service_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """It is over, not only told to end, before what was opened earlier is closed."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    async with AsyncExitStack() as stack:
        stack.callback(lambda: ended.append("what it uses"))
        background(stack, work(), "sweeping")
        await asyncio.sleep(0)
    assert ended == ["work", "what it uses"]
    assert not caplog.records
