"""Cutting a version: a draft becomes the manifest, and the reference moves to it.

Shards first, then the manifest (create-only), then the reference (compare-and-swap): a crash anywhere leaves either the old
or the new version visible, and what it wrote is written again under the same names.
"""

from collections.abc import Sequence

from headrace.adapters.scratch import scratch_folder
from headrace.adapters.versions.draft import CutSettings, Draft
from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import Head, VersionStore
from headrace.adapters.versions.sweeps import SweepWatch
from headrace.core.ports.object_store import ObjectStore
from headrace.core.staged import Slice, Staged
from headrace.core.versions import (
    Cut,
    CutContended,
    DamagedVersion,
    Manifest,
    Reference,
    Version,
    reference_key,
    stored_bytes,
    version_of,
)


class VersionCutter:
    """Cuts versions. Any number of cutters may work on one dataset at once: one moves the reference, the others rebase."""

    def __init__(self, objects: ObjectStore, settings: CutSettings, versions: VersionStore | None = None) -> None:
        self._objects = objects
        self._settings = settings
        self.versions = versions or VersionStore(objects, settings.folder)
        self.staging = StagingArea(objects)

    async def cut(self, dataset_id: str, cut_by: str, rows: int | None = None) -> Cut | None:
        """Cut a version from everything staged, or from exactly the first `rows` decisions behind the head.

        `cut_by` names the event that this answers. Where the head already answers it, or there is nothing (not enough) to
        cut, the head is returned as it is: None while the dataset has none. The first version that is cut from everything
        may be empty.

        Raises:
            CutContended: others were faster, too many times.
            DamagedVersion: an object of the parent, or a staged segment, is missing or altered.
            Stop: the store is gone.
        """
        for _ in range(self._settings.rebases_max):
            await self.versions.gaps.refresh()
            head = await self.versions.head(dataset_id)
            parent = Version(head.version, await self.versions.manifest_at(head.manifest_key, head.version)) if head else None
            if head and parent and head.reference.cut_by == cut_by:
                return await self._answer(parent, new=True)
            staged = await self.staging.since(dataset_id, parent.manifest.inputs if parent else {})
            decided = await self._first(dataset_id, staged.slices(decided=True), rows)
            if decided is None or (parent and not staged.segments):
                return await self._answer(parent, new=False) if parent else None
            # A cut that is cancelled leaves a thread behind that still writes while the folder goes.
            with scratch_folder("cut", self._settings.folder) as folder:
                draft = Draft(self._objects, self.staging, self._settings, folder, dataset_id, parent)
                try:
                    manifest = await draft.manifest(staged, decided, everything=rows is None)
                except DamagedVersion:
                    if head and parent and await self._has_new_gaps(head, parent):
                        continue
                    raise
            if version := await self._commit(manifest, head, cut_by):
                return await self._answer(version, new=True)
        raise CutContended(f"dataset {dataset_id}: others cut a version {self._settings.rebases_max} times in a row")

    async def answered(self, dataset_id: str, cut_by: str) -> Cut | None:
        """The head, where this event led to it already: whoever cut it was killed before it was announced.

        Raises:
            DamagedVersion: its manifest is missing.
            Stop: the store is gone.
        """
        head = await self.versions.head(dataset_id)
        if head is None or head.reference.cut_by != cut_by:
            return None
        manifest = await self.versions.manifest_at(head.manifest_key, head.version)
        return await self._answer(Version(head.version, manifest), new=True)

    async def waiting(self, dataset_id: str) -> Staged:
        """What is staged behind the head. Raises DamagedVersion or Stop."""
        latest = await self.versions.latest(dataset_id)
        return await self.staging.since(dataset_id, latest.manifest.inputs if latest else {})

    async def _has_new_gaps(self, head: Head, parent: Version) -> bool:
        """Whether bytes of the parent were forgotten since it was read: then it is to be read again."""
        await self.versions.gaps.refresh()
        return await self.versions.manifest_at(head.manifest_key, head.version) != parent.manifest

    async def _first(self, dataset_id: str, parts: Sequence[Slice], rows: int | None) -> tuple[Slice, ...] | None:
        """The slices that hold the first so many rows, all of them where `rows` is None; None where there are fewer."""
        if rows is None:
            return tuple(parts)
        taken: list[Slice] = []
        for part in parts:
            offsets = (await self.staging.read(dataset_id, part, ["offset"]))["offset"]
            upto = part.upto if len(offsets) <= rows else offsets[rows - 1].as_py()
            taken.append(Slice(part.segment, part.after, upto))
            rows -= len(offsets)
            if rows <= 0:
                return tuple(taken)
        return None

    async def _commit(self, manifest: Manifest, head: Head | None, cut_by: str) -> Version | None:
        """The manifest as a version that the reference leads to; None where someone else moved the reference."""
        body = stored_bytes(manifest)
        version, watch = Version(version_of(body), manifest), await SweepWatch.begun(self._objects)
        if not await self._objects.put_if_absent(version.manifest_key, body):
            await self._objects.put(version.manifest_key, body)  # by an earlier attempt, perhaps long ago: made young again
            await watch.require_none()
        key = reference_key(manifest.dataset)
        moved = stored_bytes(Reference(dataset=manifest.dataset, version=version.id, sequence=manifest.sequence, cut_by=cut_by))
        if head is None:
            return version if await self._objects.put_if_absent(key, moved) else None
        return version if await self._objects.replace_if_match(key, moved, head.etag) else None

    async def _answer(self, version: Version, *, new: bool) -> Cut:
        stat = await self._objects.stat(version.manifest_key)
        if stat is None:
            raise DamagedVersion(f"{version.manifest_key}: no such object, though the reference names it")
        return Cut(version, stat.modified, new)
