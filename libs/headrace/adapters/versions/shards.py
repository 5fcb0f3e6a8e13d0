"""Shards: Parquet files named by their hash. The same rows give the same bytes.

That holds for one release of pyarrow (its version is written into each file), with the options below: where a row group ends
depends on the rows alone, never on how they were handed over.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.core.versions import DamagedVersion, Shard

_FLOAT32_BYTES = 4
_SMALL_COLUMNS_BYTES = 256
"""What a row weighs beside its dossier."""

_SEARCHED = ["sample_id", "revision", "content_hash", "verdict", "reason", "policy_version", "model", "model_version",
             "loss_mean", "prompt_tokens", "response_tokens", "density", "submitted_at", "decided_at", "offset"]  # fmt: skip
"""Columns with minimum and maximum per row group and page, for readers that skip what cannot match."""

_FEW_VALUES = ["verdict", "reason", "policy_version", "model", "model_version", "stream", "origin_kind", "origin_recipe",
               "origin_recipe_version", "origin_round", "origin_axis", "origin_entry", "messages.list.element.role",
               "attributes.list.element.key", "attributes.list.element.value"]  # fmt: skip
"""Columns worth a dictionary."""

_READ_ERRORS = (pa.ArrowException, OSError, EOFError)


@dataclass(frozen=True, slots=True)
class ShardLimits:
    """Bounds of a shard and of its row groups; part of what makes the same rows give the same bytes."""

    shard_rows_max: int = 100_000
    shard_bytes_max: int = 256 * 1024 * 1024
    group_rows_max: int = 2_048
    group_bytes_max: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LocalShard:
    """A shard that lies on local disk."""

    path: Path
    shard: Shard


def write_segment(table: pa.Table) -> bytes:
    """A staged segment's bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="zstd", use_dictionary=False, write_statistics=["sample_id"], write_page_checksum=True
    )
    body: bytes = sink.getvalue().to_pybytes()
    return body


def read_segment(body: bytes, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A staged segment's rows. Raises DamagedVersion where the bytes are cut off or altered."""
    with parquet(pa.BufferReader(body), key) as file:
        return _guarded(key, lambda: file.read(columns=columns))


def write_shards(
    tables: Iterable[pa.Table], folder: Path, limits: ShardLimits, group: tuple[str, str, int] = ("", "", 0)
) -> Iterator[LocalShard]:
    """Write rows that come in order of their sample ids, one shard at a time, each complete when it is yielded."""
    writer: _ShardWriter | None = None
    for table in _row_groups(tables, limits):
        writer = writer or _ShardWriter(folder, table.schema, group)
        writer.write(table)
        if writer.rows >= limits.shard_rows_max or writer.weight >= limits.shard_bytes_max:
            yield writer.close()
            writer = None
    if writer is not None:
        yield writer.close()


def parquet(source: Any, key: str) -> pq.ParquetFile:
    """An opened Parquet file whose pages are checked as they are read. Raises DamagedVersion where its end is missing."""
    return _guarded(key, lambda: pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=True))


def verify_file(path: Path, shard: Shard) -> None:
    """Raises DamagedVersion where the file is not the shard, byte for byte."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != shard.sha256:
        raise DamagedVersion(f"{shard.key}: the bytes have the hash {found[:12]}: altered or cut off")


def read_shard(path: Path, shard: Shard, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows in order of a local shard that was verified or written here, holding a row group or two of it.

    Raises:
        DamagedVersion: it cannot be read.
    """
    # By its path: Arrow reads a Python file by coming back to Python, which waits while its caller computes. Pages need no
    # checksums, since the whole file has been hashed. A few columns are decoded in turn: side by side costs more than it brings.
    with _guarded(shard.key, lambda: pq.ParquetFile(path)) as file:
        batches = file.iter_batches(batch_size=batch_rows, columns=columns, use_threads=columns is None)
        while (batch := _guarded(shard.key, lambda: next(batches, None))) is not None:
            yield batch


def read_columns(handle: BinaryIO, shard: Shard, columns: Sequence[str], batch_rows: int) -> Generator[pa.RecordBatch]:
    """Some columns of a shard's rows in order, reading nothing else.

    Raises:
        DamagedVersion: the shard cannot be read, or is not as its manifest says.
    """
    with parquet(handle, shard.key) as file:
        _require_rows(file, shard)
        batches = file.iter_batches(batch_size=batch_rows, columns=list(columns))
        while (batch := _guarded(shard.key, lambda: next(batches, None))) is not None:
            yield batch.select(list(columns))


def find_rows(handle: BinaryIO, shard: Shard, sample_id: str) -> pa.Table:
    """One sample's rows of a shard, reading only row groups that may hold it.

    Raises:
        DamagedVersion: the shard cannot be read, or is not as its manifest says.
    """
    with parquet(handle, shard.key) as file:
        _require_rows(file, shard)
        return matching_rows(file, shard.key, sample_id)


