"""Collecting what trainers left that died: files that no checkpoint names go, those that one names stay."""

import pytest

from headrace.adapters.checkpoints.retention import collected_checkpoints, named_by_datasets
from headrace.adapters.checkpoints.store import CheckpointStore, CollectedCheckpoint
from headrace.adapters.versions.gc import Elsewhere, Garbage, GarbageCollector, Keeping
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.versions.tags import create_tag
from headrace.core.checkpoint_manifests import blob_key
from headrace.core.checkpoint_retention import NamedByDatasets
from headrace.core.checkpoints import SEEN_FILE, CheckpointPublished
from headrace.core.versions import DamagedVersion
from tests.fakes.checkpoints import adapter_folder, details
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.tiny_commits import QuickStore, TinyCommits

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


async def three_published(objects: FakeObjectStore, folder) -> list[CheckpointPublished]:
    """The first two have the same weights; each has a list of what it has seen."""
    store, found = CheckpointStore(objects), []
    for number, fill in enumerate((1, 1, 2)):
        weights = adapter_folder(folder / str(number), fill)
        (weights / SEEN_FILE).write_text(f'["s{number}", 0]\n')
        found.append(await store.publish(weights, details(run_id=f"run-{number}")))
    objects.clock = lambda: 1_000.0 + 2 * DAY
    return found


def weights_of(published: CheckpointPublished) -> str:
    return next(blob_key(file.sha256) for file in published.files if file.name.endswith(".safetensors"))


async def deleted(
    objects: FakeObjectStore, unneeded: list[CheckpointPublished], grace_s: float = DAY
) -> list[tuple[Garbage, str]]:
    known = Elsewhere(checkpoints={each.checkpoint_id for each in unneeded})
    return [(each.what, each.entry.key) async for each in GarbageCollector(objects, Keeping(grace_s)).delete(known)]


async def test_weights_that_nobody_needs_go_and_the_checkpoint_says_so(tmp_path):
    """What it was trained on and what it has seen stay; a dry run tells the bytes and changes nothing; again finds nothing."""
    objects = FakeObjectStore()
    first, second, third = await three_published(objects, tmp_path)
    before, known = dict(objects.objects), Elsewhere(checkpoints={third.checkpoint_id})
    [found] = [each async for each in GarbageCollector(objects, Keeping(DAY)).find(known)]
    assert (found.what, found.entry.key) == (Garbage.WEIGHTS, weights_of(third))
    assert found.entry.size_bytes == len(before[weights_of(third)])
    assert objects.objects == before
    assert await deleted(objects, [third]) == [(Garbage.WEIGHTS, weights_of(third))]
    assert await collected_checkpoints(objects) == {third.checkpoint_id}
    store = CheckpointStore(objects)
    with pytest.raises(CollectedCheckpoint, match=f"adapter_model.safetensors.*{third.checkpoint_id[:12]} were collected"):
        await store.fetch(third, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    assert (await store.find("signals", third.checkpoint_id)).data == third.data
    await store.download(third, SEEN_FILE, tmp_path / "seen")
    assert (tmp_path / "seen").read_text() == '["s2", 0]\n'
    for kept in (first, second):
        await store.fetch(kept, tmp_path / kept.checkpoint_id)
    assert await deleted(objects, [third]) == []


async def test_weights_that_another_checkpoint_shares_stay(tmp_path):
    """Then its record is not written either; they go when neither is needed."""
    objects = FakeObjectStore()
    first, second, _ = await three_published(objects, tmp_path)
    assert await deleted(objects, [first]) == []
    assert await collected_checkpoints(objects) == frozenset()
    assert await deleted(objects, [first, second]) == [(Garbage.WEIGHTS, weights_of(first))]
    assert await collected_checkpoints(objects) == {first.checkpoint_id, second.checkpoint_id}


async def test_young_weights_stay_and_published_again_they_are_whole_again(tmp_path):
    """No record says otherwise."""
    objects = FakeObjectStore()
    *_, third = await three_published(objects, tmp_path)
    assert await deleted(objects, [third], grace_s=3 * DAY) == []
    assert await collected_checkpoints(objects) == frozenset()
    await deleted(objects, [third])
    store = CheckpointStore(objects)
    assert (await store.publish(tmp_path / "2", details(run_id="run-2"))).checkpoint_id == third.checkpoint_id
    assert await collected_checkpoints(objects) == frozenset()
    await store.fetch(third, tmp_path / "fetched")
    assert await deleted(objects, [third]) == []  # young: the next collection may take them


async def test_a_collection_that_is_killed_has_said_what_it_takes(tmp_path):
    """The record is there before the first file goes: never damage without a cause."""
    objects = FakeObjectStore()
    *_, third = await three_published(objects, tmp_path)
    delete = objects.delete

    async def dies(key):
        if key.startswith("checkpoints/"):
            raise KeyboardInterrupt
        await delete(key)

    objects.delete = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await deleted(objects, [third])
    assert await collected_checkpoints(objects) == {third.checkpoint_id}
    await CheckpointStore(objects).fetch(third, tmp_path / "fetched")


async def test_what_latest_and_tagged_versions_name_is_told():
    """The models of their embeddings, and the ids of those that are tagged."""
    objects = QuickStore()
    commits = TinyCommits(objects, embeddings=True)
    first = await commits.cut()
    assert await named_by_datasets(VersionStore(objects)) == NamedByDatasets({("smol", "3")}, set())
    await create_tag(objects, "kept", first)
    await commits.cut()
    assert await named_by_datasets(VersionStore(objects)) == NamedByDatasets({("smol", "3")}, {first.id})
