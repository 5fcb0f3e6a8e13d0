"""Marking what is referred to: from every branch and tag to manifests and shards, from every checkpoint to its files.

One manifest is read after the other, and what is kept of it are its key and the hashes of its shards. So a long history takes its
time (about 2 ms of processor time for each version on an S3 server), and memory of some hundred bytes for each.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from headrace.adapters.versions.keeping import Keeping
from headrace.adapters.versions.store import PrunedVersion, VersionStore
from headrace.core.checkpoint_manifests import (
    MANIFEST_BYTES_MAX,
    CheckpointManifest,
    DamagedCheckpoint,
    manifest_from,
)
from headrace.core.checkpoint_retention import WEIGHTS_SUFFIX
from headrace.core.ports.object_store import ObjectMissing, ObjectTooLarge
from headrace.core.topics import require_dataset_id
from headrace.core.versions import REFERENCE_BYTES_MAX, DamagedVersion, Version, manifest_key, stored_from

_CHECKPOINTS = "checkpoints/"
_BRANCH_PARTS = 3
"""refs/<dataset>/<branch>.json; what lies deeper, as tags do, keeps one version and not its history."""

TellMarked = Callable[[int], None]
"""Is told how many versions were read so far, after each."""


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
class Marked:
    """What is referred to. `taken` are the offsets that a version older than the grace period took, by dataset and stream.

    `weights` are the files of weights that only checkpoints without need of them name, `going` those checkpoints: model and id
    with their files.
    """

    manifests: set[str] = field(default_factory=set)
    shards: set[bytes] = field(default_factory=set)
    checkpoint_files: set[bytes] = field(default_factory=set)
    going: dict[tuple[str, str], frozenset[bytes]] = field(default_factory=dict)
    weights: frozenset[bytes] = frozenset()
    taken: dict[str, dict[str, int]] = field(default_factory=dict)
    oldest: dict[str, int] = field(default_factory=dict)
    versions: int = 0


class Marker:
    """Marks in one bucket, at one moment by the store's clock."""

    def __init__(self, versions: VersionStore, keeping: Keeping, now: float, tell: TellMarked) -> None:
        self._versions = versions
        self._objects = versions.objects
        self._keeping = keeping
        self._now = now
        self._tell = tell
        self._marked = Marked()

    async def marked(self, unneeded: Collection[str]) -> Marked:
        """Everything that is needed; of the checkpoints with `unneeded` ids the weights are not.

        Raises:
            DamagedVersion: a reference or a manifest cannot be read, so nobody knows what it needs.
            Stop: the store is gone.
        """
        async for entry in self._objects.list("refs/"):
            root = await self._root(entry.key)
            if root is None:
                continue
            if len(entry.key.split("/")) == _BRANCH_PARTS:
                await self._mark_history(root)
            else:
                self._mark(Version(root.version, await self._versions.manifest_at(root.manifest_key, root.version)))
        await self._mark_checkpoints(unneeded)
        return self._marked

    async def _mark_checkpoints(self, unneeded: Collection[str]) -> None:
        """Every manifest keeps its files, under whatever model's name; one that cannot be read may need any of them."""
        files, going = self._marked.checkpoint_files, self._marked.going
        async for entry in self._objects.list(_CHECKPOINTS):
            if not entry.key.endswith(".json"):
                continue
            checkpoint_id = entry.key.rpartition("/")[2].removesuffix(".json")
            manifest = await self._checkpoint(entry.key, checkpoint_id)
            of_weights = {file.sha256 for file in manifest.files if file.name.endswith(WEIGHTS_SUFFIX)}
            leaving = of_weights if checkpoint_id in unneeded else frozenset()
            files.update(bytes.fromhex(file.sha256) for file in manifest.files if file.sha256 not in leaving)
            if leaving:
                going[manifest.model, checkpoint_id] = frozenset(map(bytes.fromhex, leaving))
        self._marked.weights = frozenset(digest for each in going.values() for digest in each) - files

    async def _checkpoint(self, key: str, checkpoint_id: str) -> CheckpointManifest:
        try:
            stored = await self._objects.get(key, bytes_max=MANIFEST_BYTES_MAX)
            return manifest_from(stored.body, key, checkpoint_id)
        except (DamagedCheckpoint, ObjectMissing, ObjectTooLarge) as error:
            raise DamagedVersion(str(error)) from error

    async def _mark_history(self, root: _Root) -> None:
        marked, nth, key, version = self._marked, 0, root.manifest_key, root.version
        while True:
            age_s = 0.0
            if root.dataset not in marked.taken or self._keeping.asks_for_age(nth):
                age_s = await self._age(key)
            if not self._keeping.keeps(nth, age_s):
                return
            try:
                found = Version(version, await self._versions.manifest_at(key, version))
            except PrunedVersion:
                return
            self._mark(found)
            marked.oldest[root.dataset] = min(found.manifest.sequence, marked.oldest.get(root.dataset, found.manifest.sequence))
            if root.dataset not in marked.taken and age_s > self._keeping.grace_s:
                marked.taken[root.dataset] = dict(found.manifest.inputs)
            if found.manifest.parent is None:
                return
            nth, version = nth + 1, found.manifest.parent
            key = manifest_key(root.dataset, found.manifest.sequence - 1, version)

    async def _age(self, key: str) -> float:
        stat = await self._objects.stat(key)
        return self._now - stat.modified if stat else 0.0

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

    def _mark(self, version: Version) -> None:
        marked = self._marked
        marked.manifests.add(version.manifest_key)
        for shards in version.manifest.shards.values():
            marked.shards.update(bytes.fromhex(shard.sha256) for shard in shards)
        marked.versions += 1
        self._tell(marked.versions)
