"""Collecting garbage: what nothing needs goes after its grace period; what something needs stays, whatever happens meanwhile."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from headrace.adapters.versions.gc import Elsewhere, Garbage, GarbageCollector, Keeping, ended_rounds
from headrace.adapters.versions.store import PrunedVersion, VersionStore
from headrace.adapters.versions.sweeps import SWEEP_KEY, SWEEP_S_MAX, SweepRunning, SweepWatch, sweeping
from headrace.adapters.versions.tags import create_tag
from headrace.core.events import Stop
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.versions import DamagedVersion, RowKind, Version
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.round_parts import Parts, Rounds, started
from tests.unit.adapters.versions.test_retractions import Interrupted, World

HOUR = 3_600.0
DAY = 24 * HOUR


class HesitantStore(FakeObjectStore):
    """Gives way before every operation, for as many seconds as `pause` says."""

    pause: Callable[[], float] | None = None

    async def hesitate(self) -> None:
        if self.pause is not None:
            await asyncio.sleep(self.pause())

    async def get(self, key, *, bytes_max):
        await self.hesitate()
        return await super().get(key, bytes_max=bytes_max)

    async def put(self, key, body):
        await self.hesitate()
        await super().put(key, body)

    async def put_file(self, key, path):
        await self.hesitate()
        await super().put_file(key, path)

    async def put_if_absent(self, key, body):
        await self.hesitate()
        return await super().put_if_absent(key, body)

    async def replace_if_match(self, key, body, etag):
        await self.hesitate()
        return await super().replace_if_match(key, body, etag)

    async def stat(self, key):
        await self.hesitate()
        return await super().stat(key)

    async def delete(self, key):
        await self.hesitate()
        await super().delete(key)


class Kept(World):
    """A world with a clock, and what is needed to judge a collection."""

    def __init__(self) -> None:
        self.store = HesitantStore()
        super().__init__(self.store)
        self.now = 1_000_000.0
        self.store.clock = lambda: self.now

    async def crashed_cut(self) -> None:
        """Leaves shards and a manifest behind that no reference leads to."""

        def dies(key: str) -> None:
            if key.startswith("refs/"):
                raise Interrupted

        self.store.before_write = dies
        with pytest.raises(Interrupted):
            await self.cutter.cut(DATASET, "crashed")
        self.store.before_write = lambda _: None

    async def collected(self, grace_s=DAY, **more):
        found = GarbageCollector(self.store, Keeping(grace_s, **more)).delete()
        return sorted([each.entry.key async for each in found])

    async def readable(self) -> list[int]:
        """Reads every row of every version that the history leads to; returns how many are accepted in each."""
        versions = VersionStore(self.store)
        counts = []
        async for version in versions.log(DATASET):
            for kind in RowKind:
                rows = sum([batch.num_rows async for batch in versions.rows(version.manifest, kind)])
                assert rows == sum(shard.rows for shard in version.manifest.shards_of(kind))
            counts.append(version.manifest.counts.accepted)
        return counts


async def test_only_what_nothing_leads_to_goes_and_only_when_it_is_old():
    """Leftovers of a crashed cut and segments that an old version took go after the grace period; all versions stay."""
    world = Kept()
    await world.decided(*((f"s{n:02}",) for n in range(9)))
    await world.cut()
    await world.decided(("t",))
    await world.crashed_cut()
    left = {key for key in world.store.objects if key.startswith(("manifests/", "shards/"))}
    latest = certain(await world.cutter.versions.latest(DATASET))
    needed = {shard.key for shards in latest.manifest.shards.values() for shard in shards}
    assert await world.collected() == []
    await world.decided(("u",))
    await world.cut()
    world.now += 2 * DAY
    gone = await world.collected()
    assert [key for key in gone if key.startswith(("manifests/", "shards/"))]
    assert set(gone) & left
    assert not set(gone) & needed
    assert [key for key in gone if key.startswith("staging/")]
    assert await world.readable() == [11, 9]
    assert SWEEP_KEY not in world.store.objects
    await world.decided(("v",))
    await world.cut()
    assert await world.readable() == [12, 11, 9]


async def test_segments_stay_until_the_version_that_took_them_is_old():
    """Whoever began to cut before that version was there may still read them."""
    world = Kept()
    await world.decided(("a",))
    world.now += 2 * DAY
    await world.cut()
    assert await world.collected() == []
    world.now += 2 * DAY
    await world.decided(("b",))
    assert len(await world.collected()) == 2
    assert await world.readable() == [1]
    await world.cut()
    assert await world.readable() == [2, 1]


async def test_a_dry_run_lists_and_deletes_nothing():
    """What is found is what a deletion would delete."""
    world = Kept()
    await world.decided(("a",))
    await world.crashed_cut()
    world.now += 2 * DAY
    before = dict(world.store.objects)
    found = [each async for each in GarbageCollector(world.store, Keeping(DAY)).find()]
    assert world.store.objects == before
    assert {each.what for each in found} == {Garbage.MANIFEST, Garbage.SHARD}
    assert sorted(each.entry.key for each in found) == await world.collected()


async def test_pruning_keeps_the_latest_and_the_tagged():
    """Pruned versions go and are called so; the history ends where it was cut; a tagged version stays whole."""
    world = Kept()
    versions = []
    for name in "abcdef":
        await world.decided((name,))
        versions.append(await world.cut())
        world.now += DAY
    await create_tag(world.store, "paper", versions[1])
    world.now += 10 * DAY
    assert len([key for key in await world.collected(last=2) if key.startswith("manifests/")]) == 3
    store = VersionStore(world.store)
    assert await world.readable() == [6, 5]
    assert await world.keys(await store.version(DATASET, "paper")) == [("a", 0), ("b", 0)]
    with pytest.raises(PrunedVersion, match="pruned"):
        await store.manifest_at(versions[2].manifest_key, versions[2].id)
    await world.decided(("g",))
    await world.cut()
    assert await world.readable() == [7, 6, 5]


async def test_pruning_by_age_keeps_the_young():
    """Versions younger than asked stay, the latest always."""
    world = Kept()
    for name in "abcd":
        await world.decided((name,))
        await world.cut()
        world.now += 10 * DAY
    await world.collected(for_s=25 * DAY)
    assert await world.readable() == [4, 3]
    world.now += 100 * DAY
    await world.collected(for_s=25 * DAY)
    assert await world.readable() == [4]


@pytest.mark.parametrize("body", [b"nonsense", b'{"format": 7}', b'{"dataset": "maths", "version": "x", "sequence": 1}'])
async def test_nothing_is_deleted_while_a_reference_is_not_understood(body):
    """Who knows what it needs."""
    world = Kept()
    await world.decided(("a",))
    await world.crashed_cut()
    world.now += 2 * DAY
    await world.store.put(f"refs/{DATASET}/tags/odd.json", body)
    before = set(world.store.objects)
    with pytest.raises(DamagedVersion, match="odd"):
        await world.collected()
    assert {key for key in world.store.objects if not key.startswith("gc/")} == before


async def test_what_others_keep_in_the_bucket_is_left_alone():
    """Only objects of our own kinds are ever deleted; claims only where it is known which are in use."""
    world = Kept()
    strange = ["checkpoints/a", "shards/readme.txt", f"shards/{'z' * 64}.parquet", "staging/maths/notes", "other"]
    used, unused = "ab" * 32, "cd" * 32
    for key in (*strange, f"claims/sha256/ab/{used}", f"claims/sha256/cd/{unused}"):
        await world.store.put(key, b"x")
    world.now += 2 * DAY
    assert await world.collected() == []
    collector = GarbageCollector(world.store, Keeping(DAY))
    assert [each.entry.key async for each in collector.delete(Elsewhere({bytes.fromhex(used)}))] == [f"claims/sha256/cd/{unused}"]


def a_round(world: Kept, round_id: str, phase: Phase, *, days_ago: float = 0) -> RoundState:
    """A round of the dataset that came to this phase so many days ago."""
    begun = certain(Rounds().run(started(), Parts())).begun
    since = world.now - days_ago * DAY
    return RoundState(DATASET, round_id, 1, phase, begun, transition=3, phase_since=since, updated_at=since)


async def test_what_rounds_left_behind_goes_long_after_their_end():
    """Of one that runs or is frozen, of one nobody knows and of a young one nothing goes; of an old one all but its report."""
    world = Kept()
    names = ["round/signals.parquet", "round/measured/measured/00001/1-1-1.parquet", "evaluation/closed.json", "report.html"]
    rounds = ("old", "young", "runs", "frozen", "unknown")
    for round_id in rounds:
        for name in names:
            await world.store.put(f"rounds/{DATASET}/{round_id}/{name}", b"x")
    world.now += 40 * DAY
    ended = ended_rounds([
        a_round(world, "old", Phase.STOPPED, days_ago=31), a_round(world, "young", Phase.KEPT, days_ago=29),
        a_round(world, "runs", Phase.TRAINING, days_ago=35), a_round(world, "frozen", Phase.FROZEN, days_ago=35),
    ])  # fmt: skip
    expected = [f"rounds/{DATASET}/old/{name}" for name in sorted(names) if name != "report.html"]
    collector = GarbageCollector(world.store, Keeping(DAY))
    assert [each async for each in collector.find()] == []
    found = [each async for each in collector.find(Elsewhere(rounds=ended))]
    assert [(each.what, each.entry.key) for each in found] == [(Garbage.ROUND, key) for key in sorted(expected)]
    assert len(world.store.objects) == len(rounds) * len(names)
    assert sorted([each.entry.key async for each in collector.delete(Elsewhere(rounds=ended))]) == sorted(expected)
    left = Keeping(DAY, rounds_for_s=28 * DAY)
    gone = [each.entry.key async for each in GarbageCollector(world.store, left).delete(Elsewhere(rounds=ended))]
    assert {key.split("/")[2] for key in gone} == {"young"}


async def test_two_sweeps_do_not_run_at_once():
    """The second says so; one that was killed long ago stands in nobody's way."""
    world = Kept()
    async with sweeping(world.store):
        with pytest.raises(SweepRunning):
            await world.collected()
    await world.store.put(SWEEP_KEY, b"killed")
    world.now += 2 * SWEEP_S_MAX + 1
    assert await world.collected() == []


