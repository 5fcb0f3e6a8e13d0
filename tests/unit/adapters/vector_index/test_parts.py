"""Parts of the engine in process: sealed, merged by a process of their own, and put in each other's place without a gap."""

import errno
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headrace.adapters.vector_index import log, parts, shard
from headrace.adapters.vector_index.building import to_merge
from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT, Point, Search
from headrace.adapters.vector_index.part import BuiltPart
from headrace.adapters.vector_index.parts import TABLE, PartedCollection

DIMENSIONS = 8


def vector(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=DIMENSIONS)
    unit: np.ndarray = (values / np.linalg.norm(values)).astype(np.float32)
    return unit


def point(number: int, *, seed: int | None = None) -> Point:
    of = vector(number if seed is None else seed)
    payload: dict[str, str | int] = {
        "sample_id": f"s{number}",
        "content_hash": f"c{number}",
        "prompt_hash": f"p{number % 3}",
        "order": number,
    }
    return Point(f"00000000-0000-0000-0000-{number:012}", payload, {PROMPT: of, CONVERSATION: of})


def opened(path: Path) -> PartedCollection:
    return PartedCollection(path / "collection", dimensions=DIMENSIONS, young_points_max=10)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_rest(collection: PartedCollection) -> bool:
    return all(part.built for part in collection._parts[:-1]) and collection._build is None


def names(collection: PartedCollection) -> set[str]:
    found = collection.find({"prompt_hash": ["p0", "p1", "p2"]}, vectors=False)
    return {str(each.payload["sample_id"]) for each in found}


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [([10], 1), ([11, 10], 2), ([20, 10], 1), ([20, 10, 10], 3), ([80, 20, 10, 10], 3), ([50, 10, 10, 10], 3), ([9, 40, 10], 1)],
)
def test_parts_are_merged_like_digits_are_carried(sizes: list[int], taken: int) -> None:
    """An older part is taken once the younger ones together are about as large."""
    assert to_merge(sizes) == taken


@pytest.mark.parametrize(("sizes", "at_least", "taken"), [([40, 10, 1], 2, 2), ([16, 10, 1], 2, 3), ([40, 10, 0], 1, 1)])
def test_a_part_without_graph_is_merged_however_small_the_younger_ones_are(sizes: list[int], at_least: int, taken: int) -> None:
    """Else the youngest would be merged by itself again and again."""
    assert to_merge(sizes, at_least) == taken


def test_sealed_parts_are_merged_and_answer_as_before(tmp_path: Path) -> None:
    """While and after parts are sealed and merged, every point is found by id, by value and by vector, once."""
    collection = opened(tmp_path)
    for number in range(0, 65, 5):
        collection.add([point(n) for n in range(number, number + 5)])
        assert collection.count(None) == number + 5
        assert names(collection) == {f"s{n}" for n in range(number + 5)}
    until(lambda: at_rest(collection))
    assert len(collection._parts) <= 4
    assert set(collection.get([point(n).id for n in range(70)], vectors=False)) == {point(n).id for n in range(65)}
    for number in (0, 33, 64):
        [hits] = collection.search([Search(PROMPT, vector(number), 3)])
        assert hits[0].payload["sample_id"] == f"s{number}"
        assert hits[0].cosine == pytest.approx(1.0, abs=1e-6)
        [kept] = collection.get([point(number).id], vectors=True).values()
        assert kept.vectors[PROMPT].tobytes() == vector(number).tobytes()
    [below] = collection.search([Search(PROMPT, vector(33), 3, order_below=33)])
    assert all(int(hit.payload["order"]) < 33 for hit in below)
    assert collection.tally("prompt_hash", ["p0", "p9"]) == {"p0": 22, "p9": 0}
    assert collection.least("order") == 0
    collection.close()


