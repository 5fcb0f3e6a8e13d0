"""Forgetting retracted samples: their bytes are nowhere, old versions state a gap, and the rest reads as it did."""

import asyncio
import io
import itertools
import json
from contextlib import asynccontextmanager

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headrace.adapters.exports.export import ExportOptions, export_version
from headrace.adapters.versions.forgetting import CannotForget, Forgetting, Forgotten
from headrace.adapters.versions.gaps import VersionGaps
from headrace.adapters.versions.gc import GarbageCollector, Keeping
from headrace.adapters.versions.store import VersionStore
from headrace.cli.main import app
from headrace.core.exports import ExportFormat
from headrace.core.reasons import Reason
from headrace.core.version_gaps import GAP_PREFIX, sample_digest
from headrace.core.versions import RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET
from tests.fakes.exporting import Exporting
from tests.unit.adapters.versions.test_retractions import Interrupted, World, closes

TABLES = (RowKind.ACCEPTED, RowKind.REJECTED, RowKind.EMBEDDINGS)


async def retracted_world() -> World:
    """Three versions: the sample "s3" accepted, rejected when it came again, and retracted; "s4" came back as a revision."""
    world = World()
    await world.decided(*((f"s{n}",) for n in range(6)))
    await world.cut()
    await world.decided(("s3",), ("t",), reason=Reason.ALREADY_ADMITTED)
    await world.cut()
    await world.retracted(("s3",), ("s4",))
    await world.decided(("s3",), reason=Reason.RETRACTED)
    await world.decided(("s4", 1))
    await world.cut()
    return world


async def forget(world: World, sample_id: str = "s3") -> Forgotten:
    return await Forgetting(VersionStore(world.objects), DATASET, sample_id).forget()


def holding(world: World, sample_id: str, upto: int = 0) -> list[str]:
    """The objects that hold rows of the sample."""
    found = []
    for key, body in world.objects.objects.items():
        if key.endswith(".parquet") and "/retracted" not in key:
            table = pq.read_table(io.BytesIO(body))
            if "reason" in table.column_names and "messages" not in table.column_names:
                continue  # the retractions themselves
            rows = zip(table["sample_id"].to_pylist(), table["revision"].to_pylist(), strict=True)
            if any(name == sample_id and revision <= upto for name, revision in rows):
                found.append(key)
    return found


async def history(world: World):
    store = VersionStore(world.objects)
    return [version async for version in store.log(DATASET)]


async def test_a_forgotten_sample_is_nowhere_and_old_versions_state_the_gap():
    """No shard and no segment holds it; versions keep their ids, lack its rows and say so; all other rows are as they were."""
    world = await retracted_world()
    before = {version.id: [await world.keys(version, kind) for kind in TABLES] for version in await history(world)}
    assert holding(world, "s3")
    done = await forget(world)
    assert (done.versions, done.rows) == (3, 4)
    assert holding(world, "s3") == []
    for version in await history(world):
        left = [[key for key in keys if key[0] != "s3"] for keys in before[version.id]]
        assert [await world.keys(version, kind) for kind in TABLES] == left
        lacking = sum(len(keys) for keys in before[version.id]) - sum(len(keys) for keys in left)
        assert sum(version.manifest.forgotten.values()) == lacking
    gaps = [body.decode() for key, body in world.objects.objects.items() if key.startswith(GAP_PREFIX)]
    assert all(sample_digest("s3") in gap for gap in gaps)
    assert await forget(world) == Forgotten()


async def test_versions_are_counted_however_long_forgetting_takes():
    """A store that is slow enough for gaps to be seen in later versions while they are made: the same numbers."""
    counted = []
    for clock in (itertools.repeat(0.0), itertools.count(0.0, 10.0)):
        world = await retracted_world()
        await world.decided(("u",))
        await world.cut()
        versions = VersionStore(world.objects)
        versions.gaps = VersionGaps(world.objects, clock=clock.__next__)
        counted.append(await Forgetting(versions, DATASET, "s3").forget())
    assert counted[0] == counted[1]
    assert counted[0].versions == 4


async def test_an_export_says_that_rows_were_forgotten(tmp_path):
    """The card of a version with a gap counts it; that of a version without one does not speak of it."""
    world = await retracted_world()
    exporting = Exporting(world.objects)
    first = (await history(world))[-1]
    for name in ("before", "after"):
        version = await exporting.store.version(DATASET, "1")
        assert version.id == first.id
        await export_version(exporting.store, version, tmp_path / name, ExportOptions(ExportFormat.JSONL))
        await forget(world)
    assert "forgotten" not in (tmp_path / "before" / "README.md").read_text()
    assert "2 rows of this version were forgotten" in (tmp_path / "after" / "README.md").read_text()