async def test_an_object_that_is_needed_again_while_it_is_deleted_is_written_again():
    """A crashed cut is repeated after days, between a sweep's last look at its leftovers and their deletion: it comes back."""
    world = Kept()
    await world.decided(*((f"s{n}",) for n in range(9)))
    await world.crashed_cut()
    world.now += 2 * DAY
    delete, refused = world.store.delete, []

    async def late(key):
        if key.startswith(("shards/", "manifests/")):
            try:
                await world.cutter.cut(DATASET, "again")
            except Stop as stop:
                refused.append(stop)
        await delete(key)

    world.store.delete = late  # type: ignore[method-assign]
    assert await world.collected()
    world.store.delete = delete  # type: ignore[method-assign]
    assert refused
    await world.cutter.cut(DATASET, "again")
    assert await world.readable() == [9]


async def test_a_sweep_that_has_ended_meanwhile_is_noticed():
    """Its last look at a leftover may lie before the leftover was written again, and its deletion after that."""
    world = Kept()
    await world.decided(*((f"s{n}",) for n in range(9)))
    await world.crashed_cut()
    world.now += 2 * DAY
    delete, put_file = world.store.delete, world.store.put_file
    written, swept = asyncio.Event(), asyncio.Event()
    cuts: list[asyncio.Task[Any]] = []

    async def put_and_wait(key, path):
        await put_file(key, path)
        written.set()
        await swept.wait()

    async def late(key):
        if key.startswith("shards/") and not cuts:
            cuts.append(asyncio.create_task(world.cutter.cut(DATASET, "again")))
            await written.wait()
        await delete(key)

    world.store.delete, world.store.put_file = late, put_and_wait  # type: ignore[method-assign]
    assert await world.collected()
    swept.set()
    with pytest.raises(Stop):
        await cuts[0]
    await world.cutter.cut(DATASET, "again")
    assert await world.readable() == [9]