def test_points_are_added_once_and_replaced_whole_across_parts(tmp_path: Path) -> None:
    """Adding an id that an older part holds does nothing; putting it takes the older one away."""
    collection = opened(tmp_path)
    collection.add([point(n) for n in range(10)])
    collection.add([point(3, seed=99)])
    assert collection.get([point(3).id], vectors=True)[point(3).id].vectors[PROMPT].tobytes() == vector(3).tobytes()
    collection.put([Point(point(3).id, {"settled_at": 5})])
    assert collection.count(None) == 10
    assert collection.get([point(3).id], vectors=True)[point(3).id].vectors == {}
    assert names(collection) == {f"s{n}" for n in range(10) if n != 3}
    until(lambda: at_rest(collection))
    assert names(collection) == {f"s{n}" for n in range(10) if n != 3}
    assert collection.count("settled_at") == 1
    assert collection.remove_below("settled_at", 5) == 0
    assert collection.remove_below("settled_at", 6) == 1
    assert collection.count(None) == 9
    collection.close()


def test_what_goes_while_a_merge_is_under_way_stays_gone(tmp_path: Path) -> None:
    """Points replaced or removed after the copies were taken do not come back with the merged part."""
    collection = opened(tmp_path)
    collection.add([point(n) for n in range(10)])
    assert collection._build is not None
    collection.put([Point(point(4).id, {"settled_at": 5})])
    assert collection.remove_below("order", 3) == 3
    until(lambda: at_rest(collection))
    assert names(collection) == {f"s{n}" for n in (3, 5, 6, 7, 8, 9)}
    assert collection.count(None) == 7
    collection.close()


def test_everything_is_there_when_it_is_opened_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Closed in the middle of a merge and opened again: the same points, left-overs gone, the merge made up for."""
    collection = opened(tmp_path)
    collection.add([point(n) for n in range(25)])
    collection.close()
    assert not caplog.text, "a merge that is given up is no failure"
    stray = tmp_path / "collection" / "part-999999"
    stray.mkdir()
    (stray / "half").write_text("written")
    collection = opened(tmp_path)
    assert names(collection) == {f"s{n}" for n in range(25)}
    until(lambda: at_rest(collection))
    assert names(collection) == {f"s{n}" for n in range(25)}
    collection.close()
    assert not stray.exists()
    folders = {path.name for path in (tmp_path / "collection").iterdir()} - {TABLE}
    assert len(folders) == 2, "the merged part and the young one"


def test_a_merge_that_fails_loses_nothing_and_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The parts stay as they are, the failure is told, and a while later it goes on by itself."""
    monkeypatch.setattr(parts, "_AGAIN_S", 0.05)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    collection = opened(tmp_path)
    collection.add([point(n) for n in range(10)])
    until(lambda: "begun again in 0.1 s" in caplog.text)
    assert "ended with code 1" in caplog.text
    assert names(collection) == {f"s{n}" for n in range(10)}
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    until(lambda: "cannot be started" in caplog.text)
    monkeypatch.undo()
    until(lambda: at_rest(collection))
    assert len(collection._parts) == 2
    assert names(collection) == {f"s{n}" for n in range(10)}
    collection.close()
    folders = {path.name for path in (tmp_path / "collection").iterdir()} - {TABLE}
    assert len(folders) == 2, "nothing is left of the merges that failed"


