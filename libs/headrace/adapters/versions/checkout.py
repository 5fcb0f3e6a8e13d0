"""Copying a version's rows into a folder that `datasets.load_dataset("parquet", ...)` reads."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from headrace.adapters.versions.sample_rows import DECIDED_SCHEMA
from headrace.adapters.versions.shards import verify_file
from headrace.adapters.versions.store import VersionStore
from headrace.core.versions import DamagedVersion, Manifest, RowKind, Shard


async def checkout(versions: VersionStore, manifest: Manifest, folder: Path, kinds: Iterable[RowKind]) -> list[Path]:
    """Write each kind's shards as `<kind>-<number>-of-<count>.parquet`, verified, and return the paths; the folder is made.

    A file that is there already and right is kept, so that a checkout that broke off goes on. Without accepted (rejected) rows
    there is one file without rows.

    Raises:
        ValueError: the folder holds files of a kind that are not this version's: they would be read as its rows.
        DamagedVersion: a shard is missing or altered.
        Stop: the store is gone.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    kinds = tuple(dict.fromkeys(kinds))
    planned = {kind: _names(kind, manifest) for kind in kinds}
    for kind, names in planned.items():
        _require_no_others(folder, kind, names)
    files = []
    for kind, names in planned.items():
        shards = manifest.shards_of(kind)
        for index, name in enumerate(names):
            files.append(folder / name)
            if shards:
                await _fetched(versions, shards[index], files[-1])
            else:
                await asyncio.to_thread(pq.write_table, DECIDED_SCHEMA.empty_table(), files[-1])
    return files


def _names(kind: RowKind, manifest: Manifest) -> list[str]:
    count = len(manifest.shards_of(kind)) or (1 if kind in {RowKind.ACCEPTED, RowKind.REJECTED} else 0)
    return [f"{kind.value}-{index:05}-of-{count:05}.parquet" for index in range(count)]


def _require_no_others(folder: Path, kind: RowKind, names: list[str]) -> None:
    others = sorted(path.name for path in folder.glob(f"{kind.value}-*.parquet") if path.name not in names)
    if others:
        raise ValueError(
            f"{folder / others[0]} belongs to another version and would be read as part of this one: name an empty folder"
        )


async def _fetched(versions: VersionStore, shard: Shard, path: Path) -> None:
    if path.exists() and path.stat().st_size == shard.size_bytes:  # noqa: ASYNC240 - one look at a local file
        try:
            await asyncio.to_thread(verify_file, path, shard)
        except DamagedVersion:
            pass  # of another version or cut short: it is written anew
        else:
            return
    part = path.with_suffix(".part")
    await versions.download(shard, part)
    part.replace(path)
