"""Finding the version that a name stands for, without reading the whole history.

Manifests are listed in the order of their sequence numbers, and their keys tell the ids. A number that only one manifest has
is therefore found at once; where a lost race left a second one, the next version's parent says which of them counts.
"""

from collections.abc import Awaitable, Callable

from headrace.adapters.versions.tags import read_tag
from headrace.core.ports.object_store import ObjectStore
from headrace.core.version_names import NoSuchVersion, VersionName, listed_version, version_name
from headrace.core.versions import MAIN, Manifest, Version, manifest_key, manifest_prefix

NAMED_MAX = 3
"""How many of the versions that an id's beginning could mean are told."""

ReadManifest = Callable[[str, str], Awaitable[Manifest]]
"""The manifest under a key, of a version id."""


class VersionFinder:
    """Finds versions of one dataset behind its latest one, `head`."""

    def __init__(self, objects: ObjectStore, read: ReadManifest, dataset_id: str, head: Version) -> None:
        self._objects = objects
        self._read = read
        self._dataset_id = dataset_id
        self._head = head

    async def find(self, text: str) -> Version:
        """The version of that name (see `version_name`).

        Raises:
            NoSuchVersion: none is called so, or several are.
            DamagedVersion: an object on the way is missing or altered.
            Stop: the store is gone.
        """
        name = version_name(text)
        sequence, version = await self._base(name, text)
        if version is None or name.back:
            if sequence - name.back < 1:
                raise NoSuchVersion(f"dataset {self._dataset_id} has no version {text}: the first is number 1")
            version = await self._at(sequence - name.back, text)
        return await self._version(sequence - name.back, version)

    async def _base(self, name: VersionName, text: str) -> tuple[int, str | None]:
        """Where the way back begins: a sequence number, and the id where it is known already."""
        if name.sequence is not None and (not name.prefix or name.sequence <= self._head.manifest.sequence):
            return name.sequence, None
        if name.prefix:
            return await self._by_prefix(name.prefix)
        if name.reference == MAIN:
            return self._head.manifest.sequence, self._head.id
        tag = await read_tag(self._objects, self._dataset_id, name.reference) if _may_be_tag(name.reference) else None
        if tag is None:
            raise NoSuchVersion(f"dataset {self._dataset_id} has no version {text}, and no tag {name.reference}")
        return tag.sequence, tag.version

    async def _by_prefix(self, prefix: str) -> tuple[int, str]:
        found = []
        async for entry in self._objects.list(manifest_prefix(self._dataset_id)):
            listed = listed_version(self._dataset_id, entry.key)
            if listed and listed[1].startswith(prefix) and await self._counts(*listed):
                found.append(listed)
                if len(found) > NAMED_MAX:
                    break
        if len(found) == 1:
            return found[0]
        if not found:
            raise NoSuchVersion(f"dataset {self._dataset_id} has no version {prefix}")
        could_be = ", ".join(f"{version[: len(prefix) + 6]} (version {sequence})" for sequence, version in found[:NAMED_MAX])
        raise NoSuchVersion(f"{prefix} is the beginning of several versions: {could_be}")

    async def _counts(self, sequence: int, version: str) -> bool:
        """Whether the dataset's history leads to the version: not so to what a lost race or a crash left."""
        return sequence <= self._head.manifest.sequence and await self._at(sequence, version) == version

    async def _at(self, sequence: int, text: str) -> str:
        """The id of the version with that number."""
        at, above = sequence, self._head.manifest.sequence
        while at < above and len(listed := await self._listed(at)) != 1:
            at += 1
        if at > above:
            raise NoSuchVersion(f"dataset {self._dataset_id} has no version {text}: the latest is number {above}")
        version = self._head.id if at == above else listed[0]
        while at > sequence:
            parent = (await self._version(at, version)).manifest.parent
            if parent is None:
                raise NoSuchVersion(f"dataset {self._dataset_id} has no version {text}: its history begins with number {at}")
            at, version = at - 1, parent
        return version

    async def _listed(self, sequence: int) -> list[str]:
        """The ids of all manifests with that number."""
        prefix = f"{manifest_prefix(self._dataset_id)}{sequence:08}-"
        listed = [listed_version(self._dataset_id, entry.key) async for entry in self._objects.list(prefix)]
        return [found[1] for found in listed if found]

    async def _version(self, sequence: int, version: str) -> Version:
        if version == self._head.id:
            return self._head
        return Version(version, await self._read(manifest_key(self._dataset_id, sequence, version), version))


def _may_be_tag(text: str) -> bool:
    return not set(text) <= set("0123456789abcdef")
