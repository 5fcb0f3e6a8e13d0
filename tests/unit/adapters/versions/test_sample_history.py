"""One sample's whole story: what stands, what waits, and what was replaced or taken back in whichever version."""

from dataclasses import replace

import pytest

from headrace.adapters.versions import sample_history
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.forgetting import Forgetting
from headrace.adapters.versions.gaps import note_pruned
from headrace.adapters.versions.sample_history import history
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import Dossier
from headrace.core.events import Stop
from headrace.core.reasons import Reason
from headrace.core.versions import DamagedVersion, manifest_prefix
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, RETRACTED, dossier, place, retraction, sample
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.rewrites import rewrite


class World:
    """A dataset with a growing history."""

    def __init__(self) -> None:
        self.objects = FakeObjectStore()
        self.cutter = VersionCutter(self.objects, CutSettings(embeddings_wait_s=0))
        self.offset = 0

    async def decided(self, *dossiers: Dossier) -> None:
        rows = [
            (each, replace(place(self.offset + n), time=1_700_000_200.5 + self.offset + n)) for n, each in enumerate(dossiers)
        ]
        self.offset += len(rows)
        await self.cutter.staging.stage_decided(DATASET, DECIDED, rows)

    async def retracted(self, sample_id: str, revision: int) -> None:
        self.offset += 1
        rows = [(retraction(sample_id, revision), place(self.offset, RETRACTED))]
        await self.cutter.staging.stage_retracted(DATASET, RETRACTED, rows)

    async def cut(self, *dossiers: Dossier) -> str:
        if dossiers:
            await self.decided(*dossiers)
        return certain(await self.cutter.cut(DATASET, f"at-{self.offset}")).version.id

    async def others(self, count: int) -> None:
        for _ in range(count):
            await self.cut(dossier(f"other-{self.offset}"))

    async def told(self, sample_id: str = "s"):
        return await history(VersionStore(self.objects), DATASET, sample_id)


def mended(revision: int, parent: int) -> Dossier:
    """A rewrite of another revision of the sample."""
    return replace(dossier("s", revision), rewrite=replace(rewrite(), parent=sample("s", parent)))


async def test_endings_come_from_the_version_and_from_behind_it():
    """Every decision that is kept is told, oldest first, with the whole dossier; of nobody nothing."""
    world = World()
    await world.cut(dossier("s"), dossier("t", 0, Reason.TOO_DENSE))
    await world.decided(dossier("s", 0, Reason.ALREADY_ADMITTED))
    told = await world.told()
    assert [(each.where.split(", ")[-1], each.dossier.decisions[-1].reason) for each in told.endings] == [
        ("accepted", "accepted"), ("staged for the next version", "already_admitted"),
    ]  # fmt: skip
    assert told.endings[0].ended_at == 1_700_000_200.5
    assert told.notes == ()
    assert (await world.told("nobody")).endings == ()


async def test_a_mended_sample_has_its_beginning():
    """Each replaced revision says by which and in which version, wherever it lies between versions of other samples."""
    world = World()
    await world.others(2)
    await world.cut(dossier("s"))
    await world.others(2)
    last_with = await world.cut(dossier("another"))
    await world.cut(dossier("s", 1, Reason.NOT_BETTER), mended(2, 0))
    await world.others(2)
    await world.cut(mended(5, 2))
    await world.others(1)
    await world.decided(dossier("s", 6))
    told = await world.told()
    assert [each.dossier.sample.revision for each in told.endings] == [0, 1, 2, 5, 6]
    assert told.endings[0].where == f"version 6 ({last_with[:12]}), accepted; replaced by revision 2 in version 7"
    assert [each.where.split("), ")[-1] for each in told.endings] == [
        "accepted; replaced by revision 2 in version 7", "rejected", "accepted; replaced by revision 5 in version 10",
        "accepted; to be replaced by revision 6 in the next version", "staged for the next version",
    ]  # fmt: skip
    assert told.notes == ()


async def test_what_was_taken_back_is_told_however_often_it_came_again():
    """Retracted, accepted as a later revision, and retracted again: each acceptance says in which version it was taken back."""
    world = World()
    await world.cut(dossier("s"))
    await world.retracted("s", 0)
    await world.cut()
    await world.cut(dossier("s", 3))
    await world.cut(dossier("s", 4))
    await world.retracted("s", 4)
    await world.cut()
    told = await world.told()
    assert [(each.dossier.sample.revision, each.where.split("; ")[-1]) for each in told.endings] == [
        (0, "taken back in version 2"), (3, "replaced by revision 4 in version 4"), (4, "taken back in version 5"),
    ]  # fmt: skip


