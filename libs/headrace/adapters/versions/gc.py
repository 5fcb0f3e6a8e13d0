"""Collecting what nothing refers to: mark from every reference, sweep what is older than a grace period by the store's clock.

Roots are all objects under `refs/`: branches keep their history (or its end, as asked), tags the versions they name. Only
what this module knows is ever deleted: manifests, shards, staged segments, claims, what rounds left behind, scratch objects, and
files of checkpoints that no checkpoint's manifest names, since their publisher died before it wrote one. Of checkpoints whose
weights nobody needs, as the caller knows it, the weights go, and a record stays that says so.

No version refers to what lies under `rounds/`: it belongs to its round, and goes when that has ended long enough ago. The
report stays: it holds in itself what it shows of the rest.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from headrace.adapters.checkpoints.retention import collected_checkpoints, note_collected
from headrace.adapters.versions.gaps import note_pruned
from headrace.adapters.versions.keeping import GRACE_S_MIN, ROUNDS_FOR_S, Keeping
from headrace.adapters.versions.marks import Marked, Marker, TellMarked
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.versions.sweeps import SWEEP_S_MAX, SweepTooLong, store_now, sweeping
from headrace.core.checkpoint_manifests import blob_key
from headrace.core.ports.object_store import ObjectEntry, ObjectStore
from headrace.core.rounds.state import RoundState
from headrace.core.rounds.stored import ROUNDS_PREFIX, report_key, round_prefix
from headrace.core.staged import segment_from

__all__ = ["GRACE_S_MIN", "NOTHING_KNOWN", "ROUNDS_FOR_S", "Elsewhere", "Found", "Garbage", "GarbageCollector", "Keeping"]

CLAIM_PREFIX = "claims/sha256/"

_SHA256_BYTES = 32
_ROUND_PARTS = 3
"""rounds/<dataset>/<round>/..."""


class Garbage(StrEnum):
    """What is deleted, by what it was."""

    MANIFEST = "manifest"
    SHARD = "shard"
    SEGMENT = "segment"
    CLAIM = "claim"
    ROUND = "round object"
    CHECKPOINT_FILE = "checkpoint file"
    WEIGHTS = "weights file"
    SCRATCH = "scratch"


_PREFIXES = {
    Garbage.MANIFEST: "manifests/",
    Garbage.SHARD: "shards/",
    Garbage.SEGMENT: "staging/",
    Garbage.CLAIM: CLAIM_PREFIX,
    Garbage.ROUND: ROUNDS_PREFIX,
    Garbage.CHECKPOINT_FILE: blob_key(""),
    Garbage.SCRATCH: "probes/",
}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the store does not know of its objects; what is None was not looked up, and is left alone.

    `claims` are the hashes of claims in use. `rounds` says when each ended round did so, Unix seconds, by the prefix of its
    objects; those of other rounds are needed. `checkpoints` are the ids of those whose weights nobody needs
    (`headrace.core.checkpoint_retention`); other checkpoints keep all their files.
    """

    claims: Collection[bytes] | None = None
    rounds: Mapping[str, float] | None = None
    checkpoints: Collection[str] = ()


NOTHING_KNOWN = Elsewhere()


def ended_rounds(states: Iterable[RoundState]) -> dict[str, float]:
    """When each round that has ended did so, by the prefix of its objects; a frozen one has not."""
    return {
        round_prefix(state.dataset_id, state.round_id): state.phase_since
        for state in states
        if state.ordinal and not state.running
    }


@dataclass(frozen=True, slots=True)
class Found:
    """One object that nothing refers to."""

    what: Garbage
    entry: ObjectEntry


def _told_to_nobody(_: int) -> None:
    """Progress that nobody follows."""


