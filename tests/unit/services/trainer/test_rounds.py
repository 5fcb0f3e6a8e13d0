"""Following the accepted stream: rounds come when they are due, and a restart loses and repeats nothing."""

import asyncio
from contextlib import aclosing

import pytest

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.wire.events import encode
from headrace.client import Gathered, Retracted
from headrace.client.accepted import accepted_from
from headrace.core.positions import Position, position_from
from headrace.core.reasons import Reason
from services.trainer.gathering import gather_version, position_in, round_done, rounds
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.object_store import FakeObjectStore


class FakeSubscription:
    """Hands out these items from where a position says, then ends or waits; a version's rows come before offset 0."""

    def __init__(self, items, at="", *, rows=0, ends=False):
        self._items = items
        self._rows = rows
        self._taken = position_from(at).offsets.get(0, 0) + rows if at else 0
        self._ends = ends
        self.more = asyncio.Event()

    @property
    def position(self):
        if self._taken == 0:
            return None
        records = {0: self._taken - self._rows} if self._taken > self._rows else {}
        return Position(
            DATASET, version="a" * 64 if self._rows else "", row=min(self._taken, self._rows), offsets=records
        ).token()

    async def __anext__(self):
        while self._taken == len(self._items):
            if self._ends:
                raise StopAsyncIteration
            self.more.clear()
            await self.more.wait()
        self._taken += 1
        return self._items[self._taken - 1]


def accepted(sample_id, revision=0):
    return accepted_from(encode(dossier(sample_id, revision)))


@pytest.fixture
def table(tmp_path):
    with Gathered(tmp_path / "table.sqlite", "") as gathered:
        yield gathered


def ids(gathered):
    return sorted(sample_id for sample_id, _, _ in gathered.trained(0))


async def taken(gathered, subscription, count, *, killed=False, **due):
    """What is gathered at each of the next rounds, and the positions; killed, it dies before the last one is done."""
    seen = []
    async with aclosing(rounds(gathered, subscription, **{"every_rows": 2, "every_s": 0} | due)) as positions:
        async for position in positions:
            seen.append((ids(gathered), dict(position_from(position).offsets)))
            if not killed:
                round_done(gathered)
            if len(seen) == count:
                break
    return seen


async def test_a_round_comes_after_so_many_acceptances(table):
    """Retractions do not count, and what they take back is gone; the last part of a stream that ends is a round too."""
    items = [accepted("a"), Retracted("a", 0, "licence"), accepted("b"), accepted("c"), accepted("d"), accepted("e")]
    seen = await taken(table, FakeSubscription(items, ends=True), 9)
    assert seen == [(["b"], {0: 3}), (["b", "c", "d"], {0: 5}), (["b", "c", "d", "e"], {0: 6})]


async def test_a_stream_without_news_has_no_round(table):
    """Nothing new, no training."""
    assert await taken(table, FakeSubscription([], ends=True), 1, every_s=0.01) == []


async def test_a_round_comes_after_a_while(table):
    """One acceptance is enough once the time has passed; none is not."""
    subscription = FakeSubscription([accepted("a")])
    assert await taken(table, subscription, 1, every_rows=100, every_s=0.05) == [(["a"], {0: 1})]


async def test_no_round_within_a_version(table):
    """A checkpoint can name a version's rows only all together, so it waits for the first record behind them."""
    items = [accepted(name) for name in "abcde"]
    assert await taken(table, FakeSubscription(items, rows=4), 1) == [(list("abcde"), {0: 1})]


async def test_a_killed_follower_makes_the_round_it_owes(tmp_path):
    """Whoever dies while a round is trained finds it again, with the same rows, and then what came after it, once."""
    items = [accepted(name) for name in "abcd"]
    path = tmp_path / "table.sqlite"
    with Gathered(path, "") as gathered:
        assert await taken(gathered, FakeSubscription(items), 1, killed=True) == [(["a", "b"], {0: 2})]
    with Gathered(path, "") as gathered:
        again = FakeSubscription(items, position_in(gathered), ends=True)
        assert await taken(gathered, again, 9) == [(["a", "b"], {0: 2}), (["a", "b", "c", "d"], {0: 4})]
    with Gathered(path, "") as gathered:
        assert await taken(gathered, FakeSubscription(items, position_in(gathered), ends=True), 9) == []


async def test_what_came_is_kept_in_a_pause(tmp_path):
    """A stream that pauses before the round is due leaves its rows and position on disk."""
    path = tmp_path / "table.sqlite"
    with Gathered(path, "") as gathered:
        waiting = asyncio.create_task(taken(gathered, FakeSubscription([accepted("a")]), 1))
        async with asyncio.timeout(30):
            while not position_in(gathered):  # noqa: ASYNC110 - the table has no event
                await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    with Gathered(path, "") as gathered:
        assert (ids(gathered), position_from(position_in(gathered)).offsets) == (["a"], {0: 1})
        more = FakeSubscription([accepted("a"), accepted("b")], position_in(gathered))
        assert await taken(gathered, more, 1) == [(["a", "b"], {0: 2})]


async def test_a_version_is_gathered_whole(table):
    """All accepted rows, in the form that the model reads; a second time nothing is read."""
    objects = FakeObjectStore()
    cutter = VersionCutter(objects, CutSettings(embeddings_wait_s=0))
    events = [("s1", 0, Reason.ACCEPTED), ("s2", 1, Reason.ACCEPTED), ("s3", 0, Reason.TOO_DENSE)]
    await cutter.staging.stage_decided(DATASET, DECIDED, [(dossier(*event), place(n)) for n, event in enumerate(events)])
    version = certain(await cutter.cut(DATASET, "request")).version
    await gather_version(table, VersionStore(objects), version)
    assert sorted((sample_id, revision) for sample_id, revision, _ in table.trained(0)) == [("s1", 0), ("s2", 1)]
    assert '"role": "assistant"' in next(iter(table.trained(0)))[2]
    objects.down = True
    await gather_version(table, VersionStore(objects), version)
