"""A version's rows on their way to a subscriber: every file verified, the next one fetched meanwhile, none left behind."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import VersionStore
from headrace.client import SubscribeLimits, version_rows
from headrace.client.batches import batch_schema
from headrace.client.bridge import Held
from headrace.client.chunks import Chunk
from headrace.client.version_rows import VersionRows
from headrace.core.staged import Place
from headrace.core.versions import DamagedVersion, RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.toy_topics import until

SHARD_ROWS = 8
DECIDED_AT = 1_700_000_100.5
NAMES = [f"s{number:02}" for number in range(3 * SHARD_ROWS)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files come to lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
async def rows() -> AsyncIterator[VersionRows]:
    """A version of three shards."""
    objects = FakeObjectStore()
    limits = ShardLimits(shard_rows_max=SHARD_ROWS, group_rows_max=4)
    cutter = VersionCutter(objects, CutSettings(shards=limits, embeddings_wait_s=0))
    await cutter.staging.stage_decided(
        DATASET, DECIDED, [(dossier(name), Place(DECIDED, n, DECIDED_AT)) for n, name in enumerate(NAMES)]
    )
    version = certain(await cutter.cut(DATASET, "cut")).version
    with Held() as held:
        yield await VersionRows.of(VersionStore(objects), version, held)


def parts_of(chunk: Chunk) -> list[Chunk]:
    return [*chunk.parts]


async def test_items_come_in_parts_each_with_its_place(rows, monkeypatch):
    """A few are made at a time, and behind each the subscriber stands at the next row of its shard."""
    monkeypatch.setattr(version_rows, "_PART_ROWS", 2)
    limits = SubscribeLimits(prefetch_rows=10)
    parts = [part async for chunk in rows.chunks((0, 1), 0, 0, limits) for part in parts_of(chunk)]
    assert max(len(part.items) for part in parts) == 2
    assert [item.sample_id for part in parts for item in part.items] == NAMES
    assert [place for part in parts for place in part.places] == [
        (~shard, row) for shard in range(3) for row in range(1, SHARD_ROWS + 1)
    ]
    assert [part.after for part in parts if not part.items] == [{~shard: end} for shard in range(3) for end in (5, 8)]
    assert all(part.after == dict(part.places[-1:]) for part in parts if part.items)
    assert await rows.latest_decision() == DECIDED_AT


async def test_the_next_file_is_fetched_while_one_is_read_and_none_is_left(rows, folder):
    """Never more than two lie there, also for one who stops in the middle; what was not read is not known."""
    async with aclosing(rows.chunks((0, 1), 0, 0, SubscribeLimits(), batch_schema(["messages"]))) as chunks:
        first = await anext(chunks)
        assert certain(first.rows).num_rows == SHARD_ROWS
        await until(lambda: len([*folder.rglob("*.parquet")]) == 2)
        await anext(chunks)
        assert len([*folder.rglob("*.parquet")]) <= 2
    assert not [*folder.rglob("*.parquet")]
    assert await rows.latest_decision() == DECIDED_AT
    assert all(rows._held.has(name, 0) for name in NAMES)


@pytest.mark.parametrize("damage", ["gone", "altered"])
async def test_what_comes_before_a_damaged_file_is_handed_out(rows, damage):
    """That the next file is bad is told when its turn comes, and no row of it passes."""
    shard = rows.version.manifest.shards_of(RowKind.ACCEPTED)[1]
    objects = rows._versions.objects
    body = objects.objects.pop(shard.key)
    if damage == "altered":
        objects.objects[shard.key] = body[:100] + bytes([body[100] ^ 1]) + body[101:]
    async with aclosing(rows.chunks((0, 1), 0, 0, SubscribeLimits())) as chunks:
        seen = [item.sample_id for part in parts_of(await anext(chunks)) for item in part.items]
        assert seen == NAMES[:SHARD_ROWS]
        with pytest.raises(DamagedVersion, match=shard.key):
            await anext(chunks)


async def test_every_slice_resumes_in_the_middle_of_a_shard(rows):
    """Of more shares than shards: what comes from a row of the first shard on is what has come behind it, everything once."""
    seen: list[str] = []
    for index in range(7):
        taken = [
            (item.sample_id, place)
            async for chunk in rows.chunks((index, 7), 0, 0, SubscribeLimits())
            for part in parts_of(chunk)
            for item, place in zip(part.items, part.places, strict=True)
        ]
        behind = [
            item.sample_id
            async for chunk in rows.chunks((index, 7), 0, 5, SubscribeLimits())
            for part in parts_of(chunk)
            for item in part.items
        ]
        assert behind == [name for name, (slot, row) in taken if slot != ~0 or row > 5]
        seen += [name for name, _ in taken]
    assert sorted(seen) == NAMES