class GarbageCollector:
    """Collects in one bucket. `tell` follows how many versions were read: all are, before the first object is found."""

    def __init__(
        self,
        objects: ObjectStore,
        keeping: Keeping,
        clock: Callable[[], float] = time.monotonic,
        tell: TellMarked = _told_to_nobody,
    ) -> None:
        self._objects = objects
        self._versions = VersionStore(objects)
        self._keeping = keeping
        self._clock = clock
        self._tell = tell
        self._now = 0.0

    async def find(self, elsewhere: Elsewhere = NOTHING_KNOWN) -> AsyncGenerator[Found]:
        """What would be deleted.

        Raises:
            DamagedVersion: a reference or a manifest cannot be read, so nobody knows what it needs: nothing may be deleted.
            Stop: the store is gone.
        """
        self._now = await store_now(self._objects)
        marked = await self._mark(elsewhere, self._tell)
        async for found in self._garbage(marked, elsewhere):
            yield found

    async def delete(self, elsewhere: Elsewhere = NOTHING_KNOWN) -> AsyncGenerator[Found]:
        """Delete it, and tell each object that went.

        A history that was pruned says so before its first manifest goes, a checkpoint before its first file does.

        Raises:
            SweepRunning: another collection is at work.
            SweepTooLong: reading what is needed took so long that others may take this sweep for a dead one: nothing went.
            DamagedVersion, Stop: as `find` does; what was told before is gone.
        """
        async with sweeping(self._objects):
            began = self._clock()

            def in_time(versions: int) -> None:
                if self._clock() - began > SWEEP_S_MAX:
                    raise SweepTooLong(
                        f"{versions} versions were read in {SWEEP_S_MAX / 3_600:g} h and there are more: nothing was deleted; "
                        "prune old ones (--keep-last, --keep-for)"
                    )
                self._tell(versions)

            self._now = await store_now(self._objects)
            marked = await self._mark(elsewhere, in_time)
            if self._keeping.prunes:
                for dataset_id, sequence in marked.oldest.items():
                    await note_pruned(self._objects, dataset_id, sequence)
            await self._note_collected(marked)
            async for found in self._garbage(marked, elsewhere):
                if self._clock() - began > SWEEP_S_MAX:
                    return
                # Looked at again at the last moment: whoever needs it has made it young since it was listed.
                now_there = await self._objects.stat(found.entry.key)
                if now_there is not None and self._is_old(now_there):
                    await self._objects.delete(found.entry.key)
                    yield found

    async def _mark(self, elsewhere: Elsewhere, tell: TellMarked) -> Marked:
        return await Marker(self._versions, self._keeping, self._now, tell).marked(elsewhere.checkpoints)

    async def _note_collected(self, marked: Marked) -> None:
        """Of checkpoints that have weights to lose: not of those whose weights are young, or shared with one that is needed."""
        if not marked.weights:
            return
        known = await collected_checkpoints(self._objects)
        for (model, checkpoint_id), files in marked.going.items():
            if checkpoint_id in known:
                continue
            for digest in files & marked.weights:
                stat = await self._objects.stat(blob_key(digest.hex()))
                if stat is not None and self._is_old(stat):
                    await note_collected(self._objects, model, checkpoint_id)
                    break

    async def _garbage(self, marked: Marked, elsewhere: Elsewhere) -> AsyncGenerator[Found]:
        unknown = {Garbage.CLAIM: elsewhere.claims is None, Garbage.ROUND: elsewhere.rounds is None}
        for what, prefix in _PREFIXES.items():
            if unknown.get(what, False):
                continue
            async for entry in self._objects.list(prefix):
                if self._is_old(entry) and not self._is_needed(what, entry.key, marked, elsewhere):
                    yield Found(Garbage.WEIGHTS if _sha256_in(entry.key) in marked.weights else what, entry)

    def _is_old(self, entry: ObjectEntry) -> bool:
        return self._now - entry.modified > self._keeping.grace_s

    def _is_needed(self, what: Garbage, key: str, marked: Marked, elsewhere: Elsewhere) -> bool:
        """Whether something refers to the object, or it is none of ours."""
        if what is Garbage.MANIFEST:
            return key in marked.manifests
        if what is Garbage.SEGMENT:
            segment, dataset_id = segment_from(key), key.split("/")[1]
            return segment is None or segment.last > marked.taken.get(dataset_id, {}).get(segment.stream, -1)
        if what is Garbage.ROUND:
            return self._round_needs(key, elsewhere.rounds or {})
        if what is Garbage.SCRATCH:
            return False
        sha256 = _sha256_in(key)
        if what is Garbage.CHECKPOINT_FILE:
            return sha256 is None or sha256 in marked.checkpoint_files
        return sha256 is None or sha256 in (marked.shards if what is Garbage.SHARD else elsewhere.claims or ())

    def _round_needs(self, key: str, ended: Mapping[str, float]) -> bool:
        prefix = "/".join(key.split("/")[:_ROUND_PARTS]) + "/"
        ended_at = ended.get(prefix)
        return ended_at is None or key == report_key(prefix) or self._now - ended_at <= self._keeping.rounds_for_s


def _sha256_in(key: str) -> bytes | None:
    """The hash that an object is named by, as bytes, half the size; None where it is named otherwise."""
    try:
        digest = bytes.fromhex(key.rpartition("/")[2].removesuffix(".parquet"))
    except ValueError:
        return None
    return digest if len(digest) == _SHA256_BYTES else None
