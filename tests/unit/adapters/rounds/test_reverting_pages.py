"""What of a round stands: rows that come back, rows that leave, and what others did, which is none of it."""

from dataclasses import replace

import pytest

from headrace.adapters.rounds.reverting_pages import RevertingPages
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_pages import PageLimits
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import Decision, Verdict
from headrace.core.retractions import RetractionReason, RetractionRequested
from headrace.core.rounds.surveys import RevertRequested
from headrace.core.samples import Origin, OriginKind
from headrace.core.versions import DamagedVersion, RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, RETRACTED, dossier, place
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.surveys import accepted, survey

IDS = [f"s{n:02}" for n in range(12)]
SMALL = CutSettings(shards=ShardLimits(shard_rows_max=4, group_rows_max=2), embeddings_wait_s=0)


def by_round(sample_id, revision, round_id="r1"):
    """A rewrite, accepted."""
    found = dossier(sample_id, revision)
    origin = Origin(OriginKind.REFINED, (sample_id,), round=round_id, axis="hard")
    return replace(found, sample=replace(found.sample, origin=origin))


def taken_out(sample_id, revision=0, reason=RetractionReason.REDUNDANT, request="r1/x"):
    return RetractionRequested(DATASET, sample_id, revision, reason.value, request, "somebody")


class World:
    """A version that round r1 surveyed, and all that came after it."""

    def __init__(self, folder):
        self.objects = FakeObjectStore()
        self.cutter = VersionCutter(self.objects, SMALL)
        self.folder = folder
        self.offset = 0

    async def cut(self, *, rows=(), retractions=()):
        placed = [(each, place(self.offset + n)) for n, each in enumerate(rows)]
        if placed:
            await self.cutter.staging.stage_decided(DATASET, DECIDED, placed)
        rules = [(each, place(self.offset + n, RETRACTED)) for n, each in enumerate(retractions)]
        if rules:
            await self.cutter.staging.stage_retracted(DATASET, RETRACTED, rules)
        self.offset += 100
        return certain(await self.cutter.cut(DATASET, f"cut-{self.offset}")).version

    async def pages(self, surveyed, standing, rows_max=2, bytes_max=1 << 20):
        """All pages, as another process reads each of them."""
        asked: RevertRequested | None = RevertRequested(survey(surveyed.id), standing.id)
        while asked is not None:
            versions = VersionStore(self.objects, self.folder)
            files = ShardFiles(versions, self.folder, 1 << 20)
            page = await RevertingPages(versions, files, PageLimits(rows_max, bytes_max), lambda: 5.0).read(asked)
            yield page
            asked = page.following

    async def contents(self, version):
        versions = VersionStore(self.objects, self.folder)
        found: dict[str, tuple[str, int]] = {}
        async for batch in versions.rows(version.manifest, RowKind.ACCEPTED, ("sample_id", "content_hash", "revision")):
            found |= {row["sample_id"]: (row["content_hash"], row["revision"]) for row in batch.to_pylist()}
        return found


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


async def changed(world):
    """The version surveyed, and the one that stands after the round and others have changed it."""
    first = await world.cut(rows=accepted(*IDS))
    rows = [
        by_round("s01", 33), by_round("s02", 33), dossier("s02", 40), by_round("sparse-1", 0), by_round("s07", 33, "r0"),
        dossier("new"), dossier("s08", 1), by_round("s10", 33), by_round("s11", 35),
    ]  # fmt: skip
    rules = [
        taken_out("s03", request="r1/s03"),
        taken_out("s04", reason=RetractionReason.UNMENDED, request="r1/hard/s04"),
        taken_out("s05", reason=RetractionReason.LICENCE, request="by ada"),
        taken_out("s06", request="r0/s06"),
        taken_out("s08", request="r1/s08"),
        taken_out("s10", 33, reason=RetractionReason.PRIVACY, request="by ada"),
    ]
    return first, await world.cut(rows=rows, retractions=rules)


async def test_only_what_the_round_changed_is_undone(world):
    """Others' revisions, retractions, additions and other rounds' rewrites stand; page by page, each row once."""
    first, standing = await changed(world)
    pages = [page async for page in world.pages(first, standing)]
    back = [each.sample for page in pages for each in page.restored]
    assert [(each.id, each.revision) for each in back] == [("s01", 34), ("s03", 1), ("s04", 1), ("s11", 36)]
    assert {each.origin.restored_by for each in back} == {"r1"}
    assert [each.content_hash for each in back] == [dossier(each.id).sample.content_hash for each in back]
    leaving = [each for page in pages for each in page.leaving]
    assert [(each.sample_id, each.revision, each.reason) for each in leaving] == [("sparse-1", 0, "round_reverted")]
    assert [len(page.restored) + len(page.leaving) for page in pages] == [2, 2, 1]


async def test_the_version_after_it_has_the_rows_of_before_and_what_others_brought(world):
    """The same contents; and nothing is left to be undone, so that doing it again changes nothing."""
    first, standing = await changed(world)
    pages = [page async for page in world.pages(first, standing)]
    accepted_now = (Decision(Verdict.ACCEPTED, "accepted", "p1"),)
    rows = [replace(each, decisions=accepted_now) for page in pages for each in page.restored]
    after = await world.cut(rows=rows, retractions=[each for page in pages for each in page.leaving])
    before, now = await world.contents(first), await world.contents(after)
    assert now.keys() == before.keys() - {"s05", "s06", "s10"} | {"new"}
    others = {"s02": 40, "s07": 33, "s08": 1, "new": 0}
    assert {each: now[each][1] for each in others} == others
    assert {each: now[each][0] for each in now.keys() - others} == {each: before[each][0] for each in now.keys() - others}
    again = [page async for page in world.pages(first, after)]
    assert [(page.restored, page.leaving, page.following) for page in again] == [((), (), None)]


async def test_a_page_ends_where_its_dossiers_are_large(world):
    """One row at least, and none is left out or comes twice."""
    first, standing = await changed(world)
    pages = [page async for page in world.pages(first, standing, rows_max=100, bytes_max=1)]
    assert [[each.sample.id for each in page.restored] for page in pages] == [["s01"], ["s03"], ["s04"], ["s11"]]
    assert [len(page.leaving) for page in pages] == [0, 0, 0, 1]


async def test_two_versions_that_are_the_same_leave_nothing_to_do(world):
    """Nor does it read a row."""
    first = await world.cut(rows=accepted(*IDS))
    [page] = [page async for page in world.pages(first, first)]
    assert (page.restored, page.leaving, page.following) == ((), (), None)


async def test_a_missing_shard_is_named(world):
    """What the round began with is needed to go back to it."""
    first, standing = await changed(world)
    for shard in first.manifest.shards_of(RowKind.ACCEPTED):
        await world.objects.delete(shard.key)
    with pytest.raises(DamagedVersion, match=r"shards/.*parquet"):
        [page async for page in world.pages(first, standing)]
