"""What the object store says of checkpoints' weights: which were collected, and which ones dataset versions name."""

from headrace.adapters.versions.store import VersionStore
from headrace.adapters.versions.tags import tags
from headrace.core.checkpoint_retention import COLLECTED_PREFIX, NamedByDatasets, collected_bytes, collected_key, collected_of
from headrace.core.ports.object_store import ObjectStore
from headrace.core.version_names import Tag
from headrace.core.versions import Manifest, RowKind, manifest_key


async def collected_checkpoints(objects: ObjectStore) -> frozenset[str]:
    """The ids of checkpoints whose weights were collected. Raises Stop where the store is gone."""
    return frozenset([collected_of(entry.key) async for entry in objects.list(COLLECTED_PREFIX)])


async def note_collected(objects: ObjectStore, model: str, checkpoint_id: str) -> None:
    """Says that a checkpoint's weights are no longer kept; said again, it changes nothing."""
    await objects.put_if_absent(collected_key(model, checkpoint_id), collected_bytes(model, checkpoint_id))


async def named_by_datasets(versions: VersionStore) -> NamedByDatasets:
    """What the latest version of each dataset, and each tagged one, names.

    Raises:
        DamagedVersion: one of them cannot be read, so nobody knows what it needs.
        Stop: the store is gone.
    """
    measured: set[tuple[str, str]] = set()
    tagged: set[str] = set()
    for dataset_id in await versions.datasets():
        if latest := await versions.latest(dataset_id):
            measured |= _measured(latest.manifest)
        async for tag in tags(versions.objects, dataset_id):
            tagged.add(tag.version)
            measured |= _measured(await _manifest_of(versions, tag))
    return NamedByDatasets(measured, tagged)


async def _manifest_of(versions: VersionStore, tag: Tag) -> Manifest:
    return await versions.manifest_at(manifest_key(tag.dataset, tag.sequence, tag.version), tag.version)


def _measured(manifest: Manifest) -> set[tuple[str, str]]:
    return {(shard.model, shard.model_version) for shard in manifest.shards_of(RowKind.EMBEDDINGS)}
