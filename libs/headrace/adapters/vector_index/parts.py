"""A collection of the engine in process that grows without stalling: a young part that is written, older ones with graphs.

The engine builds a graph only when told to, and while it builds (seconds to minutes) it lets no other thread of the process
run. So points go into a young part, which is scanned in memory; once it is full it is sealed, and a process of its own
merges sealed parts and builds the graph of the result, which then takes their place. Parts grow geometrically: a search
visits a handful of them, however many points there are.

What counts is written in `parts.json`, replaced in one step; folders it does not name are left-overs of a death and go.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from headrace.adapters.vector_index import shard
from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT, Hit, Point, Search
from headrace.adapters.vector_index.recent import RecentVectors

_log = logging.getLogger("headrace.vector_index")
TABLE = "parts.json"
_SEARCHES_AT_A_TIME = 64
"""The engine holds the interpreter's lock while it searches: short turns let the event loop keep its heartbeats."""

_WRITTEN_ONCE = frozenset({"matrix.dat", "quantized.data"})
"""Vectors of a part that has its graph: most of it. What is removed from it is noted elsewhere."""

_MERGING = "headrace.adapters.vector_index.merging"

Item = TypeVar("Item")


@dataclass(eq=False, slots=True)
class _Part:
    """A shard; `recent` holds its vectors for as long as it has no graph."""

    path: Path
    handle: Any
    recent: RecentVectors | None

    @property
    def built(self) -> bool:
        return self.recent is None

    @property
    def points(self) -> int:
        return shard.count(self.handle, None)

    def search(self, searches: Sequence[Search]) -> list[list[tuple[str, Hit]]]:
        return shard.search(self.handle, searches) if self.recent is None else self.recent.search(searches)

    def write(self, points: Sequence[Point], *, only_new: bool) -> None:
        shard.write(self.handle, points, only_new=only_new)
        if self.recent is not None:
            self.recent.put(points)

    def remove(self, ids: Collection[str]) -> None:
        shard.remove(self.handle, ids)
        if self.recent is not None:
            self.recent.remove(ids)


