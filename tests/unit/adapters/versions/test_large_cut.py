"""A hundred thousand rows, cut into one version: nothing is lost on the way, and its shards are bounded."""

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.core.versions import RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.staged_rows import REJECTED_EVERY, StagedRows

ROWS = 100_000
SHARD_ROWS = 30_000


async def test_a_hundred_thousand_rows_are_one_version(tmp_path):
    """Each is there once, accepted or rejected, in order of its id within its shard; cut again, it is the same version."""
    store, staged = FakeObjectStore(), StagedRows()
    await staged.stage(store, ROWS, staged.random_id, embeddings=False)
    settings = CutSettings(folder=tmp_path, embeddings_wait_s=0, shards=ShardLimits(shard_rows_max=SHARD_ROWS))
    cutter = VersionCutter(store, settings)
    version = certain(await cutter.cut(DATASET, "first")).version
    ids: set[str] = set()
    counts = version.manifest.counts
    for kind, rows in ((RowKind.ACCEPTED, counts.accepted), (RowKind.REJECTED, counts.rejected)):
        shards = version.manifest.shards_of(kind)
        assert sum(shard.rows for shard in shards) == rows > ROWS // (REJECTED_EVERY + 1)
        for shard in shards:
            assert shard.rows <= SHARD_ROWS + settings.shards.group_rows_max
            batches = cutter.versions.shard_rows(shard, ["sample_id"])
            found = [each async for batch in batches for each in batch["sample_id"].to_pylist()]
            assert found == sorted(found)
            ids.update(found)
    assert len(ids) == counts.accepted + counts.rejected == ROWS
    store.objects = {key: body for key, body in store.objects.items() if key.startswith("staging/")}
    assert certain(await VersionCutter(store, settings).cut(DATASET, "second")).version.id == version.id
