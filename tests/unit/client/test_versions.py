"""Versions for training scripts: named, read in batches, copied; without an event loop, or in the middle of one."""

import asyncio
from contextlib import asynccontextmanager

import pyarrow.parquet as pq
import pytest

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.client import DamagedVersion, Datasets, NoSuchVersion, RowKind, datasets
from headrace.core.events import Stop
from headrace.core.reasons import Reason
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.object_store import FakeObjectStore


@asynccontextmanager
async def opening(objects):
    yield objects


async def filled() -> FakeObjectStore:
    """Two versions: twenty accepted rows, then one more and a rejected one."""
    objects = FakeObjectStore()
    cutter = VersionCutter(objects, CutSettings(shards=ShardLimits(shard_rows_max=8, group_rows_max=4), embeddings_wait_s=0))
    batches = [dossier(f"s{n:02}") for n in range(20)], [dossier("t"), dossier("u", 0, Reason.TOO_DENSE)]
    for first, decided in zip((0, 50), batches, strict=True):
        rows = [(each, place(first + n)) for n, each in enumerate(decided)]
        await cutter.staging.stage_decided(DATASET, DECIDED, rows)
        await cutter.cut(DATASET, f"r{first}")
    return objects


@pytest.fixture
def objects() -> FakeObjectStore:
    return asyncio.run(filled())


def test_versions_are_listed_named_and_read(objects, tmp_path):
    """Everything a training script needs of a frozen version, in a few lines."""
    with Datasets(opening(objects)) as stored:
        assert stored.names() == (DATASET,)
        assert [(each.sequence, len(each)) for each in stored.versions(DATASET)] == [(2, 21), (1, 20)]
        version = stored.version(DATASET, "main~1")
        assert version.manifest.counts.accepted == 20
        assert "version 1" in repr(version)
        rows = list(version.rows())
        assert [row["sample_id"] for row in rows] == [f"s{n:02}" for n in range(20)]
        assert rows[0]["messages"][0]["role"] == "user"
        assert "dossier" not in rows[0]
        assert next(iter(version.rows(["sample_id"]))) == {"sample_id": "s00"}
        assert [row["reason"] for row in stored.version(DATASET).rows(kind=RowKind.REJECTED)] == ["too_dense"]
        files = version.checkout(tmp_path / "rows")
        assert sum(pq.read_table(file).num_rows for file in files) == 20
        with pytest.raises(NoSuchVersion):
            stored.version(DATASET, "nowhere")
        assert list(stored.versions("other")) == []


async def test_it_works_in_the_middle_of_an_event_loop():
    """A notebook has one running."""
    with Datasets(opening(await filled())) as stored:
        assert len(list(stored.version(DATASET).batches(["sample_id"], batch_rows=4))) == 6


def test_what_is_damaged_is_named_and_the_rest_stays_readable(objects):
    """A shard of the latest version that is gone does not matter to the one before."""
    with Datasets(opening(objects)) as stored:
        latest = stored.version(DATASET)
        [new] = set(latest.manifest.shards_of(RowKind.ACCEPTED)) - set(
            stored.version(DATASET, "1").manifest.shards_of(RowKind.ACCEPTED)
        )
        del objects.objects[new.key]
        with pytest.raises(DamagedVersion, match=new.key):
            list(latest.rows())
        assert len(list(stored.version(DATASET, "1").rows())) == 20
        objects.down = True
        with pytest.raises(Stop):
            stored.names()


def test_it_is_opened_by_with():
    """Nothing is connected before, and nothing stays open after."""
    stored = datasets()
    with pytest.raises(RuntimeError, match=r"with datasets\(\)"):
        stored.names()
