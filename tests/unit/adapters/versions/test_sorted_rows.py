"""Sorting on local disk, and counting what has come."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.versions import sorted_rows
from headrace.adapters.versions.key_hashes import WantedRows, key_hashes
from headrace.adapters.versions.sorted_rows import RowSorter, latest_revisions, merge_sorted

Row = tuple[str, int, str, int]

IDS = st.text("abc\u00e9", min_size=1, max_size=3)
ROWS = st.lists(st.tuples(IDS, st.integers(0, 12), st.sampled_from(["decided/00000", "decided/00010"]), st.integers(0, 2**40)))
NAMES = ["sample_id", "revision", "stream", "offset"]


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(NAMES, row, strict=True)) for row in rows], pa.schema(
        [("sample_id", pa.string()), ("revision", pa.int64()), ("stream", pa.string()), ("offset", pa.int64())]
    ))  # fmt: skip


def rows_of(tables) -> list[Row]:
    return [tuple(row[name] for name in NAMES) for each in tables for row in each.to_pylist()]


def in_order(row: Row) -> tuple[bytes, int, str, int]:
    return row[0].encode(), *row[1:]


@given(batches=st.lists(ROWS, max_size=24), run_bytes=st.integers(1, 400))
def test_rows_come_out_in_order_however_many_runs_they_were_written_in(batches, run_bytes, tmp_path_factory):
    """Runs are merged in several levels and the order is that of all rows at once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sorted_rows, "RUNS_MAX", 3)
        patched.setattr(sorted_rows, "BATCH_BYTES", 120)
        patched.setattr(sorted_rows, "MERGE_BYTES", 500)
        sorter = RowSorter(tmp_path_factory.mktemp("runs"), run_bytes)
        for batch in batches:
            sorter.add(table(batch))
        everything = [row for batch in batches for row in batch]
        assert sorter.rows == len(everything)
        assert rows_of(sorter.tables()) == sorted(everything, key=in_order)


def test_no_more_runs_are_left_than_may_be_merged_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run is merged with others of its size, so that files stay few however many rows there are."""
    monkeypatch.setattr(sorted_rows, "RUNS_MAX", 4)
    sorter = RowSorter(tmp_path, run_bytes=1)
    for number in range(63):
        sorter.add(table([(f"{number * 37 % 63:02}", 0, "decided/00000", number)]))
        assert len(list(tmp_path.iterdir())) <= 3 * 3
    assert [row[0] for row in rows_of(sorter.tables())] == [f"{number:02}" for number in range(63)]
    assert not list(tmp_path.iterdir()), "runs that were read are gone"


@given(sources=st.lists(ROWS, max_size=5))
def test_merging_keeps_every_row(sources):
    """Tables that are in order become one that is."""
    ordered = [sorted(rows, key=in_order) for rows in sources]
    merged = merge_sorted(iter([table(rows[:2]), table(rows[2:])]) for rows in ordered)
    assert rows_of(merged) == sorted((row for rows in sources for row in rows), key=in_order)


@given(rows=ROWS, size=st.integers(1, 5))
def test_the_last_row_of_each_sample_is_left(rows, size):
    """Wherever tables end."""
    ordered = sorted(rows, key=in_order)
    latest = {row[0]: row for row in ordered}
    tables = [table(ordered[start : start + size]) for start in range(0, len(ordered), size)]
    assert rows_of(latest_revisions(tables)) == list(latest.values())


@given(wanted=st.lists(IDS), came=st.lists(st.lists(IDS), max_size=4))
def test_wanted_rows_have_all_come_when_each_was_seen(wanted, came):
    """Repetitions on either side change nothing."""

    def hashes(ids: list[str]):
        return key_hashes(table([(each, 0, "decided/00000", 0) for each in ids]))

    rows = WantedRows([hashes(wanted[:1]), hashes(wanted[1:])])
    for ids in came:
        assert list(rows.come(hashes(ids))) == [each in wanted for each in ids]
    assert rows.all_came == (set(wanted) <= {each for ids in came for each in ids})


def test_nothing_wanted_has_come():
    """A cut that accepts nothing waits for nothing."""
    rows = WantedRows([])
    assert rows.all_came
    assert not rows.come(np.array([1, 2])).any()
