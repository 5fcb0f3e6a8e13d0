"""Versions told apart from their shards: what they share is not read, what is damaged is named."""

import io

import pytest

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.diff import diff
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.core.reasons import Reason
from headrace.core.retractions import RetractionRequested
from headrace.core.version_diff import ChangeKind, reason_of
from headrace.core.versions import DamagedVersion, RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, RETRACTED, dossier, place
from tests.fakes.object_store import FakeObjectStore

LIMITS = ShardLimits(shard_rows_max=8, group_rows_max=4)


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    def __init__(self, body: bytes, count) -> None:
        super().__init__(body)
        self._count = count

    def read(self, size=-1):
        body = super().read(size)
        self._count(len(body))
        return body

    def readinto(self, buffer):
        size = super().readinto(buffer)
        self._count(size)
        return size


class World(FakeObjectStore):
    """A store that tells which objects were opened and how much of them was read."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.bytes_read = 0
        self.cutter = VersionCutter(self, CutSettings(shards=LIMITS, embeddings_wait_s=0))

    def open(self, key):
        self.opened.append(key)
        return Counted(super().open(key).read(), self._count)

    def _count(self, size: int) -> None:
        self.bytes_read += size

    async def cut(self, first, *events):
        rows = [(dossier(*event), place(first + n)) for n, event in enumerate(events)]
        await self.cutter.staging.stage_decided(DATASET, DECIDED, rows)
        return certain(await self.cutter.cut(DATASET, f"r{first}")).version.manifest


async def changes(world, before, after):
    return [(change.kind, change.sample_id) async for change in diff(world, before, after)]


async def test_what_two_versions_share_is_not_read():
    """Of fifteen shards the two that a revision and an addition touched are read, and of those not the dossiers."""
    world = World()
    before = await world.cut(0, *((f"s{n:03}",) for n in range(120)))
    after = await world.cut(200, ("s050", 1), ("s0505", 0), ("s000", 0, Reason.TOO_DENSE))
    world.opened.clear()
    world.bytes_read = 0
    assert await changes(world, before, after) == [(ChangeKind.REVISED, "s050"), (ChangeKind.ADDED, "s0505")]
    assert len(before.shards_of(RowKind.ACCEPTED)) == 15
    assert len(world.opened) <= 4
    assert world.bytes_read < 4 * max(len(world.objects[key]) for key in world.opened)
    assert await changes(world, after, before) == [(ChangeKind.REVISED, "s050"), (ChangeKind.REMOVED, "s0505")]
    assert await changes(world, after, after) == []


async def test_differences_behind_an_id():
    """Whoever goes on from page to page reads no shard that lies before it, and no row twice."""
    world = World()
    before = await world.cut(0, *((f"s{n:03}",) for n in range(120)))
    after = await world.cut(200, ("s003", 1), ("s004", 1), ("s110", 1))
    for behind, left in (("", ["s003", "s004", "s110"]), ("s003", ["s004", "s110"]), ("s1099", ["s110"]), ("s110", [])):
        world.opened.clear()
        assert [change.sample_id async for change in diff(world, before, after, behind=behind)] == left
    assert len(world.opened) <= 2


async def test_rows_that_only_moved_between_shards_are_no_change():
    """Shards merged into one hold the same rows."""
    world = World()
    world.cutter = VersionCutter(world, CutSettings(embeddings_wait_s=0))
    manifests = [await world.cut(n, (f"s{n:03}",)) for n in range(16)]
    assert len(manifests[-1].shards_of(RowKind.ACCEPTED)) == 1
    assert await changes(world, manifests[-2], manifests[-1]) == [(ChangeKind.ADDED, "s015")]


async def test_why_a_sample_was_taken_back_is_told():
    """The rule that took it out is found among the later version's; those of others are passed over."""
    world = World()
    before = await world.cut(0, *((f"s{n:03}",) for n in range(16)))
    rules = [
        RetractionRequested(DATASET, sample_id, 0, reason, f"r-{sample_id}", "someone", note)
        for sample_id, reason, note in (
            ("s001x", "other", "never seen"),
            ("s003", "licence", ""),
            ("s009", "privacy", "asked by mail"),
        )
    ]
    placed = [(rule, place(n, RETRACTED)) for n, rule in enumerate(rules)]
    await world.cutter.staging.stage_retracted(DATASET, RETRACTED, placed)
    after = certain(await world.cutter.cut(DATASET, "later")).version.manifest
    found = [(change.kind, change.sample_id, reason_of(change)) async for change in diff(world, before, after)]
    assert found == [
        (ChangeKind.REMOVED, "s003", "retracted: licence (its licence does not allow this use), revisions up to 0"),
        (
            ChangeKind.REMOVED,
            "s009",
            "retracted: privacy (it speaks of a person who does not want that, or may not), asked by mail, revisions up to 0",
        ),
    ]


async def test_empty_versions_and_versions_of_one_row():
    """Nothing, and one row, are told apart like any others."""
    world = World()
    empty = certain(await world.cutter.cut(DATASET, "r")).version.manifest
    one = await world.cut(0, ("a",))
    assert await changes(world, empty, empty) == []
    assert await changes(world, empty, one) == [(ChangeKind.ADDED, "a")]
    assert await changes(world, one, empty) == [(ChangeKind.REMOVED, "a")]


@pytest.mark.parametrize("damage", ["missing", "truncated", "swapped", "flipped"])
async def test_a_damaged_shard_is_named(damage):
    """Whatever is wrong with a shard that has to be read, the error names it; one that need not be read does not matter."""
    world = World()
    before = await world.cut(0, *((f"s{n:03}",) for n in range(16)))
    after = await world.cut(200, ("s003", 1))
    [shard] = set(before.shards_of(RowKind.ACCEPTED)) - set(after.shards_of(RowKind.ACCEPTED))
    [shared] = set(before.shards_of(RowKind.ACCEPTED)) & set(after.shards_of(RowKind.ACCEPTED))
    del world.objects[shared.key]
    assert await changes(world, before, after) == [(ChangeKind.REVISED, "s003")]
    body = world.objects[shard.key]
    if damage == "missing":
        del world.objects[shard.key]
    elif damage == "swapped":
        world.objects[shard.key] = world.objects[next(s.key for s in after.shards_of(RowKind.ACCEPTED) if s.rows == 1)]
    else:
        at = body.index(b"PAR1") + 40
        world.objects[shard.key] = body[:-60] if damage == "truncated" else body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :]
    with pytest.raises(DamagedVersion, match=shard.key):
        await changes(world, before, after)
