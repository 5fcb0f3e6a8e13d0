"""Qdrant's engine in process: the default index on one machine, no server needed. One process may have a folder open."""

import asyncio
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from headrace.adapters.vector_index.durable import sync
from headrace.adapters.vector_index.engine import Hit, Point, Search
from headrace.adapters.vector_index.parts import TABLE, PartedCollection
from headrace.core.events import Stop

_log = logging.getLogger("headrace.vector_index")
Answer = TypeVar("Answer")

YOUNG_POINTS_MAX = 8_192
"""Points that are scanned in memory before they get a graph: so many cost a search about as much as a graph does."""

FLIGHT_POINTS_MAX = 16_384
"""Pending points and marks that are written before a part of a flight is merged. Marks have no vectors to scan."""

UNBUILT_PARTS_MAX = 6
"""Parts of a collection that are full and have no graph yet: with so many, what writes to it waits."""

BUILD_WAIT_S_MAX = 30.0
"""So long a write waits for a graph before it says Stop."""

_LOOK_S = 0.1
"""How often what waits looks whether it may go on."""


class IndexInUse(OSError):
    """Another process has the index open."""


class EdgeEngine:
    """`Engine` in this process, under one folder.

    What was written survives the death of the process (the logs lie in the page cache), and that of the machine up to the last
    `sync`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        young_points_max: int = YOUNG_POINTS_MAX,
        flight_points_max: int = FLIGHT_POINTS_MAX,
        unbuilt_parts_max: int = UNBUILT_PARTS_MAX,
        build_wait_s_max: float = BUILD_WAIT_S_MAX,
    ) -> None:
        """Raises IndexInUse where another process has the folder open."""
        self._folder = folder
        self._young_points_max = young_points_max
        self._flight_points_max = flight_points_max
        self._unbuilt_parts_max = unbuilt_parts_max
        self._build_wait_s_max = build_wait_s_max
        self._waiting: set[str] = set()
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._held = _hold(folder)
        self._collections: dict[str, PartedCollection] = {}
        for table in sorted(folder.glob(f"*/{TABLE}")):
            name = table.parent.name
            self._collections[name] = self._opened(name, 0, searched=name.endswith(".accepted"))

    async def names(self) -> Collection[str]:
        return tuple(self._collections)

    async def create(self, name: str, dimensions: int, *, searched: bool) -> None:
        await self._in_thread(self._create, name, dimensions, searched)

    async def drop(self, name: str) -> None:
        collection = self._collections.pop(name, None)
        if collection is not None:
            await self._in_thread(_remove, collection, self._folder / name)

    async def add(self, name: str, points: Sequence[Point]) -> None:
        await self._room(name)
        await self._do(name, lambda collection: collection.add(points))

    async def put(self, name: str, points: Sequence[Point]) -> None:
        await self._room(name)
        await self._do(name, lambda collection: collection.put(points))

    async def get(self, name: str, ids: Sequence[str], *, vectors: bool) -> dict[str, Point]:
        return await self._do(name, lambda collection: collection.get(ids, vectors=vectors))

    async def find(self, name: str, any_of: Mapping[str, Collection[str | int]]) -> list[Point]:
        vectors = name.endswith(".accepted")
        return await self._do(name, lambda collection: collection.find(any_of, vectors=vectors))

    async def search(self, name: str, searches: Sequence[Search]) -> list[list[Hit]]:
        return await self._do(name, lambda collection: collection.search(searches))

    async def tally(self, name: str, field_name: str, values: Collection[str]) -> dict[str, int]:
        return await self._do(name, lambda collection: collection.tally(field_name, values))

    async def count(self, name: str, field_name: str | None = None) -> int:
        return await self._do(name, lambda collection: collection.count(field_name))

    async def least(self, name: str, field_name: str) -> int | None:
        return await self._do(name, lambda collection: collection.least(field_name))

    async def remove_below(self, name: str, field_name: str, bound: int) -> int:
        return await self._do(name, lambda collection: collection.remove_below(field_name, bound))

    async def sync(self) -> None:
        """Bring what was written to the disk, so that it survives the death of the machine too."""
        for collection in tuple(self._collections.values()):
            await asyncio.to_thread(collection.sync)

    async def ping(self) -> None:
        """It is here."""

    async def close(self) -> None:
        for collection in self._collections.values():
            await asyncio.to_thread(collection.close)
        self._collections.clear()
        os.close(self._held)

    async def _do(self, name: str, work: Callable[[PartedCollection], Answer]) -> Answer:
        return await self._in_thread(work, self._collections[name])

    async def _in_thread(self, work: Callable[..., Answer], *told: object) -> Answer:
        """What blocks, in a thread of its own.

        Raises:
            Stop: the disk is full, or fails. What was half written is taken back, so whoever comes again loses nothing.
        """
        try:
            return await asyncio.to_thread(work, *told)
        except OSError as error:
            where = f"the vector index in {self._folder} (HEADRACE_DIVERSITY_INDEX_PATH)"
            raise Stop(f"{where} cannot be read or written: {error}") from error

    async def _room(self, name: str) -> None:
        """Returns once a collection may grow. No thread waits: what searches meanwhile needs them.

        Raises:
            Stop: building stays behind, for longer than a write waits.
        """
        collection, until = self._collections[name], time.monotonic() + self._build_wait_s_max
        while (unbuilt := collection.unbuilt) >= self._unbuilt_parts_max:
            behind = f"{unbuilt} full parts of {name} have no graph yet (HEADRACE_DIVERSITY_INDEX_UNBUILT_PARTS_MAX)"
            if name not in self._waiting:
                self._waiting.add(name)
                _log.warning("%s: writing to it waits for the oldest", behind)
            if time.monotonic() >= until:
                raise Stop(behind)
            await asyncio.sleep(_LOOK_S)
        if name in self._waiting:
            self._waiting.remove(name)
            _log.info("%s: writing to it goes on", name)

    def _create(self, name: str, dimensions: int, searched: bool) -> None:  # noqa: FBT001 - passed on to a thread
        with self._lock:
            if name not in self._collections:
                self._collections[name] = self._opened(name, dimensions, searched=searched)

    def _opened(self, name: str, dimensions: int, *, searched: bool) -> PartedCollection:
        young = self._young_points_max if searched else self._flight_points_max
        return PartedCollection(self._folder / name, dimensions=dimensions, young_points_max=young)


def _remove(collection: PartedCollection, path: Path) -> None:
    collection.close()
    (path / TABLE).unlink()  # first: a folder without it is left over and opens as nothing, whatever is gone of it
    sync(path)
    shutil.rmtree(path)


def _hold(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        told = f"{folder} is open in another process: stop the diversity service first (`headrace down`, if it is a local one)"
        raise IndexInUse(told) from error
    return descriptor
