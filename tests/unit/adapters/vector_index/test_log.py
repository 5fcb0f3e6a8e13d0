"""The log of a part: what was written is read again, up to the last record that is whole."""

from pathlib import Path

import numpy as np
import pytest

from headrace.adapters.vector_index import part
from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT, Point
from headrace.adapters.vector_index.log import DamagedIndex, PointLog, Written, dimensions_of, written_in
from headrace.adapters.vector_index.part import GrowingPart

DIMENSIONS = 4


def point(number: int, *, marked: bool = False) -> Point:
    vector = np.arange(number, number + DIMENSIONS, dtype=np.float32)
    vectors = {} if marked else {PROMPT: vector, CONVERSATION: -vector}
    return Point(f"id-{number}", {"settled_at": 5} if marked else {"sample_id": f"s{number}é", "order": number}, vectors)


def told(written: Written) -> list[object]:
    return [(p.id, p.payload, {name: v.tolist() for name, v in p.vectors.items()}) for p in written.points] or list(
        written.removed
    )


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    """Points with their vectors bit for bit, marks, and what was removed; also behind a log that was opened again."""
    log = PointLog(tmp_path / "log", DIMENSIONS)
    log.put([point(1), point(2, marked=True)])
    log.remove(["id-1"])
    log.close()
    log = PointLog(tmp_path / "log", DIMENSIONS)
    log.put([point(3)])
    log.sync()
    log.close()
    expected = [Written([point(1), point(2, marked=True)]), Written(removed=["id-1"]), Written([point(3)])]
    assert [told(each) for each in written_in(tmp_path / "log")] == [told(each) for each in expected]
    assert dimensions_of(tmp_path / "log") == DIMENSIONS


@pytest.mark.parametrize("cut", [1, 5, 13, 40])
def test_a_record_that_was_cut_short_is_dropped(tmp_path: Path, cut: int) -> None:
    """Wherever a death cut the last record, those before it are there, and the log goes on behind them."""
    path = tmp_path / "log"
    log = PointLog(path, DIMENSIONS)
    log.put([point(1)])
    whole = log.size
    log.put([point(2)])
    log.close()
    with path.open("r+b") as file:
        file.truncate(whole + cut)
    log = PointLog(path, DIMENSIONS)
    assert log.size == whole
    log.put([point(3)])
    log.close()
    assert [told(each) for each in written_in(path)] == [told(Written([point(1)])), told(Written([point(3)]))]


def test_a_record_that_was_altered_is_not_believed(tmp_path: Path) -> None:
    """Nor is anything behind it: the checksum tells."""
    path = tmp_path / "log"
    log = PointLog(path, DIMENSIONS)
    log.put([point(1)])
    whole = log.size
    log.put([point(2)])
    log.close()
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert [told(each) for each in written_in(path)] == [told(Written([point(1)]))]
    log = PointLog(path, DIMENSIONS)
    assert log.size == whole
    log.close()


@pytest.mark.parametrize("content", [b"", b"{", b"something else, and long enough"])
def test_what_is_no_log_is_named(tmp_path: Path, content: bytes) -> None:
    """An error with the path and what to do, never an empty part."""
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(DamagedIndex, match="headrace index rebuild"):
        list(written_in(tmp_path / "log"))


def test_a_log_does_not_grow_with_what_is_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that come and go leave a log of bounded size; those that stay are there when it is opened again."""
    monkeypatch.setattr(part, "_GARBAGE_BYTES", 2_000)
    growing = GrowingPart(tmp_path / "part", DIMENSIONS)
    growing.put([point(0)])
    for number in range(1, 200):
        growing.put([point(number)])
        growing.remove([f"id-{number}"])
    [log] = (tmp_path / "part").iterdir()
    assert log.stat().st_size < 2_000 + 4_000
    growing.close()
    again = GrowingPart(tmp_path / "part", DIMENSIONS)
    [kept] = again.get([f"id-{number}" for number in range(200)], vectors=True).values()
    assert told(Written([kept])) == told(Written([point(0)]))
    again.close()