async def test_a_retraction_is_no_reason_for_what_it_does_not_reach():
    """One of an earlier revision, taken in while a later one stood: that one left because the next one came."""
    world = World()
    await world.cut(dossier("s"))
    await world.cut(dossier("s", 5))
    await world.retracted("s", 0)
    await world.cut()
    await world.cut(dossier("s", 6))
    told = await world.told()
    assert [each.where.split("; ")[-1] for each in told.endings[:2]] == [
        "replaced by revision 5 in version 2", "replaced by revision 6 in version 4",
    ]  # fmt: skip


async def test_pruned_versions_and_forgotten_rows_are_said():
    """What is gone for good is no error: the story says what it lacks."""
    world = World()
    await world.cut(dossier("s"))
    await world.cut(mended(2, 0))
    await world.others(2)
    await note_pruned(world.objects, DATASET, 3)
    for key in sorted(each for each in world.objects.objects if each.startswith(manifest_prefix(DATASET)))[:2]:
        del world.objects.objects[key]
    told = await world.told()
    assert [each.dossier.sample.revision for each in told.endings] == [2]
    assert told.notes == (
        "versions before number 3 were pruned: what was replaced or taken back by then is not told",
        "revision 0, which a rewrite was made of, is in no version that was looked at",
    )
    await world.cut(dossier("f"), dossier("g"))
    await world.retracted("f", 0)
    await world.cut(dossier("g", 1))
    assert len((await world.told("f")).endings) == 1
    await Forgetting(VersionStore(world.objects), DATASET, "f").forget()
    told = await world.told("f")
    assert told.endings == ()
    assert "rows of this sample were forgotten" in told.notes[-1]
    beside = await world.told("g")
    assert (len(beside.endings), beside.notes) == (2, ())


async def test_a_revision_replaced_within_one_version_is_said_to_be_missing():
    """It never was in a version; the rewrite that followed tells that there was one."""
    world = World()
    await world.cut(dossier("s"), mended(2, 0))
    told = await world.told()
    assert [each.dossier.sample.revision for each in told.endings] == [2]
    assert told.notes == ("revision 0, which a rewrite was made of, is in no version that was looked at",)


async def test_endless_revisions_are_bounded_and_the_rest_is_said(monkeypatch):
    """Beyond the limit there may be more, and the story says so."""
    monkeypatch.setattr(sample_history, "CHANGES_MAX", 3)
    world = World()
    for revision in range(8):
        await world.cut(dossier("s", revision))
    told = await world.told()
    assert [each.dossier.sample.revision for each in told.endings] == [4, 5, 6, 7]
    assert told.notes == ("there may be earlier revisions: 3 acceptances and retractions were followed back",)


async def test_few_objects_are_read_however_many_versions_there_are(monkeypatch):
    """The versions are searched by halves, and a sample that was never replaced asks for none of them."""
    world = World()
    await world.cut(dossier("s"), dossier("t"))
    await world.others(30)
    await world.cut(mended(2, 0))
    await world.others(30)
    read, get = [], world.objects.get

    async def getting(key, **options):
        read.append(key)
        return await get(key, **options)

    monkeypatch.setattr(world.objects, "get", getting)
    assert len((await world.told()).endings) == 2
    assert sum(key.startswith(manifest_prefix(DATASET)) for key in read) <= 8
    read.clear()
    assert len((await world.told("t")).endings) == 1
    assert sum(key.startswith(manifest_prefix(DATASET)) for key in read) == 1


async def test_damage_is_named():
    """A shard of an earlier version that is gone without having been forgotten is an error that names it."""
    world = World()
    await world.cut(dossier("s"))
    [shard] = [key for key in world.objects.objects if key.startswith("shards/")]
    await world.cut(dossier("s", 1))
    body = world.objects.objects.pop(shard)
    with pytest.raises(DamagedVersion, match=shard):
        await world.told()
    world.objects.objects[shard] = body
    world.objects.down = True
    with pytest.raises(Stop):
        await world.told()
