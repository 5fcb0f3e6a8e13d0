"""Sorting more rows than memory holds: sorted runs on local disk, merged many at a time.

The order is total (sample id, revision, stream, offset), so the same rows come out in the same order however they came in.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

RUN_BYTES = 32 * 1024 * 1024
"""Rows sorted in memory at a time."""

BATCH_BYTES = 256 * 1024
"""Rows read at a time."""

MERGE_BYTES = 16 * 1024 * 1024
"""Rows of all runs in memory while they are merged. The more there are, the fewer and larger are the steps that merging takes."""

RUNS_MAX = 128
"""So many runs are merged into a longer one, so that all that are left have room in `MERGE_BYTES`."""

_KEY = "_key"
_LOWEST = "\0"
_DIGITS = 20


class RowSorter:
    """Takes tables of one schema in any order and gives their rows back sorted, once.

    Memory is bounded by `run_bytes` and `MERGE_BYTES`; the rest lies in `folder`.
    """

    def __init__(self, folder: Path, run_bytes: int = RUN_BYTES) -> None:
        self._folder = folder
        self._run_bytes = run_bytes
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._runs: list[list[Path]] = []
        self._written = 0
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Take the rows; sorts and writes a run when enough have gathered."""
        if not table.num_rows:
            return
        self.rows += table.num_rows
        self._waiting.append(table)
        self._waiting_bytes += table.nbytes
        if self._waiting_bytes >= self._run_bytes:
            self._keep(0, _in_batches(self._sorted_waiting()))

    def tables(self) -> Iterator[pa.Table]:
        """All rows in order, in tables of bounded size."""
        runs = [_run_batches(path) for level in self._runs for path in level]
        if self._waiting:
            runs.append(_in_batches(self._sorted_waiting()))
        return _without_key(_merged(runs))

    def _sorted_waiting(self) -> pa.Table:
        waiting = _keyed(pa.concat_tables(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        return _sorted(waiting)

    def _keep(self, level: int, tables: Iterator[pa.Table]) -> None:
        """Write a run. `level` counts how often its rows were merged: runs of one level are of one size, about."""
        path = self._folder / f"run-{self._written:05}.arrow"
        self._written += 1
        first = next(tables)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, first.schema) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
        if level == len(self._runs):
            self._runs.append([])
        self._runs[level].append(path)
        if len(self._runs[level]) == RUNS_MAX:
            runs, self._runs[level] = self._runs[level], []
            self._keep(level + 1, _each_in_batches(_merged([_run_batches(run) for run in runs])))


def merge_sorted(sources: Iterable[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Merge tables that are each in order; rows keep the columns they came with."""
    return _without_key(_merged([_keyed_all(source) for source in sources]))


def _merged(runs: list[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """The rows of keyed runs in order.

    Each step takes all rows up to the lowest of the keys that the runs were read up to. Runs that are read several batches
    ahead are therefore taken up nearly as far in every step, instead of one of them a batch and the others a few rows.
    """
    heads = [head for head in (_Head(run, MERGE_BYTES // len(runs)) for run in runs) if head.fill()]
    while heads:
        reached = [head.last_key for head in heads if not head.is_whole]
        bound = min(reached) if reached else None
        parts = [part for head in heads for part in head.take_up_to(bound)]
        is_one_run = len(heads) == 1
        heads = [head for head in heads if head.fill()]
        yield from parts if is_one_run else [_sorted(pa.concat_tables(parts))]


class _Head:
    """The part of a run that is in memory; in `bytes_ahead` bytes of it or a batch, whichever is more."""

    def __init__(self, run: Iterator[pa.Table], bytes_ahead: int) -> None:
        self._run = run
        self._bytes_ahead = bytes_ahead
        self._bytes = 0
        self._tables: deque[tuple[pa.Table, int]] = deque()
        self.is_whole = False

    @property
    def last_key(self) -> str:
        key: str = self._tables[-1][0][_KEY][-1].as_py()
        return key

    def fill(self) -> bool:
        """Read on; False where the run is at its end and all of it was taken."""
        while not self.is_whole and (not self._tables or self._bytes < self._bytes_ahead):
            table = next(self._run, None)
            if table is None:
                self.is_whole = True
            elif table.num_rows:
                weight = table.nbytes
                self._tables.append((table, weight))
                self._bytes += weight
        return bool(self._tables)

    def take_up_to(self, bound: str | None) -> Iterator[pa.Table]:
        """The rows with keys up to the bound, all of them where it is None."""
        while self._tables:
            table, weight = self._tables.popleft()
            self._bytes -= weight
            count = table.num_rows if bound is None else _rows_up_to(table, bound)
            if count:
                yield table.slice(0, count)
            if count < table.num_rows:
                left = weight - weight * count // table.num_rows
                self._tables.appendleft((table.slice(count), left))
                self._bytes += left
                return


def _rows_up_to(table: pa.Table, bound: str) -> int:
    keys = table[_KEY]
    return bisect_right(range(table.num_rows), bound, key=lambda row: keys[row].as_py())


def _without_key(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        yield table.drop_columns([_KEY])


def _keyed_all(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        yield _keyed(table)


def _keyed(table: pa.Table) -> pa.Table:
    """With one text column whose byte order is the order of the rows: numbers in twenty digits, the lowest character between."""
    numbers = [pc.utf8_lpad(pc.cast(table[name], pa.string()), _DIGITS, "0") for name in ("revision", "offset")]
    key = pc.binary_join_element_wise(table["sample_id"], numbers[0], table["stream"], numbers[1], _LOWEST)
    return table.append_column(_KEY, key)


def _sorted(keyed: pa.Table) -> pa.Table:
    return keyed.take(pc.sort_indices(keyed[_KEY]))


def _in_batches(table: pa.Table) -> Iterator[pa.Table]:
    rows = max(1, table.num_rows * BATCH_BYTES // max(1, table.nbytes))
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


def _each_in_batches(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        yield from _in_batches(table)


def _run_batches(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path), "rb") as file:
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(index)])
    path.unlink()


def latest_revisions(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Of rows in order, the last one of each sample id: its highest revision, and of that the last one read."""
    held: pa.Table | None = None
    for table in tables:
        rows = pa.concat_tables([held, table]) if held is not None else table
        if rows.num_rows > 1:
            ids = rows["sample_id"].combine_chunks()
            is_last = pc.not_equal(ids[:-1], ids[1:])
            all_but_held = rows.slice(0, rows.num_rows - 1)
            # Mostly there is one revision of each, and filtering copies every row.
            yield all_but_held if pc.all(is_last).as_py() else all_but_held.filter(is_last)
        held = rows.slice(rows.num_rows - 1)
    if held is not None:
        yield held
