"""What the index names is on the disk before it is named, and is removed after: it opens again after a power failure."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.adapters.vector_index import shard
from headrace.adapters.vector_index.engine import Point
from headrace.adapters.vector_index.log import NAME
from headrace.adapters.vector_index.merging import merge
from headrace.adapters.vector_index.part import GrowingPart
from headrace.adapters.vector_index.parts import TABLE, PartedCollection

DIMENSIONS = 4
Step = tuple[str, Path]


def point(number: int) -> Point:
    return Point(f"00000000-0000-0000-0000-{number:012}", {"sample_id": f"s{number}", "order": number})


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """What was synced, under its name of then, and what got another name, in order."""
    found: list[Step] = []
    sync = os.fsync

    def synced(descriptor: int) -> None:
        found.append(("synced", Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    def noted(rename: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def renamed(source: Path, target: Path) -> None:
            found.append(("renamed", Path(target)))
            rename(source, target)

        return renamed

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", noted(os.rename))
    monkeypatch.setattr(os, "replace", noted(os.replace))
    return found


def test_a_merged_part_is_on_the_disk_before_it_has_its_name(tmp_path: Path, steps: list[Step]) -> None:
    """All its files, also those that were copied and that the engine did not touch, its folders, and then its name."""
    copies = tmp_path / "copies"
    built = shard.create(copies / "000000", DIMENSIONS)
    shard.write(built, [point(n) for n in range(5)], only_new=False)
    built.flush()
    built.close()
    grown = GrowingPart(copies / "000001", DIMENSIONS)
    grown.put([point(n) for n in range(5, 8)])
    grown.close()
    target = tmp_path / "parts" / "merged"
    target.parent.mkdir()
    merge(target, [copies / "000000", copies / "000001"])
    at = steps.index(("renamed", target))
    on_disk = {path for _, path in steps[:at]}
    stored = [target, *target.rglob("*")]
    assert {copies / "000000" / path.relative_to(target) for path in stored} <= on_disk
    assert len(stored) > 10
    assert steps[at + 1 :] == [("synced", target.parent)]


def test_a_table_names_what_is_on_the_disk_and_is_there_itself(tmp_path: Path, steps: list[Step]) -> None:
    """A new part's log and folder come before the table that names it; the table's folder after, and so does a collection's."""
    path = tmp_path / "collection"
    collection = PartedCollection(path, dimensions=DIMENSIONS, young_points_max=1_000)
    collection.close()
    young = path / "part-000001"
    assert steps == [
        ("synced", tmp_path),
        ("synced", young / NAME),
        ("synced", young),
        ("synced", path / f"{TABLE}.new"),
        ("renamed", path / TABLE),
        ("synced", path),
    ]


def test_a_log_that_was_written_anew_stays(tmp_path: Path, steps: list[Step], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is brought to the disk, or the old log could come back without what was written to the new one."""
    monkeypatch.setattr("headrace.adapters.vector_index.part._GARBAGE_BYTES", 0)
    part = GrowingPart(tmp_path / "part", DIMENSIONS)
    while not steps:
        part.put([point(1)])
    part.close()
    new, renamed, folder = (tmp_path / "part" / f"{NAME}.new", tmp_path / "part" / NAME, tmp_path / "part")
    assert steps == [("synced", new), ("renamed", renamed), ("synced", folder)]


def test_what_was_removed_during_a_merge_is_on_the_disk_before_its_sources_go(tmp_path: Path, steps: list[Step]) -> None:
    """Else a power failure would bring it back."""
    collection = PartedCollection(tmp_path / "collection", dimensions=DIMENSIONS, young_points_max=5)
    with collection._lock:  # nothing is taken meanwhile
        collection.add([point(n) for n in range(5)])
        assert collection._build is not None
        merged, sources = collection._build.target, collection._build.sources
        assert collection.remove_below("order", 2) == 2
        steps.clear()
    deadline = time.monotonic() + 60
    while sources[0].path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    collection.close()
    taken = steps.index(("renamed", tmp_path / "collection" / TABLE))
    assert any(path.is_relative_to(merged / "wal") for done, path in steps[:taken] if done == "synced")
