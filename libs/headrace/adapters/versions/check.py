"""Checking that versions are, byte for byte, what their manifests say."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from headrace.adapters.scratch import scratch_folder
from headrace.adapters.versions.store import VersionStore
from headrace.core.versions import DamagedVersion, RowKind, Shard, Version


@dataclass(frozen=True, slots=True)
class Checked:
    """One object that was read and hashed; `damage` says what is wrong with it, empty where nothing is."""

    key: str
    size_bytes: int
    damage: str = ""


async def check(versions: VersionStore, version: Version) -> AsyncIterator[Checked]:
    """Every shard of a version, whatever is wrong with those before it; the manifest was hashed when it was read.

    Raises:
        Stop: the store is gone: nothing can be said.
    """
    with scratch_folder("check", versions.folder) as folder:
        path = folder / "shard.parquet"
        for shard in shards_of(version):
            damage = ""
            try:
                await versions.download(shard, path)
            except DamagedVersion as error:
                damage = str(error)
            yield Checked(shard.key, shard.size_bytes, damage)


async def check_history(versions: VersionStore, version: Version) -> AsyncIterator[Checked]:
    """A version and everything before it, each shard once where versions that follow each other share it.

    A manifest that is damaged or gone is told too, and ends the way back: nothing else names what was before it.

    Raises:
        Stop: the store is gone.
    """
    later: frozenset[str] = frozenset()
    current: Version | None = version
    while current is not None:
        async for checked in check(versions, _without(current, later)):
            yield checked
        later = frozenset(shard.sha256 for shard in shards_of(current))
        try:
            current = await versions.parent(current)
        except DamagedVersion as error:
            yield Checked(str(error).partition(":")[0], 0, str(error))
            return


def shards_of(version: Version) -> list[Shard]:
    """All shards of a version."""
    return [shard for kind in RowKind for shard in version.manifest.shards_of(kind)]


def _without(version: Version, hashes: frozenset[str]) -> Version:
    left = {
        kind: tuple(shard for shard in shards if shard.sha256 not in hashes) for kind, shards in version.manifest.shards.items()
    }
    return Version(version.id, version.manifest.model_copy(update={"shards": left}))
