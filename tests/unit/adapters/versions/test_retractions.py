"""Versions without what was retracted: whatever comes first, in however many cuts, and whoever dies on the way."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.core.reasons import Reason
from headrace.core.versions import Counts, RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, RETRACTED, dossier, indexed, place, retraction
from tests.fakes.object_store import FakeObjectStore

LIMITS = ShardLimits(shard_rows_max=8, group_rows_max=4)


class Interrupted(BaseException):
    """Stands for the death of the process."""


class World:
    """A dataset's staging area with running offsets, and its cutter."""

    def __init__(self, objects: FakeObjectStore | None = None) -> None:
        self.objects = objects or FakeObjectStore()
        self.cutter = VersionCutter(self.objects, CutSettings(shards=LIMITS, embeddings_wait_s=0, embeddings_poll_s=0.001))
        self.requests = itertools.count()
        self.offsets = {stream: itertools.count() for stream in (DECIDED, INDEXED, RETRACTED)}

    async def decided(self, *keys, reason=Reason.ACCEPTED, embedded=True):
        rows = [(dossier(*_whole(key), reason), place(next(self.offsets[DECIDED]))) for key in keys]
        await self.cutter.staging.stage_decided(DATASET, DECIDED, rows)
        if embedded and reason is Reason.ACCEPTED:
            vectors = [(indexed(*key), place(next(self.offsets[INDEXED]), INDEXED)) for key in keys]
            await self.cutter.staging.stage_indexed(DATASET, INDEXED, vectors)

    async def retracted(self, *keys):
        rows = [(retraction(*key), place(next(self.offsets[RETRACTED]), RETRACTED)) for key in keys]
        await self.cutter.staging.stage_retracted(DATASET, RETRACTED, rows)

    async def cut(self, **more):
        return certain(await self.cutter.cut(DATASET, f"request-{next(self.requests)}", **more)).version

    async def keys(self, version, kind=RowKind.ACCEPTED):
        batches = [batch async for batch in self.cutter.versions.rows(version.manifest, kind, ["sample_id", "revision"])]
        return sorted((row["sample_id"], row["revision"]) for batch in batches for row in batch.to_pylist())


def _whole(key: tuple[str] | tuple[str, int]) -> tuple[str, int]:
    return (key[0], key[1]) if len(key) > 1 else (key[0], 0)


def closes(counts: Counts) -> bool:
    return counts.decided == counts.accepted + counts.rejected + counts.superseded + counts.retracted + counts.forgotten


async def test_a_retracted_row_is_gone_from_the_next_version_and_stays_in_the_earlier():
    """The row and its embeddings go, other shards are shared, the counts say so, and the old version is as it was."""
    world = World()
    await world.decided(*((f"s{n:02}",) for n in range(16)))
    first = await world.cut()
    await world.retracted(("s03",))
    second = await world.cut()
    expected = [(f"s{n:02}", 0) for n in range(16) if n != 3]
    assert await world.keys(second) == await world.keys(second, RowKind.EMBEDDINGS) == expected
    assert await world.keys(second, RowKind.RETRACTIONS) == [("s03", 0)]
    assert ("s03", 0) in await world.keys(first)
    counts = second.manifest.counts
    assert (counts.accepted, counts.retracted, counts.superseded, counts.embeddings_missing) == (15, 1, 0, 0)
    assert closes(counts)
    assert second.manifest.inputs[RETRACTED] == 0
    old, new = (set(version.manifest.shards_of(RowKind.ACCEPTED)) for version in (first, second))
    assert len(old & new) == 1


async def test_a_dataset_without_retractions_has_no_table_of_them():
    """Manifests look as they did: the same input gives the same version id."""
    world = World()
    await world.decided(("a",))
    assert set((await world.cut()).manifest.shards) == {RowKind.ACCEPTED, RowKind.REJECTED, RowKind.EMBEDDINGS}


async def test_a_retraction_that_overtakes_its_sample_holds():
    """What was retracted on its way never enters a version, however late it comes; a later revision does."""
    world = World()
    await world.decided(("other",))
    await world.retracted(("a", 1), ("unknown", 0))
    await world.cut()
    await world.decided(("a", 0), ("a", 1))
    version = await world.cut()
    assert await world.keys(version) == await world.keys(version, RowKind.EMBEDDINGS) == [("other", 0)]
    assert (version.manifest.counts.superseded, version.manifest.counts.retracted) == (1, 1)
    await world.decided(("a", 2))
    assert await world.keys(await world.cut()) == [("a", 2), ("other", 0)]


async def test_a_cut_does_not_wait_for_embeddings_that_never_come():
    """A sample that was retracted on its way is not indexed; nobody waits for that."""
    world = World()
    world.cutter = VersionCutter(world.objects, CutSettings(shards=LIMITS, embeddings_wait_s=60, embeddings_poll_s=0.01))
    await world.retracted(("a",))
    await world.decided(("a",), embedded=False)
    await world.decided(("b",))
    assert await world.keys(await world.cut()) == [("b", 0)]


async def test_rejections_of_a_retracted_sample_stay():
    """What was turned away stays on the record until its bytes are forgotten."""
    world = World()
    await world.decided(("a",))
    await world.retracted(("a",))
    await world.decided(("a",), reason=Reason.RETRACTED)
    version = await world.cut()
    assert await world.keys(version) == []
    assert await world.keys(version, RowKind.REJECTED) == [("a", 0)]


async def test_a_crash_anywhere_leaves_the_old_or_the_new_version():
    """Killed before any write of a cut with retractions, a repeated cut gives the same version as an undisturbed one."""

    async def prepared():
        world = World()
        await world.decided(*((f"s{n}",) for n in range(12)))
        await world.cut()
        await world.retracted(("s3",), ("s9", 1), ("x",))
        await world.decided(("s9", 1), ("s4", 1), ("x", 0))
        return world

    expected = (await (await prepared()).cut()).id
    for writes in range(20):
        world = await prepared()
        left = itertools.count(writes, -1)

        def dies(_: str, left=left) -> None:
            if next(left) == 0:
                raise Interrupted

        world.objects.before_write = dies
        try:
            await world.cutter.cut(DATASET, "again")
            finished = True
        except Interrupted:
            finished = False
        world.objects.before_write = lambda _: None
        assert certain(await world.cutter.cut(DATASET, "again")).version.id == expected
        if finished:
            return
    pytest.fail("a cut writes more than twenty objects")


KEYS = st.tuples(st.sampled_from("abcd"), st.integers(0, 2))
STEPS = st.lists(st.one_of(st.tuples(st.sampled_from(["accept", "retract"]), KEYS), st.just(("cut", ("", 0)))), max_size=12)


@settings(max_examples=25)
@given(steps=STEPS)
async def test_what_stands_does_not_depend_on_order_or_cuts(steps):
    """A version holds each sample's highest revision accepted, unless a retraction reaches it; the account closes."""
    world = World()
    for what, key in steps:
        if what == "accept":
            await world.decided(key)
        elif what == "retract":
            await world.retracted(key)
        else:
            await world.cut()
    version = await world.cut()
    reach = {name: max((k[1] for w, k in steps if (w, k[0]) == ("retract", name)), default=-1) for name in "abcd"}
    top = {name: max((k[1] for w, k in steps if (w, k[0]) == ("accept", name)), default=-1) for name in "abcd"}
    expected = [(name, top[name]) for name in "abcd" if top[name] > reach[name]]
    assert await world.keys(version) == await world.keys(version, RowKind.EMBEDDINGS) == expected
    assert closes(version.manifest.counts)
    assert min(version.manifest.counts.model_dump().values()) >= 0