def test_verify_states_the_gap_and_finds_no_damage(monkeypatch, tmp_path):
    """What was removed on purpose is told by kind, for people and for scripts, and is no reason to fail."""
    world = asyncio.run(retracted_world())
    asyncio.run(forget(world))

    @asynccontextmanager
    async def open_versions():
        yield VersionStore(world.objects)

    monkeypatch.setattr("headrace.cli.dataset_history.open_versions", open_versions)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "no-stack"))
    done = CliRunner().invoke(app, ["dataset", "verify", DATASET, "--version", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert (json.loads(done.output)["damaged"], json.loads(done.output)["forgotten_rows"]) == (
        [],
        {"accepted": 1, "embeddings": 1},
    )
    told = CliRunner().invoke(app, ["dataset", "verify", DATASET, "--version", "1"]).output
    assert "stated gap: 1 accepted rows of this version were forgotten" in told


async def test_the_next_version_goes_on_from_what_is_left():
    """Counts close, and what was forgotten is not missed; forgetting a second sample of the same shards works as well."""
    world = await retracted_world()
    await forget(world)
    assert (await forget(world, "s4")).rows == 2
    assert holding(world, "s4") == []
    await world.decided(("u",))
    version = await world.cut()
    assert await world.keys(version) == [("s0", 0), ("s1", 0), ("s2", 0), ("s4", 1), ("s5", 0), ("u", 0)]
    assert await world.keys(version, RowKind.REJECTED) == [("t", 0)]
    assert (version.manifest.counts.forgotten, version.manifest.counts.retracted) == (2, 1)
    assert closes(version.manifest.counts)
    assert [len(await world.keys(each)) for each in await history(world)] == [6, 5, 4, 4]


async def test_a_sample_that_still_belongs_to_the_dataset_is_not_forgotten():
    """First retract, then cut, then forget; and nothing of it may wait for the next version."""
    world = World()
    with pytest.raises(CannotForget, match="retract"):
        await forget(world)
    await world.decided(("s3",), ("x",))
    await world.cut()
    await world.retracted(("s3",))
    with pytest.raises(CannotForget, match="retract"):
        await forget(world)
    await world.cut()
    await world.decided(("s3",), reason=Reason.RETRACTED)
    with pytest.raises(CannotForget, match="cut maths"):
        await forget(world)
    await world.cut()
    assert (await forget(world)).rows == 3


async def test_killed_anywhere_forgetting_can_be_repeated():
    """After a death before any write old versions are still readable, and the next attempt leaves nothing behind."""
    for writes in range(40):
        world = await retracted_world()
        left = itertools.count(writes, -1)

        def dies(_: str, left=left) -> None:
            if next(left) == 0:
                raise Interrupted

        world.objects.before_write = dies
        try:
            await forget(world)
            finished = True
        except Interrupted:
            finished = False
        world.objects.before_write = lambda _: None
        for version in await history(world):
            assert len(await world.keys(version)) >= 4
        await forget(world)
        assert holding(world, "s3") == []
        if finished:
            return
    pytest.fail("forgetting writes more than forty objects")


async def test_a_cut_that_meets_a_new_gap_reads_its_parent_again():
    """Bytes that are forgotten between a cut's first look and its work are not missed."""
    world = await retracted_world()
    await world.decided(*((f"v{n}",) for n in range(3)), reason=Reason.TRUNCATED)
    since = world.cutter.staging.since
    calls = itertools.count()

    async def late(*arguments):
        staged = await since(*arguments)
        if next(calls) == 0:
            await forget(world)
            for shard in certain(await VersionStore(world.objects).latest(DATASET)).manifest.shards_of(RowKind.REJECTED):
                assert shard.key in world.objects.objects
        return staged

    world.cutter.staging.since = late  # type: ignore[method-assign]
    version = await world.cut()
    assert closes(version.manifest.counts)
    assert [len(await world.keys(each, RowKind.REJECTED)) for each in await history(world)] == [4, 1, 1, 0]


async def test_collection_keeps_what_stands_in():
    """What stands in for a shard is referred to by its gap record; what a cut left behind goes with its age."""
    world = await retracted_world()
    await forget(world)
    world.objects.clock = lambda: 1e9
    gone = [each.entry.key async for each in GarbageCollector(world.objects, Keeping(60)).delete()]
    assert not [key for key in gone if key.startswith(("shards/", "manifests/"))]
    assert [len(await world.keys(each)) for each in await history(world)] == [5, 5, 5]
