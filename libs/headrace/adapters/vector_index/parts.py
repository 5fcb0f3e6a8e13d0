"""A collection of the engine in process that grows without stalling: a young part that is written, older ones with graphs.

The engine builds a graph only when told to, and while it builds (seconds to minutes) it lets no other thread of the process
run. So points go into a young part, which lies in memory and in a log; once it is full it is sealed, and a process of its own
merges sealed parts into one of the engine's shards and builds its graph, which then takes their place. Parts grow
geometrically: a search visits a handful of them, however many points there are. Sealed parts stay in memory until they are
built: whoever writes asks how many they are (`unbuilt`), and waits while they are too many.

What counts is written in `parts.json`, replaced in one step; folders it does not name are left-overs of a death and go.
"""

import json
import logging
import os
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import cast

from headrace.adapters.vector_index.building import Build, to_merge
from headrace.adapters.vector_index.durable import sync
from headrace.adapters.vector_index.engine import Hit, Point, Search
from headrace.adapters.vector_index.part import BuiltPart, GrowingPart, Part, holds_log, in_turns

_log = logging.getLogger("headrace.vector_index")
TABLE = "parts.json"
_AGAIN_S = 5.0
_AGAIN_S_MAX = 300.0
"""A build that failed is begun again after a while, twice as long each time up to the most."""


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
        self._build: Build | None = None
        self._failures = 0
        self._watcher: threading.Thread | None = None
        self._closing = threading.Event()
        if (path / TABLE).exists():
            self._open()
        else:
            self._dimensions = dimensions
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            sync(path.parent)
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

    @property
    def unbuilt(self) -> int:
        """How many full parts wait for their graph, in memory. Safe to ask while another thread writes or searches."""
        return sum(not part.built for part in tuple(self._parts)[:-1])

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
            self._closing.set()
            if self._build is not None:
                self._build.kill()
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
        if not isinstance(self._parts[-1], GrowingPart):  # the engine wrote it, for an earlier release
            self._begin_part()
        self._begin_build()

    def _begin_part(self) -> None:
        part = GrowingPart(self._new_path(), self._dimensions)
        self._parts.append(part)
        try:
            part.sync()  # the table, which is on the disk from now on, names it
            sync(part.path)
            self._write_table()
        except OSError:
            self._parts.pop()  # what is written to a part that the table does not name goes with the next start
            part.close()
            raise

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
        sync(self._path)  # before anything goes that the table named

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
        unbuilt = [n for n, part in enumerate(sealed) if not part.built]
        if self._build is not None or self._closing.is_set() or not unbuilt:
            return
        taken = to_merge([part.count(None) for part in sealed], len(sealed) - unbuilt[0])
        self._build = Build(sealed[-taken:], self._new_path(), self._new_path())
        self._build.start()
        self._watcher = threading.Thread(target=self._await_build, args=(self._build,), name="merge", daemon=True)
        self._watcher.start()

    def _await_build(self, build: Build) -> None:
        """Takes what is built; where that failed, the sources stay, and their build is begun again after a while."""
        try:
            taken = self._taken(build)
        except Exception:  # noqa: BLE001  # whatever the disk or the engine says: else nothing would be built from now on
            _log.exception("what was merged into %s cannot be taken", build.target)
            taken = False
        if not taken:
            build.discard()
        self._failures = 0 if taken else self._failures + 1
        if self._failures and not self._closing.is_set():
            again_s = min(_AGAIN_S_MAX, _AGAIN_S * 2.0 ** min(self._failures - 1, 16))
            _log.error("a merge of %s failed: it is begun again in %g s, nothing is lost", self._path, again_s)
            self._closing.wait(again_s)
        with self._lock:
            self._build = None
            self._begin_build()
        if taken:
            for part in build.sources:  # nobody can reach them any more
                part.close()
                shutil.rmtree(part.path, ignore_errors=True)  # what is left goes with the next start

    def _taken(self, build: Build) -> bool:
        """Puts what was built in the place of its sources; False where there is none, or nobody wants it any more."""
        merged = build.result()
        if merged is None:
            return False
        with self._lock:
            if self._closing.is_set():
                merged.close()
                return False
            before = self._parts
            try:
                merged.remove(build.removed)
                merged.sync()  # the sources, which are about to go, lack those already
                at = before.index(build.sources[0])
                self._parts = [*before[:at], merged, *before[at + len(build.sources) :]]
                self._write_table()
            except BaseException:
                self._parts = before
                merged.close()
                raise
        return True


def _best(asked: Search, by_part: Sequence[Sequence[tuple[str, Hit]]]) -> list[Hit]:
    found = {point_id: hit for hits in by_part for point_id, hit in hits}
    return sorted(found.values(), key=lambda hit: -hit.cosine)[: asked.limit]
