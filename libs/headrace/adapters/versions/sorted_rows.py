"""Sorting more rows than memory holds: sorted runs on local disk, merged batch by batch.

The order is total (sample id, revision, stream, offset), so the same rows come out in the same order however they came in.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

RUN_BYTES = 64 * 1024 * 1024
"""Rows sorted in memory at a time."""

BATCH_BYTES = 1024 * 1024
"""Rows of each run in memory while runs are merged."""

_KEY = "_key"
_LOWEST = "\0"
_DIGITS = 20


class RowSorter:
    """Takes tables of one schema in any order and gives their rows back sorted, once.

    Memory is bounded by `run_bytes` and one batch of each run; the rest lies in `folder`.
    """

    def __init__(self, folder: Path, run_bytes: int = RUN_BYTES) -> None:
        self._folder = folder
        self._run_bytes = run_bytes
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._runs: list[Path] = []
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Take the rows; sorts and writes a run when enough have gathered."""
        if not table.num_rows:
            return
        self.rows += table.num_rows
        self._waiting.append(table)
        self._waiting_bytes += table.nbytes
        if self._waiting_bytes >= self._run_bytes:
            self._spill()

    def tables(self) -> Iterator[pa.Table]:
        """All rows in order, in tables of bounded size."""
        runs = [_run_batches(path) for path in self._runs]
        if self._waiting:
            runs.append(iter(_in_batches(_sorted(pa.concat_tables(self._waiting)))))
            self._waiting = []
        return merged(runs)

    def _spill(self) -> None:
        run = _sorted(pa.concat_tables(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        path = self._folder / f"run-{len(self._runs):05}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, run.schema) as writer:
            for batch in _in_batches(run):
                writer.write_table(batch)
        self._runs.append(path)


def merge_sorted(sources: Iterable[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Merge tables that are each in order; rows keep the columns they came with."""
    return merged([_keyed_all(source) for source in sources])


def merged(runs: list[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Merge keyed runs and take the key off."""
    heads = [_Head(run) for run in runs]
    heads = [head for head in heads if head.table is not None]
    while heads:
        bound = min(head.last_key for head in heads)
        parts = [head.take_up_to(bound) for head in heads]
        heads = [head for head in heads if head.table is not None]
        ripe = pa.concat_tables([part for part in parts if part.num_rows])
        yield ripe.take(pc.sort_indices(ripe[_KEY])).drop_columns([_KEY])


class _Head:
    """The part of a run that is in memory: never empty, until the run is at its end."""

    def __init__(self, run: Iterator[pa.Table]) -> None:
        self._run = run
        self.table: pa.Table | None = None
        self._load()

    @property
    def last_key(self) -> str:
        assert self.table is not None  # noqa: S101 - callers drop heads that are at their end
        key: str = self.table[_KEY][-1].as_py()
        return key

    def take_up_to(self, bound: str) -> pa.Table:
        """The rows with keys up to the bound; the next batch is loaded when none are left."""
        assert self.table is not None  # noqa: S101 - callers drop heads that are at their end
        count = pc.sum(pc.less_equal(self.table[_KEY], bound)).as_py()
        part = self.table.slice(0, count)
        if count < self.table.num_rows:
            self.table = self.table.slice(count)
        else:
            self._load()
        return part

    def _load(self) -> None:
        self.table = next((table for table in self._run if table.num_rows), None)


def _keyed_all(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        yield _keyed(table)


def _keyed(table: pa.Table) -> pa.Table:
    """With one text column whose byte order is the order of the rows: numbers in twenty digits, the lowest character between."""
    numbers = [pc.utf8_lpad(pc.cast(table[name], pa.string()), _DIGITS, "0") for name in ("revision", "offset")]
    key = pc.binary_join_element_wise(table["sample_id"], numbers[0], table["stream"], numbers[1], _LOWEST)
    return table.append_column(_KEY, key)


def _sorted(table: pa.Table) -> pa.Table:
    keyed = _keyed(table)
    return keyed.take(pc.sort_indices(keyed[_KEY]))


def _in_batches(table: pa.Table) -> list[pa.Table]:
    rows = max(1, table.num_rows * BATCH_BYTES // max(1, table.nbytes))
    return [table.slice(start, rows) for start in range(0, table.num_rows, rows)]


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
            yield rows.slice(0, rows.num_rows - 1).filter(pc.not_equal(ids[:-1], ids[1:]))
        held = rows.slice(rows.num_rows - 1)
    if held is not None:
        yield held
