"""One roll-out at a time, until what it announces is visible."""

import asyncio

import pytest

from headrace.core.events import Stop
from services.controller.turns import Turns


async def test_a_turn_that_announces_something_ends_when_that_is_visible(tmp_path):
    """Whoever comes next would otherwise read a history without it."""
    visible = asyncio.Event()
    seen = []

    async def until_visible(event_id: str) -> None:
        seen.append(event_id)
        await visible.wait()

    turns = Turns(tmp_path, 0.3, until_visible)
    async with turns.turn() as turn:
        turn.announces = "the event"
    with pytest.raises(Stop):
        await enter(turns)
    assert seen == ["the event"]
    visible.set()
    await enter(turns)
    await turns.close()


@pytest.mark.parametrize("error", [Stop("gone"), ValueError("wrong"), asyncio.CancelledError()])
async def test_a_turn_that_fails_ends_at_once(tmp_path, error):
    """It changed nothing that others would have to see."""

    async def never(_: str) -> None:
        raise AssertionError

    turns = Turns(tmp_path, 0.3, never)

    async def fail() -> None:
        async with turns.turn() as turn:
            turn.announces = "the event"
            raise error

    with pytest.raises(type(error)):
        await fail()
    await enter(turns)


async def test_a_repository_that_cannot_be_written_is_waited_for(tmp_path):
    """The volume may come back."""
    with pytest.raises(Stop, match="HEADRACE_CONTROLLER_MODEL_REPOSITORY"):
        await enter(Turns(tmp_path / "gone", 0.3, lambda _: asyncio.sleep(0)))


async def enter(turns: Turns) -> None:
    async with turns.turn():
        pass