async def test_a_watch_knows_of_a_sweep_that_came_and_went():
    """Its sign is gone by then; one that ended before the watch began is no matter."""
    store = Kept().store
    async with sweeping(store):
        pass
    watch = await SweepWatch.begun(store)
    await watch.require_none()
    async with sweeping(store):
        pass
    with pytest.raises(Stop):
        await watch.require_none()


async def test_a_tag_is_not_given_under_the_hands_of_a_sweep():
    """It could name a version that is about to be pruned."""
    world = Kept()
    await world.decided(("a",))
    version = await world.cut()
    async with sweeping(world.store):
        with pytest.raises(Stop):
            await create_tag(world.store, "paper", version)
    await create_tag(world.store, "paper", version)


class Busy(Kept):
    """A world in which much happens at once; `choose` makes every choice."""

    def __init__(self, choose: random.Random) -> None:
        super().__init__()
        self.choose = choose
        self.names = (f"s{n:03}" for n in itertools.count())
        self.tagged: list[str] = []

    async def long_ago(self) -> None:
        """Versions, and what crashed cuts left behind."""
        for _ in range(self.choose.randint(1, 3)):
            await self.decided(*((next(self.names),) for _ in range(self.choose.randint(1, 9))))
            if self.choose.random() < 0.6:
                await self.crashed_cut()
            else:
                await self.cut()
            self.now += self.choose.choice([0, HOUR, 3 * DAY])

    async def cutting(self) -> None:
        for number in range(3):
            version = await self._cut_at_last(f"cut-{number}")
            if self.choose.random() < 0.4:
                with contextlib.suppress(Stop):
                    await create_tag(self.store, f"tag-{number}", version)
                    self.tagged.append(f"tag-{number}")
            await self.decided(*((next(self.names),) for _ in range(self.choose.randint(1, 4))))
            self.now += self.choose.choice([0, HOUR])

    async def _cut_at_last(self, cut_by: str) -> Version:
        while True:
            try:
                return certain(await self.cutter.cut(DATASET, cut_by)).version
            except Stop:
                await asyncio.sleep(0.005)

    async def collecting(self) -> None:
        for _ in range(2):
            await self.collected(last=self.choose.choice([None, 1, 2]))


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_at_once_versions_stay_readable(seed):
    """Cuts, crashed cuts from long ago, tags, prunings and collections in any interleaving: no version loses anything."""
    world = Busy(random.Random(seed))
    await world.long_ago()
    world.store.pause = lambda: world.choose.choice([0, 0, 0, 0.002, 0.01])
    await asyncio.gather(world.cutting(), world.collecting())
    world.store.pause = None
    assert await world.readable()
    for tag in world.tagged:
        version = await VersionStore(world.store).version(DATASET, tag)
        assert len(await world.keys(version)) == version.manifest.counts.accepted
    await world.cut()
    assert (await world.readable())[0] == int(next(world.names)[1:])
