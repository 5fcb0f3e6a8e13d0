"""Forgetting a retracted sample: its bytes leave old versions and the staging area, and a stated gap is left in their place.

For each shard: first the shard that stands in for it, then the record that says so, then the old shard goes. Killed anywhere,
readers find either of the two, and the next attempt ends what this one began. Segments keep their names and lose the rows.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.scratch import scratch_folder
from headrace.adapters.versions.gaps import read_gap
from headrace.adapters.versions.shards import (
    LocalShard,
    ShardLimits,
    key_columns,
    parquet,
    read_segment,
    read_shard,
    write_segment,
    write_shards,
)
from headrace.adapters.versions.staging import SEGMENT_BYTES_MAX, StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.versions.sweeps import SweepWatch
from headrace.core.ports.object_store import ObjectMissing
from headrace.core.staged import RETRACTED_STREAM, Slice, segment_from, staging_prefix, stem_of
from headrace.core.version_gaps import GAP_PREFIX, Gap, gap_key, gap_of, record_bytes, sample_digest
from headrace.core.version_names import listed_version
from headrace.core.versions import DamagedVersion, RowKind, Shard, Version, manifest_prefix

_BATCH_ROWS = 1_024
_KINDS = (RowKind.ACCEPTED, RowKind.REJECTED, RowKind.EMBEDDINGS)
_WHOLE = ShardLimits(shard_rows_max=2**62, shard_bytes_max=2**62)
"""What is left of a shard is one shard."""


class CannotForget(Exception):
    """The sample still belongs to the dataset, or may come into the next version; the text says what to do first."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was removed from where."""

    versions: int = 0
    shards: int = 0
    rows: int = 0
    segments: int = 0


