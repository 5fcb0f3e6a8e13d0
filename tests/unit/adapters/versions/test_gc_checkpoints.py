"""Collecting what trainers left that died: files that no checkpoint names go, those that one names stay."""

import pytest

from headrace.adapters.checkpoints.store import CheckpointStore
from headrace.adapters.versions.gc import Garbage, GarbageCollector, Keeping
from headrace.core.checkpoint_manifests import blob_key
from headrace.core.versions import DamagedVersion
from tests.fakes.checkpoints import adapter_folder, details
from tests.fakes.object_store import FakeObjectStore

DAY = 86_400.0


async def test_files_that_no_checkpoint_names_go_after_the_grace(tmp_path):
    """A checkpoint of any model keeps its own, one that is called like the folder of files too; young ones stay."""
    objects = FakeObjectStore()
    store = CheckpointStore(objects)
    kept = [
        await store.publish(adapter_folder(tmp_path / model, fill), details(model=model))
        for fill, model in enumerate(("signals", "blobs"))
    ]
    orphans = [blob_key("ab" * 32), blob_key("cd" * 32)]
    for key in orphans:
        await objects.put(key, b"left behind")
    objects.clock = lambda: 1_000.0 + 2 * DAY
    await objects.put(orphans[1], b"left behind")
    found = [(each.what, each.entry.key) async for each in GarbageCollector(objects, Keeping(DAY)).delete()]
    assert found == [(Garbage.CHECKPOINT_FILE, orphans[0])]
    for published in kept:
        await store.fetch(published, tmp_path / "fetched" / published.model)
    assert orphans[1] in objects.objects


async def test_a_file_that_is_published_again_is_young_again(tmp_path):
    """So a collection that listed it as old leaves it to whoever is about to name it."""
    objects = FakeObjectStore()
    store = CheckpointStore(objects)
    published = await store.publish(adapter_folder(tmp_path / "a"), details())
    key = blob_key(published.files[0].sha256)
    before = await objects.stat(key)
    objects.clock = lambda: 1_000.0 + DAY
    await store.publish(tmp_path / "a", details(run_id="another"))
    after = await objects.stat(key)
    assert before is not None
    assert after is not None
    assert after.modified >= before.modified + DAY


async def test_nothing_goes_where_a_manifest_cannot_be_read(tmp_path):
    """It may need any of the files."""
    objects = FakeObjectStore()
    published = await CheckpointStore(objects).publish(adapter_folder(tmp_path / "a"), details())
    objects.objects[published.manifest_key] += b" "
    with pytest.raises(DamagedVersion, match="altered"):
        _ = [each async for each in GarbageCollector(objects, Keeping(DAY)).delete()]
