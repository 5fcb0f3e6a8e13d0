"""The two kinds of parts: one that grows, in memory and in a log, and one that the engine has built and keeps on the disk."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from headrace.adapters.vector_index import shard
from headrace.adapters.vector_index.durable import sync
from headrace.adapters.vector_index.engine import CONVERSATION, Hit, Point, Search
from headrace.adapters.vector_index.log import NAME, PointLog, written_in
from headrace.adapters.vector_index.recent import RecentPoints

Found = list[list[tuple[str, Hit]]]
"""For each search its hits with their ids, best first."""

Item = TypeVar("Item")

_SEARCHES_AT_A_TIME = 64
"""The engine holds the interpreter's lock while it searches: short turns let the event loop keep its heartbeats."""

_GARBAGE_BYTES = 64 * 1024 * 1024
"""A log is written anew when this much of it is about points that are no more, and most of it is."""

_BYTES_A_POINT = 512
"""About what a point takes in a log beside its vectors."""


def in_turns(everything: Sequence[Item], at_a_time: int = 1_000) -> Iterator[Sequence[Item]]:
    """The same, so many at a time."""
    for start in range(0, len(everything), at_a_time):
        yield everything[start : start + at_a_time]


def holds_log(path: Path) -> bool:
    """Whether the part in a folder is one that grows."""
    return (path / NAME).exists()


def replayed(path: Path, dimensions: int) -> RecentPoints:
    """The points that a part which grows holds by its log.

    Raises:
        DamagedIndex: there is no log, or what is there is none.
    """
    points = RecentPoints(dimensions)
    for written in written_in(path / NAME):
        points.put(written.points)
        points.remove(written.removed)
    return points


class GrowingPart:
    """Everything is in memory; what was written is in the log before it counts here."""

    built = False

    def __init__(self, path: Path, dimensions: int) -> None:
        """A new part, or one that was there.

        Raises:
            DamagedIndex: its log cannot be read.
        """
        self.path = path
        self._dimensions = dimensions
        if path.exists():
            self.points = replayed(path, dimensions)
        else:
            path.mkdir(parents=True)
            self.points = RecentPoints(dimensions)
        self._log = PointLog(path / NAME, dimensions)
        self.get, self.find, self.tally = self.points.get, self.points.find, self.points.tally
        self.count, self.least, self.below = self.points.count, self.points.least, self.points.below
        self.search = self.points.search

    def put(self, points: Sequence[Point]) -> None:
        """Write points, in the place of those of the same ids."""
        self._log.put(points)
        self.points.put(points)
        living = self.points.nbytes + _BYTES_A_POINT * len(self.points)
        if self._log.size > _GARBAGE_BYTES + 2 * living:
            self._write_log_anew()

    def remove(self, ids: Collection[str]) -> None:
        """Remove points, where they are there."""
        there = list(self.points.get(ids, vectors=False))
        self._log.remove(there)
        self.points.remove(there)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        self._log.sync()

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _write_log_anew(self) -> None:
        fresh = self.path / f"{NAME}.new"
        fresh.unlink(missing_ok=True)
        log = PointLog(fresh, self._dimensions)
        try:
            for page in self.points.pages():
                log.put(page)
            log.sync()
            fresh.replace(self.path / NAME)
        except OSError:
            log.close()
            raise
        self._log.close()
        self._log = log
        sync(self.path)  # or a power failure brings the old log back


class BuiltPart:
    """A shard of the engine, with its graph. Nothing is added any more."""

    def __init__(self, path: Path, *, built: bool = True) -> None:
        """Not `built`: one that is there without its graph.

        Raises:
            DamagedIndex: it cannot be read.
        """
        self.path = path
        self.built = built
        self._shard = shard.load(path)
        self._counts: dict[str | None, int] = {}

    def get(self, ids: Sequence[str], *, vectors: bool) -> dict[str, Point]:
        """The points that are there."""
        return shard.get(self._shard, ids, vectors=vectors)

    def find(self, any_of: Mapping[str, Collection[str | int]], *, vectors: bool) -> list[Point]:
        """The points with one of the values in one of the fields, with their conversation vectors."""
        pages = shard.scroll(self._shard, shard.any_of(any_of), [CONVERSATION] if vectors else [])
        return [point for page in pages for point in page]

    def tally(self, field_name: str, values: Collection[str]) -> dict[str, int]:
        """How many points have each of the values."""
        return shard.tally(self._shard, field_name, values)

    def count(self, field_name: str | None) -> int:
        """How many points there are, or how many that have the integer field."""
        if field_name not in self._counts:
            condition = None if field_name is None else shard.having(field_name)
            self._counts[field_name] = shard.count(self._shard, condition)
        return self._counts[field_name]

    def least(self, field_name: str) -> int | None:
        """The least value of an integer field."""
        return shard.least(self._shard, field_name)

    def below(self, field_name: str, bound: int) -> list[str]:
        """The points whose integer field is there and below the bound."""
        return [point.id for page in shard.scroll(self._shard, shard.below(field_name, bound), []) for point in page]

    def search(self, searches: Sequence[Search]) -> Found:
        """The hits of each search."""
        return [hits for some in in_turns(searches, _SEARCHES_AT_A_TIME) for hits in shard.search(self._shard, some)]

    def remove(self, ids: Collection[str]) -> None:
        """Remove points, where they are there."""
        for some in in_turns(list(ids)):
            shard.remove(self._shard, some)
        self._counts.clear()

    def sync(self) -> None:
        """Bring the write-ahead log to the disk. The engine's own flush would do more, and let no other thread run meanwhile."""
        for path in (self.path / "wal").glob("open-*"):
            with suppress(FileNotFoundError), path.open("rb") as log:  # merged meanwhile: what it led to is on the disk
                os.fsync(log.fileno())

    def close(self) -> None:
        """Let go of the files."""
        self._shard.close()


Part = GrowingPart | BuiltPart