class Forgetting:
    """Removes one retracted sample of one dataset, up to the revision that the latest version knows to be retracted."""

    def __init__(self, versions: VersionStore, dataset_id: str, sample_id: str) -> None:
        self._versions = versions
        self._objects = versions.objects
        self._dataset_id = dataset_id
        self._sample_id = sample_id
        self._replaced: dict[str, int] = {}
        self._without: set[bytes] = set()

    async def forget(self) -> Forgotten:
        """Remove it everywhere in the store; again does no harm.

        Raises:
            CannotForget: the latest version does not leave it out, or the next one may take rows of it in.
            DamagedVersion: an object is missing or altered.
            Stop: the store is gone.
        """
        upto = await self._retracted_upto()
        await self._end_what_others_began()
        versions = 0
        async for key, version in self._kept():
            await self._forget_in(version, upto)
            # What was replaced a moment ago may already have left the manifest as it is read now.
            versions += not self._replaced.keys().isdisjoint(await self._versions.hashes_at(key, version.id))
        segments = await self._forget_staged(upto)
        return Forgotten(versions, len(self._replaced), sum(self._replaced.values()), segments)

    async def _retracted_upto(self) -> int:
        name = f"{self._dataset_id} {self._sample_id!a}"
        latest = await self._versions.latest(self._dataset_id)
        tables = await self._versions.find(latest.manifest, RowKind.RETRACTIONS, self._sample_id) if latest else ()
        if latest is None or not tables:
            raise CannotForget(f"{name}: the latest version knows no retraction of it: `headrace dataset retract`, then cut one")
        upto: int = max(pc.max(table["revision"]).as_py() for table in tables)
        staging = StagingArea(self._objects)
        staged = await staging.since(self._dataset_id, latest.manifest.inputs)
        for part in (*staged.slices(decided=True), *staged.slices(decided=False)):
            if (await self._rows_in(part, upto)) > 0:
                raise CannotForget(
                    f"{name}: rows of it wait for the next version: `headrace dataset cut {self._dataset_id}` first"
                )
        return upto

    async def _rows_in(self, part: Slice, upto: int) -> int:
        table = await StagingArea(self._objects).read(self._dataset_id, part, ["sample_id", "revision", "offset"])
        return int(pc.sum(self._mine(table, upto)).as_py() or 0)

    async def _end_what_others_began(self) -> None:
        """Shards whose stand-in is there already, and whose deletion was cut short."""
        async for entry in self._objects.list(GAP_PREFIX):
            if sha256 := gap_of(entry.key):
                await self._objects.delete(f"shards/{sha256}.parquet")

    async def _kept(self) -> AsyncIterator[tuple[str, Version]]:
        """Every version that has a manifest, with its key; also those that no reference leads to."""
        async for entry in self._objects.list(manifest_prefix(self._dataset_id)):
            if listed := listed_version(self._dataset_id, entry.key):
                yield entry.key, Version(listed[1], await self._versions.manifest_at(entry.key, listed[1]))

    async def _forget_in(self, version: Version, upto: int) -> None:
        for kind in _KINDS:
            for shard in version.manifest.shards_of(kind):
                if shard.sha256 not in self._replaced and await self._is_in(shard, upto):
                    await self._replace(kind, shard, upto)

    async def _is_in(self, shard: Shard, upto: int) -> bool:
        """Whether the shard has rows of it; each is looked into once, however many versions share it."""
        if not shard.may_hold(self._sample_id) or (digest := bytes.fromhex(shard.sha256)) in self._without:
            return False
        if await asyncio.to_thread(self._holds, shard, upto):
            return True
        self._without.add(digest)
        return False

    def _holds(self, shard: Shard, upto: int) -> bool:
        try:
            with self._objects.open(shard.key) as handle:
                return bool(pc.any(self._mine(key_columns(handle, shard), upto)).as_py())
        except ObjectMissing as error:
            raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error

    async def _replace(self, kind: RowKind, shard: Shard, upto: int) -> None:
        with scratch_folder("forget") as folder:
            path = folder / "shard.parquet"
            await self._versions.download(shard, path)
            left = await asyncio.to_thread(self._written, LocalShard(path, shard), folder, upto)
            first_row = await asyncio.to_thread(self._first_row, LocalShard(path, shard), upto)
            if left is not None:
                watch = await SweepWatch.begun(self._objects)
                lay_there = await self._objects.stat(left.shard.key) is not None
                await self._objects.put_file(left.shard.key, left.path)
                if lay_there:
                    await watch.require_none()
        gap = Gap(
            dataset=self._dataset_id,
            kind=kind,
            shard=shard.sha256,
            replacement=left.shard if left else None,
            rows=shard.rows - (left.shard.rows if left else 0),
            first_row=first_row,
            sample_sha256=sample_digest(self._sample_id),
        )
        if not await self._objects.put_if_absent(gap_key(shard.sha256), record_bytes(gap)):
            raced = await read_gap(self._objects, shard.sha256)
            raise CannotForget(f"{shard.key}: someone else forgets a sample in it ({raced and raced.dataset}): try again")
        await self._objects.delete(shard.key)
        self._replaced[shard.sha256] = gap.rows

    def _written(self, local: LocalShard, folder: Path, upto: int) -> LocalShard | None:
        tables = (pa.Table.from_batches([batch]) for batch in read_shard(local.path, local.shard, None, _BATCH_ROWS))
        left = (self._others(table, upto) for table in tables)
        return next(write_shards(left, folder, _WHOLE, local.shard.group), None)

    def _first_row(self, local: LocalShard, upto: int) -> int:
        """Rows are in order of sample ids and then of revisions, so those that go lie side by side."""
        with local.path.open("rb") as handle:
            return int(pc.index(self._mine(key_columns(handle, local.shard), upto), True).as_py())

    async def _forget_staged(self, upto: int) -> int:
        """Versions took these segments in long ago; a cutter that still reads one finds it whole, without the rows."""
        count = 0
        async for entry in self._objects.list(staging_prefix(self._dataset_id)):
            segment = segment_from(entry.key)
            if (
                segment is not None
                and stem_of(segment.stream) != RETRACTED_STREAM
                and await asyncio.to_thread(self._segment_holds, entry.key, upto)
            ):
                table = read_segment((await self._objects.get(entry.key, bytes_max=SEGMENT_BYTES_MAX)).body, entry.key)
                await self._objects.put(entry.key, await asyncio.to_thread(write_segment, self._others(table, upto)))
                count += 1
        return count

    def _segment_holds(self, key: str, upto: int) -> bool:
        try:
            with self._objects.open(key) as handle, parquet(handle, key) as file:
                return bool(pc.any(self._mine(file.read(columns=["sample_id", "revision"]), upto)).as_py())
        except ObjectMissing:
            return False

    def _others(self, table: pa.Table, upto: int) -> pa.Table:
        return table.filter(pc.invert(self._mine(table, upto)))

    def _mine(self, table: pa.Table, upto: int) -> pa.ChunkedArray:
        return pc.and_(pc.equal(table["sample_id"], self._sample_id), pc.less_equal(table["revision"], upto))
