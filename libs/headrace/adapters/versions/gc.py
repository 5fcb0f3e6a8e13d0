"""Collecting what nothing refers to: mark from every reference, sweep what is older than a grace period by the store's clock.

Roots are all objects under `refs/`: branches keep their history (or its end, as asked), tags the versions they name. Only
what this module knows is ever deleted: manifests, shards, staged segments, claims, what rounds left behind, scratch objects, and
files of checkpoints that no checkpoint's manifest names, since their publisher died before it wrote one.

No version refers to what lies under `rounds/`: it belongs to its round, and goes when that has ended long enough ago. The
report stays: it holds in itself what it shows of the rest.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from headrace.adapters.versions.gaps import note_pruned
from headrace.adapters.versions.store import PrunedVersion, VersionStore
from headrace.adapters.versions.sweeps import SWEEP_S_MAX, store_now, sweeping
from headrace.core.checkpoint_manifests import MANIFEST_BYTES_MAX, DamagedCheckpoint, blob_key, manifest_from
from headrace.core.ports.object_store import ObjectEntry, ObjectMissing, ObjectStore, ObjectTooLarge
from headrace.core.rounds.progress import RoundState
from headrace.core.rounds.stored import ROUNDS_PREFIX, report_key, round_prefix
from headrace.core.staged import segment_from
from headrace.core.topics import require_dataset_id
from headrace.core.versions import REFERENCE_BYTES_MAX, DamagedVersion, Version, manifest_key, stored_from

CLAIM_PREFIX = "claims/sha256/"

_CHECKPOINTS = "checkpoints/"
_SHA256_BYTES = 32
_BRANCH_PARTS = 3
"""refs/<dataset>/<branch>.json; what lies deeper, as tags do, keeps one version and not its history."""
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


GRACE_S_MIN = 3_600.0
"""The least grace while anything writes: as long as a cut may take from its first shard to the reference that leads to it, or a
large body until the record that refers to it is visible. Both take seconds to minutes; whatever takes longer may lose objects."""

ROUNDS_FOR_S = 30 * 86_400.0
"""How long what an ended round left behind is kept, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the store does not know of its objects; what is None was not looked up, and is left alone.

    `claims` are the hashes of claims in use. `rounds` says when each ended round did so, Unix seconds, by the prefix of its
    objects; those of other rounds are needed.
    """

    claims: Collection[bytes] | None = None
    rounds: Mapping[str, float] | None = None


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


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept although nothing refers to it, and how much history.

    `grace_s`: nothing younger than this is deleted; below `GRACE_S_MIN` nothing may be writing meanwhile. A branch keeps its
    latest `last` versions and those younger than `for_s` seconds; all of them where neither is set. What a round left behind is
    kept for `rounds_for_s` seconds after its end.
    """

    grace_s: float
    last: int | None = None
    for_s: float | None = None
    rounds_for_s: float = ROUNDS_FOR_S

    @property
    def prunes(self) -> bool:
        return self.last is not None or self.for_s is not None

    def keeps(self, nth: int, age_s: float) -> bool:
        """Whether the `nth` version of a branch (0 is the latest) stays; the latest always does."""
        if nth == 0 or not self.prunes:
            return True
        return nth < (self.last or 0) or (self.for_s is not None and age_s < self.for_s)


