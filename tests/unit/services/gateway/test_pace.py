"""Rates and budgets."""

import asyncio

import pytest

from services.gateway.pace import ByteBudget, Pace


def test_a_second_of_the_rate_may_pass_at_once():
    """Then each sample waits for its turn."""
    now = 100.0
    pace = Pace(10, clock=lambda: now)
    waits = []
    for _ in range(12):
        waits.append(pace.wait_s())
        pace._due = max(pace._due, now) + 0.1
    assert waits[:10] == pytest.approx([0] * 10, abs=1e-9)
    assert waits[10:] == pytest.approx([0.1, 0.2])
    now = 101.2
    assert pace.wait_s() == 0


async def test_a_slow_rate_lets_the_first_one_pass():
    """Less than one sample a second is still one sample."""
    now = 0.0
    pace = Pace(0.1, clock=lambda: now)
    await asyncio.wait_for(pace.pass_one(), 1)
    assert pace.wait_s() == pytest.approx(10)
    assert Pace(None).wait_s() == 0


async def test_the_budget_is_first_come_first_served():
    """A small one does not overtake a large one that waits."""
    budget, order = ByteBudget(10), []

    async def take(amount):
        await budget.take(amount)
        order.append(amount)

    await take(8)
    large, small = asyncio.create_task(take(9)), asyncio.create_task(take(1))
    await asyncio.sleep(0)
    assert order == [8]
    budget.give_back(8)
    await asyncio.gather(large, small)
    assert order == [8, 9, 1]
    assert budget.free == 0


async def test_more_than_the_whole_budget_counts_as_the_whole():
    """It waits for everybody else, and not for ever."""
    budget = ByteBudget(10)
    assert await budget.take(100) == 10
    budget.give_back(10)
    assert budget.free == 10


@pytest.mark.parametrize("served", [False, True])
async def test_who_stops_waiting_takes_nothing_along(served):
    """Not even when the turn came in the same moment."""
    budget = ByteBudget(10)
    await budget.take(10)
    waiting, behind = asyncio.create_task(budget.take(10)), asyncio.create_task(budget.take(1))
    await asyncio.sleep(0)
    if served:
        budget.give_back(10)
        waiting.cancel()
    else:
        waiting.cancel()
        budget.give_back(10)
    assert await behind == 1
    assert waiting.cancelled()
    assert budget.free == 9
