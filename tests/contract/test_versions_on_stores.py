"""Versions on real stores: raced for, retracted from, forgotten in and collected as on the store in memory."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from headrace.adapters.object_store import open_object_store
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.forgetting import Forgetting
from headrace.adapters.versions.gc import GarbageCollector, Keeping
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.versions.sweeps import store_now
from headrace.adapters.versions.tags import create_tag
from headrace.core.ports.object_store import ObjectStore
from headrace.core.versions import RowKind, Version
from tests.fakes.certain import certain
from tests.fakes.decisions import DECIDED, INDEXED, RETRACTED, dossier, indexed, place, retraction
from tests.fakes.object_store import FakeObjectStore


@pytest.fixture
async def objects(store_settings) -> AsyncIterator[ObjectStore]:
    """A bucket of its own: a collection looks at all that is in it."""
    if store_settings is None:
        fake = FakeObjectStore()
        fake.clock = time.time
        yield fake
        return
    mine = store_settings.model_copy(update={"bucket": f"versions-{uuid4().hex[:12]}"})
    async with open_object_store(mine) as opened:
        yield opened


async def ids(objects: ObjectStore, version: Version) -> list[str]:
    batches = [batch async for batch in VersionStore(objects).rows(version.manifest, RowKind.ACCEPTED, ["sample_id"])]
    return [value for batch in batches for value in batch["sample_id"].to_pylist()]


async def test_the_life_of_a_dataset(objects):
    """Cut by two at once, tagged, retracted from, forgotten in, pruned and collected: each version reads as it should."""
    cutters = [VersionCutter(objects, CutSettings(embeddings_wait_s=0)) for _ in range(2)]
    staging, names = cutters[0].staging, [f"s{n}" for n in range(40)]
    await staging.stage_decided("life", DECIDED, [(dossier(name, dataset_id="life"), place(n)) for n, name in enumerate(names)])
    vectors = [(indexed(name, dataset_id="life"), place(n, INDEXED)) for n, name in enumerate(names)]
    await staging.stage_indexed("life", INDEXED, vectors)
    cuts = await asyncio.gather(*(cutter.cut("life", f"request-{n}") for n, cutter in enumerate(cutters)))
    assert {certain(cut).version.manifest.sequence for cut in cuts} == {1}
    await create_tag(objects, "first", certain(cuts[0]).version)
    await staging.stage_retracted("life", RETRACTED, [(retraction("s3", dataset_id="life"), place(0, RETRACTED))])
    await cutters[0].cut("life", "request-2")
    await staging.stage_decided("life", DECIDED, [(dossier("t", dataset_id="life"), place(40))])
    await cutters[1].cut("life", "request-3")
    versions = VersionStore(objects)
    left = sorted(set(names) - {"s3"})
    assert await ids(objects, await versions.version("life", "first")) == sorted(names)
    assert await ids(objects, await versions.version("life", "2")) == left
    assert (await Forgetting(versions, "life", "s3").forget()).rows == 2
    await versions.gaps.refresh()
    assert await ids(objects, await versions.version("life", "first")) == left
    began = await store_now(objects)
    while await store_now(objects) < began + 2:  # noqa: ASYNC110 - some stores tell time in whole seconds
        await asyncio.sleep(0.2)
    gone = [each.entry.key async for each in GarbageCollector(objects, Keeping(1, last=1)).delete()]
    assert sum(key.startswith("manifests/") for key in gone) == 1
    assert await ids(objects, await versions.version("life", "first")) == left
    assert await ids(objects, await versions.version("life")) == [*left, "t"]
    assert [version.manifest.sequence async for version in VersionStore(objects).log("life")] == [3]
