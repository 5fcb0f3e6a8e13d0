"""Reading versions, whole and damaged: every error names its object, and what was good stays readable."""

import pytest

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import NoSuchVersion, VersionStore
from headrace.core.events import Stop
from headrace.core.reasons import Reason
from headrace.core.versions import DamagedVersion, Reference, RowKind, reference_key, stored_bytes
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.object_store import FakeObjectStore

LIMITS = ShardLimits(shard_rows_max=8, group_rows_max=4)


class World:
    """Two versions of a dataset: the first with two shards, the second with one more."""

    def __init__(self):
        self.objects = FakeObjectStore()
        self.cutter = VersionCutter(self.objects, CutSettings(shards=LIMITS, embeddings_wait_s=0))

    @classmethod
    async def made(cls) -> "World":
        world = cls()
        await world.cut([(f"s{n:02}", 0, Reason.ACCEPTED) for n in range(16)], 0)
        await world.cut([("t", 0, Reason.ACCEPTED), ("u", 0, Reason.TOO_DENSE)], 16)
        return world

    async def cut(self, events, first):
        rows = [(dossier(*event), place(first + n)) for n, event in enumerate(events)]
        await self.cutter.staging.stage_decided(DATASET, DECIDED, rows)
        return certain(await self.cutter.cut(DATASET, f"request-{first}")).version

    @property
    def store(self) -> VersionStore:
        return VersionStore(self.objects)

    async def read(self, name="", kind=RowKind.ACCEPTED):
        version = await self.store.version(DATASET, name)
        return [row async for batch in self.store.rows(version.manifest, kind) for row in batch.to_pylist()]


async def test_versions_are_called_by_number_id_or_its_beginning():
    """Every way of naming a version finds it, and what names none says so."""
    world = await World.made()
    latest = certain(await world.store.latest(DATASET))
    assert [version.manifest.sequence async for version in world.store.log(DATASET)] == [2, 1]
    for name in ("", "2", latest.id, latest.id[:8]):
        assert (await world.store.version(DATASET, name)).id == latest.id
    for name in ("3", "abc", "f" * 64):
        with pytest.raises(NoSuchVersion, match=name[:3]):
            await world.store.version(DATASET, name)
    with pytest.raises(NoSuchVersion, match="no version yet"):
        await world.store.version("other")
    assert await world.store.datasets() == (DATASET,)
    first = await world.store.version(DATASET, "1")
    assert await world.store.manifest(DATASET, certain(latest.manifest.parent)) == first.manifest


async def test_one_sample_is_found_without_reading_everything(monkeypatch):
    """Shards whose ids cannot match are not opened."""
    world = await World.made()
    manifest = certain(await world.store.latest(DATASET)).manifest
    opened, open_object = [], world.objects.open

    def opening(key):
        opened.append(key)
        return open_object(key)

    monkeypatch.setattr(world.objects, "open", opening)
    [table] = await world.store.find(manifest, RowKind.ACCEPTED, "s03")
    assert table["sample_id"].to_pylist() == ["s03"]
    assert len(opened) == 1
    assert await world.store.find(manifest, RowKind.ACCEPTED, "nobody") == ()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "longer", "missing", "swapped"])
async def test_a_damaged_shard_is_named_and_the_others_stay_readable(damage):
    """Whatever happened to a shard, reading it says which it was; earlier versions without it are read as ever."""
    world = await World.made()
    latest = certain(await world.store.latest(DATASET))
    [shard] = [shard for shard in latest.manifest.shards_of(RowKind.ACCEPTED) if shard.min_id == "t"]
    body = world.objects.objects[shard.key]
    other = next(key for key in world.objects.objects if key.startswith("shards/") and key != shard.key)
    damaged = {
        "truncated": body[:-100], "flipped": body[:200] + bytes([body[200] ^ 1]) + body[201:], "longer": body + b"x",
        "swapped": world.objects.objects[other],
    }  # fmt: skip
    if damage == "missing":
        del world.objects.objects[shard.key]
    else:
        world.objects.objects[shard.key] = damaged[damage]
    with pytest.raises(DamagedVersion, match=shard.key):
        await world.read()
    assert len(await world.read("1")) == 16
    assert len(await world.read(kind=RowKind.REJECTED)) == 1


@pytest.mark.parametrize("damage", ["truncated", "missing", "swapped"])
async def test_looking_for_a_sample_in_a_damaged_shard_names_it(damage):
    """A search reads only parts of a shard, and still notices."""
    world = await World.made()
    latest = certain(await world.store.latest(DATASET))
    [shard] = [shard for shard in latest.manifest.shards_of(RowKind.ACCEPTED) if shard.min_id == "t"]
    other = next(s for s in latest.manifest.shards_of(RowKind.ACCEPTED) if s != shard)
    if damage == "missing":
        del world.objects.objects[shard.key]
    elif damage == "truncated":
        world.objects.objects[shard.key] = world.objects.objects[shard.key][:-100]
    else:
        world.objects.objects[shard.key] = world.objects.objects[other.key]
    with pytest.raises(DamagedVersion, match=shard.key):
        await world.store.find(latest.manifest, RowKind.ACCEPTED, "t")


async def test_a_cut_on_a_damaged_parent_shard_names_it_and_changes_nothing():
    """A shard that would have to be rewritten and is not what it should be stops the cut; the head stays."""
    world = await World.made()
    head = certain(await world.store.head(DATASET))
    [shard] = [s for s in certain(await world.store.latest(DATASET)).manifest.shards_of(RowKind.ACCEPTED) if s.may_hold("s03")]
    body = world.objects.objects[shard.key]
    world.objects.objects[shard.key] = body[:200] + bytes([body[200] ^ 1]) + body[201:]
    with pytest.raises(DamagedVersion, match=shard.key):
        await world.cut([("s03", 1, Reason.ACCEPTED)], 30)
    assert certain(await world.store.head(DATASET)).version == head.version
    world.objects.objects[shard.key] = body
    assert certain(await world.cutter.cut(DATASET, "later")).version.manifest.sequence == 3


async def test_a_damaged_segment_is_named():
    """A staged segment that is cut off stops the cut; the latest version is read as ever."""
    world = await World.made()
    rows = [(dossier("v"), place(50))]
    await world.cutter.staging.stage_decided(DATASET, DECIDED, rows)
    key = max(key for key in world.objects.objects if key.startswith("staging/"))
    world.objects.objects[key] = world.objects.objects[key][:-20]
    with pytest.raises(DamagedVersion, match=key):
        await world.cutter.cut(DATASET, "later")
    assert len(await world.read()) == 17


async def test_a_reference_that_points_nowhere_says_where():
    """The missing manifest is named; other datasets and versions by id stay readable."""
    world = await World.made()
    nowhere = Reference(dataset=DATASET, version="ab" * 32, sequence=9, cut_by="x")
    world.objects.objects[reference_key(DATASET)] = stored_bytes(nowhere)
    with pytest.raises(DamagedVersion, match="manifests/maths/00000009-abab"):
        await world.read()


async def test_a_manifest_that_is_gone_is_named():
    """A hole in the chain of versions is named when it is reached, not before."""
    world = await World.made()
    parent = await world.store.version(DATASET, "1")
    del world.objects.objects[parent.manifest_key]
    assert len(await world.read()) == 17
    with pytest.raises(DamagedVersion, match=parent.manifest_key):
        await world.read("1")


async def test_a_store_that_is_gone_is_not_a_damaged_version():
    """Callers keep their place when the store does not answer."""
    world = await World.made()
    world.objects.down = True
    with pytest.raises(Stop):
        await world.read()