def matching_rows(file: pq.ParquetFile, key: str, sample_id: str) -> pa.Table:
    """One sample's rows, reading only row groups that may hold it. Raises DamagedVersion where the file cannot be read."""
    found = [file.schema_arrow.empty_table()]
    for group in range(file.num_row_groups):
        if not _may_hold(file, group, sample_id):
            continue
        ids = _guarded(key, lambda group=group: file.read_row_group(group, columns=["sample_id"]))
        if pc.any(pc.equal(ids["sample_id"], sample_id)).as_py():
            rows = _guarded(key, lambda group=group: file.read_row_group(group))
            found.append(rows.filter(pc.equal(rows["sample_id"], sample_id)))
    return pa.concat_tables(found)


def key_columns(handle: BinaryIO, shard: Shard) -> pa.Table:
    """Sample ids and revisions of all rows in their order. Raises DamagedVersion where the shard cannot be read."""
    with parquet(handle, shard.key) as file:
        return _guarded(shard.key, lambda: file.read(columns=["sample_id", "revision"]))


def _require_rows(file: pq.ParquetFile, shard: Shard) -> None:
    if file.metadata.num_rows != shard.rows:
        raise DamagedVersion(f"{shard.key}: {file.metadata.num_rows} rows, the manifest says {shard.rows}")


def _may_hold(file: pq.ParquetFile, group: int, sample_id: str) -> bool:
    statistics = file.metadata.row_group(group).column(file.schema_arrow.get_field_index("sample_id")).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= sample_id <= statistics.max


def _guarded(key: str, read: Any) -> Any:
    try:
        return read()
    except _READ_ERRORS as error:
        raise DamagedVersion(f"{key}: cannot be read: {error}") from error


class _ShardWriter:
    """One shard being written; sequential writes are hashed as they pass."""

    def __init__(self, folder: Path, schema: pa.Schema, group: tuple[str, str, int]) -> None:
        self._folder = folder
        self._group = group
        self._path = folder / "shard.parquet.part"
        self._file = _HashedFile(self._path)
        names = set(schema.names)
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            version="2.6",
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in _FEW_VALUES if name.partition(".")[0] in names],
            write_statistics=[name for name in _SEARCHED if name in names],
            write_page_index=True,
            write_page_checksum=True,
            sorting_columns=[pq.SortingColumn(schema.get_field_index("sample_id"))],
        )
        self.rows = 0
        self.weight = 0
        self._min_id = ""
        self._max_id = ""

    def write(self, table: pa.Table) -> None:
        ids = table["sample_id"]
        self._min_id = self._min_id if self.rows else ids[0].as_py()
        self._max_id = ids[-1].as_py()
        self.rows += table.num_rows
        self.weight += int(_weights(table).sum())
        # Pages end where chunks end: one chunk, so that they do not depend on how rows were handed over.
        self._writer.write_table(table.combine_chunks(), row_group_size=table.num_rows)

    def close(self) -> LocalShard:
        self._writer.close()
        sha256, size = self._file.finish()
        path = self._path.rename(self._folder / f"{sha256}.parquet")
        model, version, dimensions = self._group
        shard = Shard(
            sha256=sha256, rows=self.rows, size_bytes=size, raw_bytes=self.weight, min_id=self._min_id, max_id=self._max_id,
            model=model, model_version=version, dimensions=dimensions,
        )  # fmt: skip
        return LocalShard(path, shard)


class _HashedFile:
    """A file to write to, for pyarrow: it only ever appends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self._size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        body = memoryview(data)
        self._hash.update(body)
        self._size += body.nbytes
        return self._file.write(body)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        self.closed = True

    def finish(self) -> tuple[str, int]:
        self.close()
        return self._hash.hexdigest(), self._size


def _row_groups(tables: Iterable[pa.Table], limits: ShardLimits) -> Iterator[pa.Table]:
    """The same rows in tables that end where the limits say, whatever tables they came in."""
    waiting: list[pa.Table] = []
    rows = weight = 0
    for table in tables:
        while table.num_rows:
            totals = weight + np.cumsum(_weights(table))
            heavy = int(np.searchsorted(totals, limits.group_bytes_max)) + 1
            count = min(heavy, limits.group_rows_max - rows, table.num_rows)
            waiting.append(table.slice(0, count))
            rows, weight = rows + count, int(totals[count - 1])
            table = table.slice(count)  # noqa: PLW2901 - what is left of it
            if rows >= limits.group_rows_max or weight >= limits.group_bytes_max:
                yield pa.concat_tables(waiting)
                waiting, rows, weight = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


def _weights(table: pa.Table) -> npt.NDArray[np.int64]:
    """Bytes of each row, about: a function of the row alone."""
    if "dossier" in table.column_names:  # messages and reference repeat what is in the dossier
        lengths: npt.NDArray[np.int64] = pc.binary_length(table["dossier"]).to_numpy().astype(np.int64)
        return 2 * lengths + _SMALL_COLUMNS_BYTES
    if "prompt" not in table.column_names:
        return np.full(table.num_rows, _SMALL_COLUMNS_BYTES, dtype=np.int64)
    dimensions = table.schema.field("prompt").type.list_size
    return np.full(table.num_rows, 2 * _FLOAT32_BYTES * dimensions + _SMALL_COLUMNS_BYTES, dtype=np.int64)
