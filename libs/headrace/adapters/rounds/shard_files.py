"""Shards of versions on local disk, verified, for whoever comes back to them: bounded by bytes, least recently used go first."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.adapters.versions.store import VersionStore
from headrace.core.versions import Shard


class ShardFiles:
    """Files in a folder of this process' own. What is in use stays, even above `bytes_max`."""

    def __init__(self, versions: VersionStore, folder: Path, bytes_max: int) -> None:
        self._versions = versions
        self._folder = folder
        self._bytes_max = bytes_max
        self._there: OrderedDict[str, int] = OrderedDict()
        self._in_use: Counter[str] = Counter()
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def held(self, shard: Shard) -> AsyncIterator[Path]:
        """The shard as a local file, for as long as the context lasts.

        Raises:
            DamagedVersion: the shard is missing or altered.
            Stop: the store is gone.
        """
        path = self._folder / f"{shard.sha256}.parquet"
        self._in_use[shard.sha256] += 1
        try:
            async with self._lock:
                if shard.sha256 not in self._there:
                    await self._versions.download(shard, path)
                    self._there[shard.sha256] = shard.size_bytes
                self._there.move_to_end(shard.sha256)
                self._make_room()
            yield path
        finally:
            self._in_use[shard.sha256] -= 1

    def _make_room(self) -> None:
        idle = [sha256 for sha256 in self._there if self._in_use[sha256] <= 0]
        total = sum(self._there.values())
        for sha256 in idle:
            if total <= self._bytes_max:
                break
            total -= self._there.pop(sha256)
            (self._folder / f"{sha256}.parquet").unlink(missing_ok=True)
            del self._in_use[sha256]