@dataclass(eq=False, slots=True)
class _Build:
    """A merge under way: its sources, its target, and the ids taken out of the sources since it began."""

    sources: list[_Part]
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
            self._parts = [self._new_part()]
            self._write_table()

    # Reading

    def get(self, ids: Sequence[str], *, vectors: bool) -> dict[str, Point]:
        found: dict[str, Point] = {}
        with self._lock:
            for part in self._parts:  # oldest first: where a death left a point in two parts, the younger one counts
                found.update(shard.get(part.handle, ids, vectors=vectors))
        return found

    def find(self, any_of: Mapping[str, Collection[str | int]], *, vectors: bool) -> list[Point]:
        found: dict[str, Point] = {}
        if not any(any_of.values()):
            return []
        condition = shard.any_of(any_of)
        with self._lock:
            for part in self._parts:
                for page in shard.scroll(part.handle, condition, [CONVERSATION] if vectors else []):
                    found.update((point.id, point) for point in page)
        return list(found.values())

    def search(self, searches: Sequence[Search]) -> list[list[Hit]]:
        found: list[list[Hit]] = []
        for some in _in_turns(searches, _SEARCHES_AT_A_TIME):
            with self._lock:
                by_part = [part.search(some) for part in self._parts]
            found += [_best(each, [hits[n] for hits in by_part]) for n, each in enumerate(some)]
        return found

    def tally(self, field_name: str, values: Collection[str]) -> dict[str, int]:
        with self._lock:
            return {
                value: sum(shard.count(part.handle, shard.any_of({field_name: [value]})) for part in self._parts)
                for value in values
            }

    def count(self, field_name: str | None) -> int:
        condition = None if field_name is None else shard.having(field_name)
        with self._lock:
            return sum(shard.count(part.handle, condition) for part in self._parts)

    def least(self, field_name: str) -> int | None:
        with self._lock:
            values = [shard.least(part.handle, field_name) for part in self._parts]
        return min((value for value in values if value is not None), default=None)

    # Writing

    def add(self, points: Sequence[Point]) -> None:
        """Write those points whose ids are in no part."""
        with self._lock:
            there = self.get([point.id for point in points], vectors=False)
            self._young.write([point for point in points if point.id not in there], only_new=True)
            self._seal_if_full()

    def put(self, points: Sequence[Point]) -> None:
        """Write points; those of the same ids in older parts go afterwards, so that there is never none."""
        with self._lock:
            self._young.write(points, only_new=False)
            self._remove_from_sealed([point.id for point in points])
            self._seal_if_full()

    def remove_below(self, field_name: str, bound: int) -> int:
        condition = shard.below(field_name, bound)
        with self._lock:
            ids = {point.id for part in self._parts for page in shard.scroll(part.handle, condition, []) for point in page}
            for some in _in_turns(list(ids)):
                self._young.remove(some)
                self._remove_from_sealed(some)
            return len(ids)

    def sync(self) -> None:
        """Bring the write-ahead logs to the disk, so that what was written survives the death of the machine too.

        The engine's own flush would do more than that, and let no other thread run meanwhile.
        """
        with self._lock:
            logs = [path for part in self._parts for path in (part.path / "wal").glob("open-*")]
        for path in logs:
            with suppress(FileNotFoundError), path.open("rb") as log:  # merged meanwhile: what it led to is on the disk
                os.fsync(log.fileno())

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
                part.handle.close()
            self._parts = []

    # Parts

    @property
    def _young(self) -> _Part:
        return self._parts[-1]

    def _open(self) -> None:
        table = json.loads((self._path / TABLE).read_text())
        self._dimensions = table["dimensions"]
        self._next = table["next"]
        named = {each["name"] for each in table["parts"]}
        for stray in self._path.iterdir():
            if stray.is_dir() and stray.name not in named:
                shutil.rmtree(stray)
        self._parts = [self._loaded(self._path / each["name"], built=each["built"]) for each in table["parts"]]
        self._begin_build()

    def _new_part(self) -> _Part:
        path = self._new_path()
        return _Part(path, shard.create(path, self._dimensions), RecentVectors(self._dimensions))

    def _loaded(self, path: Path, *, built: bool) -> _Part:
        part = _Part(path, shard.load(path), None if built else RecentVectors(self._dimensions))
        if part.recent is not None:
            for page in shard.scroll(part.handle, None, [PROMPT, CONVERSATION]):
                part.recent.put(page)
        return part

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
            there = shard.get(part.handle, list(ids), vectors=False)
            if there:
                part.remove(there)
                if self._build is not None and part in self._build.sources:
                    self._build.removed.update(there)

    def _seal_if_full(self) -> None:
        if self._young.points < self._young_points_max:
            return
        self._parts.append(self._new_part())
        self._write_table()
        self._begin_build()

    # Merging

    def _begin_build(self) -> None:
        sealed = self._parts[:-1]
        if self._build is not None or self._closed or all(part.built for part in sealed):
            return
        sources = sealed[-to_merge([part.points for part in sealed]) :]
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
            part.handle.close()
            shutil.rmtree(part.path)

    def _merged(self, target: Path, code: int) -> _Part | None:
        """What was built, opened; None where that failed: the sources stay, and are merged once the next part is full."""
        if code != 0:
            if not self._closed:
                _log.error("merging %s ended with code %d; it is tried again once the next part is full", self._path, code)
            return None
        try:
            return self._loaded(target, built=True)
        except shard.DamagedIndex:
            _log.exception("what was merged cannot be opened; it is tried again once the next part is full")
            return None

    def _take(self, merged: _Part, build: _Build) -> None:
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


def _in_turns(everything: Sequence[Item], at_a_time: int = 1_000) -> Iterator[Sequence[Item]]:
    for start in range(0, len(everything), at_a_time):
        yield everything[start : start + at_a_time]


def _best(asked: Search, by_part: Sequence[Sequence[tuple[str, Hit]]]) -> list[Hit]:
    found = {point_id: hit for hits in by_part for point_id, hit in hits}
    return sorted(found.values(), key=lambda hit: -hit.cosine)[: asked.limit]
