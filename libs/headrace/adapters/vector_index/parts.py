"""A collection of the engine in process that grows without stalling: a young part that is written, older ones with graphs.

The engine builds a graph only when told to, and while it builds (seconds to minutes) it lets no other thread of the process
run. So points go into a young part, which lies in memory and in a log; once it is full it is sealed, and a process of its own
merges sealed parts into one of the engine's shards and builds its graph, which then takes their place. Parts grow
geometrically: a search visits a handful of them, however many points there are.

What counts is written in `parts.json`, replaced in one step; folders it does not name are left-overs of a death and go.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from headrace.adapters.vector_index import log
from headrace.adapters.vector_index.engine import Hit, Point, Search
from headrace.adapters.vector_index.part import BuiltPart, GrowingPart, Part, holds_log, in_turns

_log = logging.getLogger("headrace.vector_index")
TABLE = "parts.json"
_WRITTEN_ONCE = frozenset({"matrix.dat", "quantized.data", log.NAME})
"""Vectors of a part that has its graph: most of it. What is removed from it is noted elsewhere. A log is only added to."""

_MERGING = "headrace.adapters.vector_index.merging"


@dataclass(eq=False, slots=True)
class _Build:
    """A merge under way: its sources, its target, and the ids taken out of the sources since it began."""

    sources: list[Part]
    target: Path
    copies: Path
    process: subprocess.Popen[bytes]
    removed: set[str]


def to_merge(sizes: Sequence[int]) -> int:
    """How many of the sealed parts, sizes given oldest first, the next merge takes from the young end; at least one.

    An older part is taken once the younger ones together are about as large: so each point is merged a logarithmic number
    of times, and the number of parts is logarithmic too.
    """
    taken, total = 1, sizes[-1]
    for size in reversed(sizes[:-1]):
        if size > total * 3 // 2:
            break
        taken, total = taken + 1, total + size
    return taken


class PartedCollection:
    """Blocking; safe to use from several threads. One process at a time may have it open."""

    def __init__(self, path: Path, *, dimensions: int, young_points_max: int) -> None:
        """`dimensions` counts for a new collection only.

        Raises:
            DamagedIndex: a part cannot be read.
        """
        self._path = path
        self._young_points_max = young_points_max
        self._lock = threading.RLock()
        self._build: _Build | None = None
        self._watcher: threading.Thread | None = None
        self._closed = False
        if (path / TABLE).exists():
            self._open()
        else:
            self._dimensions = dimensions
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            self._next = 0
            self._parts: list[Part] = []
            self._begin_part()

    # Reading

    def get(self, ids: Sequence[str], *, vectors: bool) -> dict[str, Point]:
        found: dict[str, Point] = {}
        with self._lock:
            for part in self._parts:  # oldest first: where a death left a point in two parts, the younger one counts
                found.update(part.get(ids, vectors=vectors))
        return found

    def find(self, any_of: Mapping[str, Collection[str | int]], *, vectors: bool) -> list[Point]:
        if not any(any_of.values()):
            return []
        with self._lock:
            return list({point.id: point for part in self._parts for point in part.find(any_of, vectors=vectors)}.values())

    def search(self, searches: Sequence[Search]) -> list[list[Hit]]:
        with self._lock:
            by_part = [part.search(searches) for part in self._parts if part.count(None)]
        return [_best(each, [hits[n] for hits in by_part]) for n, each in enumerate(searches)]

    def tally(self, field_name: str, values: Collection[str]) -> dict[str, int]:
        with self._lock:
            tallies = [part.tally(field_name, values) for part in self._parts]
        return {value: sum(each[value] for each in tallies) for value in values}

    def count(self, field_name: str | None) -> int:
        with self._lock:
            return sum(part.count(field_name) for part in self._parts)

    def least(self, field_name: str) -> int | None:
        with self._lock:
            values = [part.least(field_name) for part in self._parts]
        return min((value for value in values if value is not None), default=None)

    # Writing

    def add(self, points: Sequence[Point]) -> None:
        """Write those points whose ids are in no part."""
        with self._lock:
            there = self.get([point.id for point in points], vectors=False)
            fresh: dict[str, Point] = {}
            for point in points:
                if point.id not in there:
                    fresh.setdefault(point.id, point)
            self._young.put(list(fresh.values()))
            self._seal_if_full()

    def put(self, points: Sequence[Point]) -> None:
        """Write points; those of the same ids in older parts go afterwards, so that there is never none."""
        with self._lock:
            self._young.put(points)
            self._remove_from_sealed([point.id for point in points])
            self._seal_if_full()

    def remove_below(self, field_name: str, bound: int) -> int:
        with self._lock:
            ids = {each for part in self._parts for each in part.below(field_name, bound)}
            for some in in_turns(list(ids)):
                self._young.remove(some)
                self._remove_from_sealed(some)
            return len(ids)

    def sync(self) -> None:
        """Bring what was written to the disk, so that it survives the death of the machine too."""
        with self._lock:
            for part in self._parts:
                part.sync()

    def close(self) -> None:
        """Gives a merge under way up; it begins anew when the collection is opened again."""
        with self._lock:
            self._closed = True
            build = self._build
            if build is not None:
                build.process.kill()
        if self._watcher is not None:
            self._watcher.join()
        with self._lock:
            for part in self._parts:
                part.close()
            self._parts = []

    # Parts

    @property
    def _young(self) -> GrowingPart:
        return cast("GrowingPart", self._parts[-1])  # the last one always is

    def _open(self) -> None:
        table = json.loads((self._path / TABLE).read_text())
        self._dimensions = table["dimensions"]
        self._next = table["next"]
        named = {each["name"] for each in table["parts"]}
        for stray in self._path.iterdir():
            if stray.is_dir() and stray.name not in named:
                shutil.rmtree(stray)
        self._parts = [self._loaded(self._path / each["name"], built=each["built"]) for each in table["parts"]]
        if not isinstance(self._parts[-1], GrowingPart):  # the engine wrote it, as young parts once were
            self._begin_part()
        self._begin_build()

    def _begin_part(self) -> None:
        self._parts.append(GrowingPart(self._new_path(), self._dimensions))
        self._write_table()

    def _loaded(self, path: Path, *, built: bool) -> Part:
        return GrowingPart(path, self._dimensions) if holds_log(path) else BuiltPart(path, built=built)

    def _new_path(self) -> Path:
        self._next += 1
        return self._path / f"part-{self._next:06}"

    def _write_table(self) -> None:
        parts = [{"name": part.path.name, "built": part.built} for part in self._parts]
        text = json.dumps({"dimensions": self._dimensions, "next": self._next, "parts": parts})
        fresh = self._path / f"{TABLE}.new"
        with fresh.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path / TABLE)

    def _remove_from_sealed(self, ids: Collection[str]) -> None:
        for part in self._parts[:-1]:
            there = part.get(list(ids), vectors=False)
            if there:
                part.remove(there)
                if self._build is not None and part in self._build.sources:
                    self._build.removed.update(there)

    def _seal_if_full(self) -> None:
        if self._young.count(None) < self._young_points_max:
            return
        self._begin_part()
        self._begin_build()

    # Merging

    def _begin_build(self) -> None:
        sealed = self._parts[:-1]
        if self._build is not None or self._closed or all(part.built for part in sealed):
            return
        sources = sealed[-to_merge([part.count(None) for part in sealed]) :]
        target, copies = self._new_path(), self._new_path()
        for age, part in enumerate(sources):
            # A copy, because only one process may have a shard open. Under the lock, because files must not change meanwhile;
            # they are as a killed process would leave them, and the log in them makes that good.
            shutil.copytree(part.path, copies / f"{age:06}", copy_function=_copy)
        command = [sys.executable, "-m", _MERGING, str(target), str(copies)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own module, no shell
        self._build = _Build(sources, target, copies, process, set())
        self._watcher = threading.Thread(target=self._await_build, args=(self._build,), name="merge", daemon=True)
        self._watcher.start()

    def _await_build(self, build: _Build) -> None:
        code = build.process.wait()
        if build.process.stdin is not None:
            build.process.stdin.close()
        shutil.rmtree(build.copies, ignore_errors=True)
        merged = self._merged(build.target, code)
        with self._lock:
            self._build = None
            if merged is not None and not self._closed:
                self._take(merged, build)
                self._begin_build()
        if merged is None or self._closed:
            shutil.rmtree(build.target, ignore_errors=True)
            return
        for part in build.sources:  # nobody can reach them any more
            part.close()
            shutil.rmtree(part.path)

    def _merged(self, target: Path, code: int) -> BuiltPart | None:
        """What was built, opened; None where that failed: the sources stay, and are merged once the next part is full."""
        if code != 0:
            if not self._closed:
                _log.error("merging %s ended with code %d; it is tried again once the next part is full", self._path, code)
            return None
        try:
            return BuiltPart(target)
        except log.DamagedIndex:
            _log.exception("what was merged cannot be opened; it is tried again once the next part is full")
            return None

    def _take(self, merged: BuiltPart, build: _Build) -> None:
        """Puts what was built in the place of its sources."""
        if build.removed:
            merged.remove(build.removed)
        at = self._parts.index(build.sources[0])
        self._parts[at : at + len(build.sources)] = [merged]
        self._write_table()


def _copy(source: str, target: str) -> str:
    """Copies a file without filling its holes: the engine's files are mostly holes. Those never written again are linked."""
    name = os.path.basename(source)  # noqa: PTH119 - as shutil gives it
    if name in _WRITTEN_ONCE or name.startswith("closed-"):
        os.link(source, target)
        return target
    with open(source, "rb") as read, open(target, "wb") as write:  # noqa: PTH123 - as shutil gives them
        size = os.fstat(read.fileno()).st_size
        offset = 0
        while offset < size:
            try:
                offset = os.lseek(read.fileno(), offset, os.SEEK_DATA)
            except OSError:  # no data behind this point
                break
            end = os.lseek(read.fileno(), offset, os.SEEK_HOLE)
            while offset < end:
                os.lseek(write.fileno(), offset, os.SEEK_SET)
                offset += os.sendfile(write.fileno(), read.fileno(), offset, end - offset)
        write.truncate(size)
    return target


def _best(asked: Search, by_part: Sequence[Sequence[tuple[str, Hit]]]) -> list[Hit]:
    found = {point_id: hit for hits in by_part for point_id, hit in hits}
    return sorted(found.values(), key=lambda hit: -hit.cosine)[: asked.limit]
