"""Sample ids and revisions of many rows, on local disk: written as they pass, looked up once all are there."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from headrace.adapters.scratch import scratch_folder

_RUN_ROWS = 1_000_000
"""Rows whose hashes are sorted at a time: sixteen bytes each in memory."""

_SCHEMA = pa.schema([("sample_id", pa.string()), ("revision", pa.int64())])


class RowKeys:
    """The revisions of each sample id. Memory does not grow with the rows: what is mapped, the system takes back as it likes.

    Writing costs next to nothing, since that is what every reader of a version does; the first look-up sorts hashes of all ids.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch_folder("keys"))
        self._file: pa.NativeFile | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self._files = 0
        self._runs: list[_Run] = []

    def add(self, keys: pa.RecordBatch) -> None:
        """Take in the rows' `sample_id` and `revision`."""
        if not keys.num_rows:
            return
        if self._writer is None:
            self._file = pa.OSFile(str(self._path("arrow")), "wb")
            self._writer = pa.ipc.new_file(self._file, _SCHEMA)
        self._writer.write_batch(pa.record_batch([keys["sample_id"], keys["revision"]], schema=_SCHEMA))

    def revisions(self, sample_id: str) -> Iterator[int]:
        """The revisions of a sample; none where no row has that id."""
        if self._writer is not None:
            self._index()
        number = hash(sample_id)
        for run in self._runs:
            yield from run.revisions(sample_id, number)

    def close(self) -> None:
        """Frees the files. Closing twice does nothing."""
        self._end_file()
        self._runs = []
        self._stack.close()

    def _index(self) -> None:
        self._end_file()
        source = pa.memory_map(str(self._path("arrow")))
        reader = pa.ipc.open_file(source)
        batches: list[pa.RecordBatch] = []
        rows = 0
        for index in range(reader.num_record_batches):
            batches.append(reader.get_batch(index))
            rows += batches[-1].num_rows
            if rows >= _RUN_ROWS:
                self._keep_run(batches)
                batches, rows = [], 0
        if batches:
            self._keep_run(batches)
        self._files += 1

    def _keep_run(self, batches: list[pa.RecordBatch]) -> None:
        path = self._path(f"{len(self._runs)}.hashes")
        self._runs.append(_Run(batches, path))

    def _end_file(self) -> None:
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.close()
        self._writer = self._file = None

    def _path(self, ending: str) -> Path:
        return self._folder / f"keys-{self._files}.{ending}"


class _Run:
    """Rows that lie in a mapped file, and their hashes in order, with the number of the row that each is of."""

    def __init__(self, batches: list[pa.RecordBatch], path: Path) -> None:
        self._batches = batches
        self._begins = np.cumsum([0, *(batch.num_rows for batch in batches)])
        hashes = np.fromiter(
            (hash(each) for batch in batches for each in batch["sample_id"].to_pylist()), np.int64, int(self._begins[-1])
        )
        order = np.argsort(hashes)
        np.stack((hashes[order], order)).tofile(path)
        self._hashes, self._rows = np.memmap(path, np.int64, "r", shape=(2, len(order)))

    def revisions(self, sample_id: str, number: int) -> Iterator[int]:
        at = int(np.searchsorted(self._hashes, number))
        while at < len(self._hashes) and self._hashes[at] == number:
            row = int(self._rows[at])
            index = int(np.searchsorted(self._begins, row, "right")) - 1
            batch, row = self._batches[index], row - int(self._begins[index])
            if batch["sample_id"][row].as_py() == sample_id:  # hashes alone would not be sure
                yield batch["revision"][row].as_py()
            at += 1
