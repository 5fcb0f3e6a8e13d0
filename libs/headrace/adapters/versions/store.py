"""Reading dataset versions: heads, manifests, rows, one sample. Nothing here changes a version."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headrace.adapters.scratch import scratch_folder
from headrace.adapters.versions.finder import VersionFinder
from headrace.adapters.versions.gaps import VersionGaps, pruned_before
from headrace.adapters.versions.shards import find_rows, read_shard, verify_file
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge
from headrace.core.version_gaps import CutShard
from headrace.core.version_names import NoSuchVersion
from headrace.core.versions import (
    MAIN,
    MANIFEST_BYTES_MAX,
    REFERENCE_BYTES_MAX,
    DamagedVersion,
    Manifest,
    Reference,
    RowKind,
    Shard,
    Version,
    manifest_from,
    manifest_key,
    manifest_prefix,
    reference_from,
    reference_key,
)

__all__ = ["BATCH_ROWS", "Head", "NoSuchVersion", "Version", "VersionStore"]

BATCH_ROWS = 1_024
_MANIFESTS_KEPT = 8
_LOOK_BACK = 1_000
"""Versions whose keys are listed first where one is looked for by its id: as many as one page of a listing holds."""
_FURTHER = 10


class PrunedVersion(NoSuchVersion):
    """The version is no longer kept: what there is to say about it is that it was there."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a branch stands; a move must name the `etag`. `committed_at` is the store's clock, Unix seconds."""

    reference: Reference
    etag: str
    committed_at: float

    @property
    def version(self) -> str:
        return self.reference.version

    @property
    def manifest_key(self) -> str:
        return manifest_key(self.reference.dataset, self.reference.sequence, self.reference.version)


