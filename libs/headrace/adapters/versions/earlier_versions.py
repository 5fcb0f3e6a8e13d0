"""The versions that lead to one, by their numbers: a few are read, however many there are."""

from collections.abc import AsyncIterator, Mapping

from headrace.adapters.versions.finder import VersionFinder
from headrace.adapters.versions.gaps import pruned_before
from headrace.adapters.versions.store import VersionStore
from headrace.core.versions import Version


class EarlierVersions:
    """The history of a version, itself included.

    Every method raises DamagedVersion where a manifest on the way is missing or altered, and Stop when the store is gone.
    """

    def __init__(self, versions: VersionStore, version: Version) -> None:
        self.version = version
        self._versions = versions
        self._dataset_id = version.manifest.dataset
        self._finder = VersionFinder(versions.objects, versions.manifest_at, self._dataset_id, version)
        self._inputs: dict[int, Mapping[str, int]] = {version.manifest.sequence: version.manifest.inputs}
        self._first: int | None = None

    async def first_with(self, stream: str, offset: int) -> int:
        """The number of the oldest version that is left and whose inputs reach the offset: they only ever grow."""
        low, high = await self.oldest(), self.version.manifest.sequence
        while low < high:
            middle = (low + high) // 2
            if (await self._inputs_of(middle)).get(stream, -1) >= offset:
                high = middle
            else:
                low = middle + 1
        return low

    async def just_before(self, sequence: int) -> Version | None:
        """The version with the next lower number; None where none is left."""
        return await self._finder.find(str(sequence - 1)) if sequence > await self.oldest() else None

    async def before(self, sequence: int) -> AsyncIterator[Version]:
        """The versions with lower numbers, the nearest first."""
        current = await self.just_before(sequence)
        while current is not None:
            yield current
            current = await self._versions.parent(current)

    async def oldest(self) -> int:
        """The number of the first version, or of the first that pruning left."""
        if self._first is None:
            self._first = min(await pruned_before(self._versions.objects, self._dataset_id), self.version.manifest.sequence)
        return self._first

    async def _inputs_of(self, sequence: int) -> Mapping[str, int]:
        if sequence not in self._inputs:
            self._inputs[sequence] = (await self._finder.find(str(sequence))).manifest.inputs
        return self._inputs[sequence]