def test_a_merge_that_is_killed_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does where memory runs short."""
    monkeypatch.setattr(parts, "_AGAIN_S", 0.05)
    collection = opened(tmp_path)
    collection.add([point(n) for n in range(10)])
    assert collection._build is not None
    assert collection.unbuilt == 1
    process = collection._build._process
    assert process is not None
    process.kill()
    until(lambda: at_rest(collection))
    assert collection.unbuilt == 0
    assert names(collection) == {f"s{n}" for n in range(10)}
    collection.close()


@pytest.mark.parametrize("failing", ["remove", "sync", "table"])
def test_a_merge_that_cannot_be_taken_leaves_all_as_it_was(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, or whatever the engine says: the sources stay and are written to, and a while later it is taken."""

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space") if failing != "remove" else ValueError("the engine says no")

    monkeypatch.setattr(parts, "_AGAIN_S", 0.05)
    collection = opened(tmp_path)
    with monkeypatch.context() as patched:
        if failing != "table":
            patched.setattr(BuiltPart, failing, fails)
        collection.add([point(n) for n in range(10)])
        if failing == "table":  # the full part is sealed already
            patched.setattr(collection, "_write_table", fails)
        until(lambda: "begun again in 0.1 s" in caplog.text)
        assert collection.remove_below("order", 3) == 3
        assert names(collection) == {f"s{n}" for n in range(3, 10)}
        assert collection.unbuilt == 1
    until(lambda: at_rest(collection))
    assert collection.unbuilt == 0
    assert names(collection) == {f"s{n}" for n in range(3, 10)}
    collection.close()
    folders = {path.name for path in (tmp_path / "collection").iterdir()} - {TABLE}
    assert len(folders) == 2, "nothing is left of the merges that were not taken"
    collection = opened(tmp_path)
    assert names(collection) == {f"s{n}" for n in range(3, 10)}
    collection.close()


def test_a_folder_whose_young_parts_the_engine_wrote_opens(tmp_path: Path) -> None:
    """As they were before they had a log: everything is found, the next points go into a log, and all get their graph."""
    folder = tmp_path / "collection"
    for name, numbers in (("part-000001", range(10)), ("part-000002", range(10, 14))):
        young = shard.create(folder / name, DIMENSIONS)
        shard.write(young, [point(n) for n in numbers], only_new=False)
        young.flush()
        young.close()
    named = [{"name": "part-000001", "built": False}, {"name": "part-000002", "built": False}]
    (folder / TABLE).write_text(json.dumps({"dimensions": DIMENSIONS, "next": 2, "parts": named}))
    collection = opened(tmp_path)
    collection.put([Point(point(12).id, {"settled_at": 5})])
    collection.add([point(n) for n in range(10, 16)])
    assert names(collection) == {f"s{n}" for n in range(16) if n != 12}
    until(lambda: at_rest(collection))
    assert names(collection) == {f"s{n}" for n in range(16) if n != 12}
    [hits] = collection.search([Search(CONVERSATION, vector(13), 1, cosine_min=0.999)])
    assert [hit.payload["sample_id"] for hit in hits] == ["s13"]
    collection.close()
    collection = opened(tmp_path)
    assert names(collection) == {f"s{n}" for n in range(16) if n != 12}
    collection.close()


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    """What cannot be read is an error that says what to do."""
    collection = opened(tmp_path)
    collection.add([point(1)])
    [part] = [path for path in (tmp_path / "collection").iterdir() if path.is_dir()]
    collection.close()
    (part / log.NAME).write_text("{")
    with pytest.raises(log.DamagedIndex, match="headrace index rebuild"):
        opened(tmp_path)


def test_the_room_of_removed_points_is_given_back(tmp_path: Path) -> None:
    """A merged part holds no vectors of points that were removed before."""
    wide = np.ones(64, np.float32)
    collection = PartedCollection(tmp_path / "c", dimensions=len(wide), young_points_max=5_000)
    for number in range(0, 4_900, 700):
        collection.add([replace(point(n), vectors={PROMPT: wide, CONVERSATION: wide}) for n in range(number, number + 700)])
    assert collection.remove_below("order", 4_600) == 4_600
    collection.add([replace(point(n), vectors={PROMPT: wide, CONVERSATION: wide}) for n in range(4_900, 10_000)])
    until(lambda: at_rest(collection))
    [merged] = collection._parts[:-1]
    stored = [path for path in merged.path.rglob("*") if path.is_file() and "vector_storage" in str(path)]
    room = sum(path.stat().st_blocks * 512 for path in stored)
    needed = 2 * collection.count(None) * wide.nbytes
    assert room < 1.5 * needed
    collection.close()