class VersionStore:
    """Versions in an object store.

    Every method raises Stop when the store is gone, and DamagedVersion, naming the object, when one is missing or not what
    its manifest says. Shards that are read as a whole are verified by their hash first, on local disk under `folder`.
    """

    def __init__(self, objects: ObjectStore, folder: Path | None = None) -> None:
        self.objects = objects
        self.gaps = VersionGaps(objects)
        self.folder = folder
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()

    async def head(self, dataset_id: str, branch: str = MAIN) -> Head | None:
        """Where the branch stands; None while the dataset has no version. Raises ValueError for an impossible dataset id."""
        key = reference_key(dataset_id, branch)
        try:
            stored = await self.objects.get(key, bytes_max=REFERENCE_BYTES_MAX)
        except ObjectMissing:
            return None
        except ObjectTooLarge as error:
            raise DamagedVersion(str(error)) from error
        return Head(reference_from(stored.body, key), stored.etag, stored.modified)

    async def latest(self, dataset_id: str, branch: str = MAIN) -> Version | None:
        """The version at the head of the branch; None while there is none."""
        head = await self.head(dataset_id, branch)
        return None if head is None else Version(head.version, await self.manifest_at(head.manifest_key, head.version))

    async def version(self, dataset_id: str, name: str = "") -> Version:
        """The version of that name: its number, id or beginning of it, a tag, "" for the latest, "main~2" for two before that.

        Raises:
            NoSuchVersion: none is called so, or several are.
        """
        latest = await self.latest(dataset_id)
        if latest is None:
            raise NoSuchVersion(f"dataset {dataset_id} has no version yet")
        return await VersionFinder(self.objects, self.manifest_at, dataset_id, latest).find(name)

    async def manifest(self, dataset_id: str, version: str) -> Manifest:
        """The manifest of a version id, whether or not a branch leads to it. Raises DamagedVersion where it is missing."""
        return await self.manifest_at(await self._key_of(dataset_id, version), version)

    async def shards_as_cut(self, dataset_id: str, version: str, kind: RowKind) -> tuple[CutShard, ...]:
        """The shards of a kind in the places that they were cut with, as they can be read now.

        Forgetting changes no place. Raises as `manifest` does.
        """
        stored = await self._stored_manifest(await self._key_of(dataset_id, version), version)
        return await self.gaps.shards_as_cut(stored, kind)

    async def _key_of(self, dataset_id: str, version: str) -> str:
        """Where the manifest of a version id lies: looked for from the latest version backwards, ten times as far each time.

        Mostly recent versions are asked for by their ids, so the whole history is rarely listed.
        """
        prefix, suffix = manifest_prefix(dataset_id), f"-{version}.json"
        head = await self.head(dataset_id)
        latest = head.reference.sequence if head else 0
        back, until = _LOOK_BACK, "~"
        while until > prefix:
            since = f"{prefix}{latest - back:08}" if back < latest else prefix
            async for entry in self.objects.list(prefix, start_after=since if since > prefix else ""):
                if entry.key >= until:
                    break
                if entry.key.endswith(suffix):
                    return entry.key
            back, until = back * _FURTHER, since
        raise DamagedVersion(f"{prefix}*{suffix}: no such object")

    async def manifest_at(self, key: str, version: str) -> Manifest:
        """The manifest under a key, with what stands in for shards that have gaps by now.

        Raises:
            PrunedVersion: it is no longer kept.
        """
        return await self.gaps.filled(await self._stored_manifest(key, version))

    async def hashes_at(self, key: str, version: str) -> set[str]:
        """Of all shards that the manifest under a key has named, and of what has stood in for them. Raises as `manifest_at`."""
        return await self.gaps.hashes(await self._stored_manifest(key, version))

    async def _stored_manifest(self, key: str, version: str) -> Manifest:
        """The manifest as it was stored; kept in memory, since it can never change."""
        if version in self._manifests:
            self._manifests.move_to_end(version)
            return self._manifests[version]
        try:
            stored = await self.objects.get(key, bytes_max=MANIFEST_BYTES_MAX)
        except ObjectMissing as error:
            _, dataset_id, name = key.split("/")
            if int(name.partition("-")[0]) < await pruned_before(self.objects, dataset_id):
                raise PrunedVersion(f"{key}: `headrace dataset gc` pruned this version") from error
            raise DamagedVersion(f"{key}: no such object, though a reference or a later version names it") from error
        except ObjectTooLarge as error:
            raise DamagedVersion(str(error)) from error
        manifest = manifest_from(stored.body, key, version)
        self._manifests[version] = manifest
        if len(self._manifests) > _MANIFESTS_KEPT:
            self._manifests.popitem(last=False)
        return manifest

    async def log(self, dataset_id: str) -> AsyncIterator[Version]:
        """The latest version, its parent, and so on to the first, or to the first that pruning left."""
        version = await self.latest(dataset_id)
        while version is not None:
            yield version
            version = await self.parent(version)

    async def parent(self, version: Version) -> Version | None:
        """The version before this one; None where this is the first, or the first that pruning left."""
        parent = version.manifest.parent
        if parent is None:
            return None
        try:
            key = manifest_key(version.manifest.dataset, version.manifest.sequence - 1, parent)
            return Version(parent, await self.manifest_at(key, parent))
        except PrunedVersion:
            return None

    async def datasets(self) -> tuple[str, ...]:
        """The ids of all datasets that have a version, in order."""
        return tuple(
            [parts[1] async for entry in self.objects.list("refs/") if (parts := entry.key.split("/"))[2:] == [f"{MAIN}.json"]]
        )

    async def rows(
        self, manifest: Manifest, kind: RowKind, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> AsyncIterator[pa.RecordBatch]:
        """All rows of a kind, shard by shard, in batches; within a shard in order of the sample ids.

        Embeddings of different models have vectors of different lengths: batches of one shard never mix them, and
        `Shard.group` says which they are.
        """
        for shard in manifest.shards_of(kind):
            async for batch in self.shard_rows(shard, columns, batch_rows):
                yield batch

    async def shard_rows(
        self, shard: Shard, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> AsyncIterator[pa.RecordBatch]:
        """One shard's rows in order."""
        async with self.local(shard) as path:
            batches = read_shard(path, shard, columns, batch_rows)
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                yield batch

    @asynccontextmanager
    async def local(self, shard: Shard) -> AsyncIterator[Path]:
        """The shard as a local file, verified; gone afterwards."""
        with scratch_folder("shard", self.folder) as folder:
            path = folder / "shard.parquet"
            await self.download(shard, path)
            yield path

    async def download(self, shard: Shard, path: Path) -> None:
        """Write a shard to a local file and verify it."""
        try:
            await self.objects.fetch(shard.key, path, bytes_max=shard.size_bytes)
        except ObjectMissing as error:
            raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error
        except ObjectTooLarge as error:
            raise DamagedVersion(f"{error}: altered") from error
        await asyncio.to_thread(verify_file, path, shard)

    async def find(self, manifest: Manifest, kind: RowKind, sample_id: str) -> tuple[pa.Table, ...]:
        """One sample's rows of a kind, a table for each shard that has any; reads only row groups that may hold it."""
        tables = []
        for shard in manifest.shards_of(kind):
            if shard.may_hold(sample_id):
                table = await asyncio.to_thread(self._find_in, shard, sample_id)
                if table.num_rows:
                    tables.append(table)
        return tuple(tables)

    def _find_in(self, shard: Shard, sample_id: str) -> pa.Table:
        try:
            handle = self.objects.open(shard.key)
        except ObjectMissing as error:
            raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error
        with handle:
            return find_rows(handle, shard, sample_id)