class _Root(BaseModel):
    """What branches and tags have in common."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: str
    version: str = Field(pattern="^[0-9a-f]{64}$")
    sequence: int = Field(ge=1)

    @property
    def manifest_key(self) -> str:
        return manifest_key(self.dataset, self.sequence, self.version)


@dataclass(slots=True)
class _Marked:
    """What is referred to. `taken` are the offsets that a version older than the grace period took, by dataset and stream."""

    manifests: set[str] = field(default_factory=set)
    shards: set[bytes] = field(default_factory=set)
    checkpoint_files: set[bytes] = field(default_factory=set)
    taken: dict[str, dict[str, int]] = field(default_factory=dict)
    oldest: dict[str, int] = field(default_factory=dict)


class GarbageCollector:
    """Collects in one bucket."""

    def __init__(self, objects: ObjectStore, keeping: Keeping, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects = objects
        self._versions = VersionStore(objects)
        self._keeping = keeping
        self._clock = clock
        self._now = 0.0

    async def find(self, elsewhere: Elsewhere = NOTHING_KNOWN) -> AsyncGenerator[Found]:
        """What would be deleted.

        Raises:
            DamagedVersion: a reference or a manifest cannot be read, so nobody knows what it needs: nothing may be deleted.
            Stop: the store is gone.
        """
        self._now = await store_now(self._objects)
        marked = await self._mark()
        async for found in self._garbage(marked, elsewhere):
            yield found

    async def delete(self, elsewhere: Elsewhere = NOTHING_KNOWN) -> AsyncGenerator[Found]:
        """Delete it, and tell each object that went. A history that was pruned says so before its first manifest goes.

        Raises:
            SweepRunning: another collection is at work.
            DamagedVersion, Stop: as `find` does; what was told before is gone.
        """
        async with sweeping(self._objects):
            began = self._clock()
            self._now = await store_now(self._objects)
            marked = await self._mark()
            if self._keeping.prunes:
                for dataset_id, sequence in marked.oldest.items():
                    await note_pruned(self._objects, dataset_id, sequence)
            async for found in self._garbage(marked, elsewhere):
                if self._clock() - began > SWEEP_S_MAX:
                    return
                # Looked at again at the last moment: whoever needs it has made it young since it was listed.
                now_there = await self._objects.stat(found.entry.key)
                if now_there is not None and self._is_old(now_there):
                    await self._objects.delete(found.entry.key)
                    yield found

    async def _mark(self) -> _Marked:
        marked = _Marked()
        async for entry in self._objects.list("refs/"):
            root = await self._root(entry.key)
            if root is None:
                continue
            if len(entry.key.split("/")) == _BRANCH_PARTS:
                await self._mark_history(root, marked)
            else:
                manifest = await self._versions.manifest_at(root.manifest_key, root.version)
                _mark_version(Version(root.version, manifest), marked)
        await self._mark_checkpoints(marked)
        return marked

    async def _mark_checkpoints(self, marked: _Marked) -> None:
        """Every manifest keeps its files, under whatever model's name; one that cannot be read may need any of them."""
        async for entry in self._objects.list(_CHECKPOINTS):
            if not entry.key.endswith(".json"):
                continue
            try:
                stored = await self._objects.get(entry.key, bytes_max=MANIFEST_BYTES_MAX)
                manifest = manifest_from(stored.body, entry.key, entry.key.rpartition("/")[2].removesuffix(".json"))
            except (DamagedCheckpoint, ObjectMissing, ObjectTooLarge) as error:
                raise DamagedVersion(str(error)) from error
            marked.checkpoint_files.update(bytes.fromhex(file.sha256) for file in manifest.files)

    async def _mark_history(self, root: _Root, marked: _Marked) -> None:
        nth, key, version = 0, root.manifest_key, root.version
        while True:
            stat = await self._objects.stat(key)
            modified = stat.modified if stat else self._now
            if not self._keeping.keeps(nth, self._now - modified):
                return
            try:
                found = Version(version, await self._versions.manifest_at(key, version))
            except PrunedVersion:
                return
            _mark_version(found, marked)
            marked.oldest[root.dataset] = min(found.manifest.sequence, marked.oldest.get(root.dataset, found.manifest.sequence))
            if root.dataset not in marked.taken and self._now - modified > self._keeping.grace_s:
                marked.taken[root.dataset] = dict(found.manifest.inputs)
            if found.manifest.parent is None:
                return
            nth, version = nth + 1, found.manifest.parent
            key = manifest_key(root.dataset, found.manifest.sequence - 1, version)

    async def _root(self, key: str) -> _Root | None:
        try:
            stored = await self._objects.get(key, bytes_max=REFERENCE_BYTES_MAX)
        except ObjectMissing:  # a tag that was deleted since it was listed
            return None
        except ObjectTooLarge as error:
            raise DamagedVersion(str(error)) from error
        root = stored_from(_Root, stored.body, key)
        require_dataset_id(root.dataset)
        return root

    async def _garbage(self, marked: _Marked, elsewhere: Elsewhere) -> AsyncGenerator[Found]:
        unknown = {Garbage.CLAIM: elsewhere.claims is None, Garbage.ROUND: elsewhere.rounds is None}
        for what, prefix in _PREFIXES.items():
            if unknown.get(what, False):
                continue
            async for entry in self._objects.list(prefix):
                if self._is_old(entry) and not self._is_needed(what, entry.key, marked, elsewhere):
                    yield Found(what, entry)

    def _is_old(self, entry: ObjectEntry) -> bool:
        return self._now - entry.modified > self._keeping.grace_s

    def _is_needed(self, what: Garbage, key: str, marked: _Marked, elsewhere: Elsewhere) -> bool:
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
        sha256 = _digest(key.rpartition("/")[2].removesuffix(".parquet"))
        if what is Garbage.CHECKPOINT_FILE:
            return sha256 is None or sha256 in marked.checkpoint_files
        return sha256 is None or sha256 in (marked.shards if what is Garbage.SHARD else elsewhere.claims or ())

    def _round_needs(self, key: str, ended: Mapping[str, float]) -> bool:
        prefix = "/".join(key.split("/")[:_ROUND_PARTS]) + "/"
        ended_at = ended.get(prefix)
        return ended_at is None or key == report_key(prefix) or self._now - ended_at <= self._keeping.rounds_for_s


def _mark_version(version: Version, marked: _Marked) -> None:
    marked.manifests.add(version.manifest_key)
    marked.shards.update(bytes.fromhex(shard.sha256) for shards in version.manifest.shards.values() for shard in shards)


def _digest(text: str) -> bytes | None:
    """A hash as bytes, half the size; None where the text is none."""
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return None
    return digest if len(digest) == _SHA256_BYTES else None
