"""Reading and writing stated gaps in the object store."""

import time
from collections.abc import Callable

from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge
from headrace.core.version_gaps import (
    GAP_BYTES_MAX,
    GAP_PREFIX,
    CutShard,
    Gap,
    Pruned,
    as_cut,
    filled,
    gap_from,
    gap_key,
    gap_of,
    pruned_from,
    pruned_key,
    record_bytes,
    sample_digest,
)
from headrace.core.versions import DamagedVersion, Manifest, RowKind

_LISTED_S = 1.0
"""How long a listing of gap records is good: a history is read without listing them for each version."""


class VersionGaps:
    """The gaps of one bucket. Records are only ever added; each is read once, and only where a manifest names its shard."""

    def __init__(self, objects: ObjectStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects = objects
        self._clock = clock
        self._listed_at = -_LISTED_S
        self._known: set[str] = set()
        self._gaps: dict[str, Gap] = {}

    async def filled(self, manifest: Manifest) -> Manifest:
        """The manifest as it can be read now. Raises Stop, or DamagedVersion where a record cannot be read."""
        return filled(manifest, self._gaps) if await self._read(manifest) else manifest

    async def shards_as_cut(self, stored: Manifest, kind: RowKind) -> tuple[CutShard, ...]:
        """What is left of each shard of a manifest as it was stored. Raises as `filled` does."""
        await self._read(stored)
        return tuple(as_cut(shard, self._gaps) for shard in stored.shards_of(kind))

    async def hashes(self, stored: Manifest) -> set[str]:
        """The hashes of a stored manifest's shards, and of all that has stood in for them so far. Raises as `filled` does."""
        await self._read(stored)
        found = set[str]()
        for shards in stored.shards.values():
            for shard in shards:
                at: str | None = shard.sha256
                while at is not None:
                    found.add(at)
                    gap = self._gaps.get(at)
                    at = gap.replacement.sha256 if gap and gap.replacement else None
        return found

    def forgot(self, sample_id: str) -> bool:
        """Whether a version that was read through these lacks rows of the sample."""
        digest = sample_digest(sample_id)
        return any(gap.sample_sha256 == digest for gap in self._gaps.values())

    async def _read(self, manifest: Manifest) -> bool:
        """Whether there are gaps in the manifest, which are then known."""
        if self._clock() - self._listed_at >= _LISTED_S:
            await self.refresh()
        wanted = [shard.sha256 for shards in manifest.shards.values() for shard in shards if shard.sha256 in self._known]
        for sha256 in wanted:
            await self._read_chain(sha256)
        return bool(wanted)

    async def refresh(self) -> None:
        """Learns of the records there are now."""
        began = self._clock()
        self._known |= {sha256 async for entry in self._objects.list(GAP_PREFIX) if (sha256 := gap_of(entry.key))}
        self._listed_at = began

    async def _read_chain(self, sha256: str) -> None:
        at: str | None = sha256
        while at is not None and at in self._known:
            if at not in self._gaps:
                gap = await read_gap(self._objects, at)
                if gap is None:
                    raise DamagedVersion(f"{gap_key(at)}: no such object, though it was listed")
                self._gaps[at] = gap
            replacement = self._gaps[at].replacement
            at = replacement.sha256 if replacement else None


async def read_gap(objects: ObjectStore, shard_sha256: str) -> Gap | None:
    """The gap record of a shard, None where it has none. Raises Stop or DamagedVersion."""
    key = gap_key(shard_sha256)
    body = await _body(objects, key)
    return None if body is None else gap_from(body, key)


async def pruned_before(objects: ObjectStore, dataset_id: str) -> int:
    """The lowest number of a version that pruning left; 1 where nothing was pruned. Raises Stop or DamagedVersion."""
    key = pruned_key(dataset_id)
    body = await _body(objects, key)
    return 1 if body is None else pruned_from(body, key).before


async def note_pruned(objects: ObjectStore, dataset_id: str, before: int) -> None:
    """Says that versions below a number are no longer kept; a higher number that was said before stands."""
    if before > await pruned_before(objects, dataset_id):
        await objects.put(pruned_key(dataset_id), record_bytes(Pruned(dataset=dataset_id, before=before)))


async def _body(objects: ObjectStore, key: str) -> bytes | None:
    try:
        return (await objects.get(key, bytes_max=GAP_BYTES_MAX)).body
    except ObjectMissing:
        return None
    except ObjectTooLarge as error:
        raise DamagedVersion(str(error)) from error
