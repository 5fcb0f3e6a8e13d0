"""Places within a version from which samples were forgotten: nobody misses a row, and what was read stays what was read."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.adapters.versions.forgetting import Forgetting
from headrace.adapters.versions.store import VersionStore
from headrace.client import SubscribeLimits
from headrace.client.bridge import Held
from headrace.client.read_again import ReadVersion
from headrace.client.version_rows import VersionRows
from headrace.core.checkpoints import TrainingData, VersionPart
from headrace.core.version_gaps import GAP_PREFIX
from headrace.core.versions import Version
from tests.fakes.decisions import DATASET
from tests.unit.adapters.versions.test_retractions import World


@dataclass(slots=True)
class Reader:
    """One share of a version; `place` is what its token holds."""

    share: tuple[int, int] = (0, 1)
    place: tuple[int, int] = (0, 0)
    read: list[str] = field(default_factory=list)

    async def take(self, world: World, version: str, rows: int = 1_000) -> list[str]:
        """The next rows behind the place, so many at most."""
        versions, taken = VersionStore(world.objects), list[str]()
        found = await versions.version(DATASET, version)
        with Held() as held:
            passing = await VersionRows.of(versions, found, held)
            async for chunk in passing.chunks(self.share, *self.place, SubscribeLimits()):
                for part in chunk.parts:
                    for item, (slot, row) in zip(part.items, part.places, strict=True):
                        if len(taken) < rows:
                            taken.append(item.sample_id)
                            self.place = (~slot, row)
        self.read += taken
        return taken


async def cut_of(*shards: Sequence[str]) -> tuple[World, Version]:
    """A version with a shard for each of these groups of samples, which are in order."""
    world = World()
    for names in shards:
        await world.decided(*((name,) for name in names), embedded=False)
        version = await world.cut()
    return world, version


async def forget(world: World, *names: str) -> None:
    await world.retracted(*((name,) for name in names))
    await world.cut()
    for name in names:
        await Forgetting(VersionStore(world.objects), DATASET, name).forget()


async def seen(world: World, version: str, readers: Sequence[Reader]) -> tuple[list[str], list[str]]:
    """What the readers' places say was read, and what is told of gaps."""
    names, told = list[str](), list[str]()
    parts = tuple(VersionPart(reader.share, until=reader.place) for reader in readers)

    def accept(sample_id: str, revision: int, prompt_hash: str, *, read: bool = True) -> None:
        assert (revision, read, bool(prompt_hash)) == (0, True, True)
        names.append(sample_id)

    with ReadVersion() as again:
        await again.read(world.objects, TrainingData(DATASET, version, version_parts=parts), accept, told.append, keys=False)
    return sorted(names), told


async def test_a_place_within_a_shard_stays_behind_the_same_row():
    """One that was read goes: the reader goes on with the one it had not read, and the others were read."""
    world, version = await cut_of([f"s{number}" for number in range(6)])
    reader = Reader()
    assert await reader.take(world, version.id, 3) == ["s0", "s1", "s2"]
    await forget(world, "s1")
    assert await seen(world, version.id, [reader]) == (
        ["s0", "s2"],
        [f"version {version.id[:12]}: 1 accepted rows were forgotten since, and are not listed"],
    )
    assert await reader.take(world, version.id) == ["s3", "s4", "s5"]


async def test_a_place_that_is_told_after_forgetting_stays_where_it_is():
    """Rows go before and behind it, some before it is told and some after."""
    world, version = await cut_of([f"s{number}" for number in range(8)])
    await forget(world, "s1", "s4")
    reader = Reader()
    assert await reader.take(world, version.id, 3) == ["s0", "s2", "s3"]
    assert reader.place == (0, 4)
    await forget(world, "s0", "s6")
    assert (await seen(world, version.id, [reader]))[0] == ["s2", "s3"]
    assert await reader.take(world, version.id) == ["s5", "s7"]


async def test_a_shard_of_which_nothing_is_left_keeps_its_number():
    """So that shards are divided among the ranks as before: what one was to read is read by it."""
    world, version = await cut_of(["t0"], ["t1"], ["t2"], ["t3"])
    ranks = [Reader((index, 2)) for index in range(2)]
    assert [await rank.take(world, version.id, 1) for rank in ranks] == [["t0"], ["t1"]]
    await forget(world, "t0")
    assert (await seen(world, version.id, ranks))[0] == ["t1"]
    assert [await rank.take(world, version.id) for rank in ranks] == [["t2"], ["t3"]]


async def test_what_an_earlier_release_forgot_costs_no_row():
    """Its record does not say which row went: one may come again, none is missed, and of what was read this is told."""
    world, version = await cut_of([f"s{number}" for number in range(6)])
    before = [Reader(place=(0, place)) for place in range(7)]
    await forget(world, "s3")
    for key, body in world.objects.objects.items():
        if key.startswith(GAP_PREFIX):
            world.objects.objects[key] = json.dumps({**json.loads(body), "first_row": None}).encode()
    left = ["s0", "s1", "s2", "s4", "s5"]
    for reader in before:
        assert "off by as many rows" in (await seen(world, version.id, [reader]))[1][0]
        behind = [name for name in left if name >= f"s{reader.place[0] + reader.place[1]}"]
        rest = await reader.take(world, version.id)
        assert rest == left[-len(rest) :] if rest else not behind
        assert len(behind) <= len(rest) <= len(behind) + 1
    now = Reader()
    assert await now.take(world, version.id, 2) + await now.take(world, version.id) == left


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_however_it_is_divided_no_row_is_missed_or_comes_twice(data):
    """Whatever is forgotten between whatever steps of any number of readers: together they read all others once."""
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    shards = [[f"{number}-{row}" for row in range(rows)] for number, rows in enumerate(sizes)]
    names = [name for shard in shards for name in shard]
    readers = [Reader((index, of)) for of in [data.draw(st.integers(1, 6))] for index in range(of)]
    gone = data.draw(st.permutations(names))

    async def run() -> None:
        world, version = await cut_of(*shards)
        forgotten = set[str]()
        for _ in range(2):
            for reader in readers:
                assert not forgotten & {*await reader.take(world, version.id, data.draw(st.integers(0, 3)))}
            going = {gone.pop() for _ in range(data.draw(st.integers(0, len(gone) // 2)))}
            if going:
                await forget(world, *sorted(going))
            forgotten |= going
            had = sorted(name for reader in readers for name in reader.read if name not in forgotten)
            begun = [reader for reader in readers if reader.read]
            assert not begun or (await seen(world, version.id, begun))[0] == had
        for reader in readers:
            await reader.take(world, version.id)
        read = [name for reader in readers for name in reader.read]
        assert len(set(read)) == len(read)
        assert {*names} - forgotten <= {*read}

    asyncio.run(run())
