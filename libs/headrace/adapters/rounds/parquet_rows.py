"""Reading Parquet: rows of local files from a place on and by sample id, and tables where they lie in the object store."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.adapters.versions.shards import parquet
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.versions import DamagedVersion

_BATCH_ROWS = 64


def read_table(objects: ObjectStore, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A table in the object store, or some of its columns, reading nothing else. Blocks: call it in a thread.

    Raises:
        DamagedVersion: the object, which was listed, is missing or cannot be read.
        Stop: the store is gone.
    """
    try:
        handle = objects.open(key)
    except ObjectMissing as error:
        raise DamagedVersion(f"{key}: no such object, though it was listed") from error
    with handle, parquet(handle, key) as file:
        try:
            return file.read(columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError) as error:
            raise DamagedVersion(f"{key}: cannot be read: {error}") from error


def rows_from(path: Path, name: str, columns: Collection[str], first: int) -> Iterator[dict[str, Any]]:
    """Rows from number `first` on, a few at a time; what lies in row groups before it is not read.

    Raises:
        DamagedVersion: the file, called `name`, cannot be read.
    """
    with path.open("rb") as handle, parquet(handle, name) as file:
        groups, skipped = _groups_from(file, first)
        try:
            for group in groups:  # one at a time: all that are asked for together are held together
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=list(columns)):
                    left = batch.slice(skipped)
                    skipped -= batch.num_rows - left.num_rows
                    yield from left.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DamagedVersion(f"{name}: cannot be read: {error}") from error


def rows_behind(path: Path, name: str, columns: Collection[str], after: str) -> Iterator[dict[str, Any]]:
    """Rows with ids above one, in order, with `sample_id` among their columns; row groups that lie before it are not read.

    Raises:
        DamagedVersion: the file, called `name`, cannot be read.
    """
    wanted = list(dict.fromkeys(("sample_id", *columns)))
    with path.open("rb") as handle, parquet(handle, name) as file:
        try:
            for group in range(file.num_row_groups):
                if not _may_reach_beyond(file, group, after):
                    continue
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=wanted):
                    yield from batch.filter(pc.greater(batch["sample_id"], after)).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DamagedVersion(f"{name}: cannot be read: {error}") from error


def rows_of(path: Path, name: str, columns: Collection[str], sample_ids: Collection[str]) -> Iterator[dict[str, Any]]:
    """The rows of these samples; row groups that cannot hold one are not read.

    Raises:
        DamagedVersion: the file, called `name`, cannot be read.
    """
    wanted = pa.array(sorted(sample_ids), pa.string())
    with path.open("rb") as handle, parquet(handle, name) as file:
        try:
            for group in range(file.num_row_groups):
                if not _may_hold(file, group, wanted):
                    continue
                found = pc.is_in(file.read_row_group(group, columns=["sample_id"])["sample_id"], value_set=wanted)
                if pc.any(found).as_py():
                    yield from file.read_row_group(group, columns=list(columns)).filter(found).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DamagedVersion(f"{name}: cannot be read: {error}") from error


def _groups_from(file: pq.ParquetFile, first: int) -> tuple[list[int], int]:
    """The row groups from the one that holds the row on, and how many rows of that group lie before it."""
    before = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if before + rows > first:
            return list(range(group, file.num_row_groups)), first - before
        before += rows
    return [], 0


def _may_reach_beyond(file: pq.ParquetFile, group: int, after: str) -> bool:
    statistics = _id_statistics(file, group)
    return statistics is None or not statistics.has_min_max or statistics.max.encode() > after.encode()


def _id_statistics(file: pq.ParquetFile, group: int) -> pq.Statistics | None:
    return file.metadata.row_group(group).column(file.schema_arrow.get_field_index("sample_id")).statistics


def _may_hold(file: pq.ParquetFile, group: int, wanted: pa.Array) -> bool:
    statistics = _id_statistics(file, group)
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(pc.any(pc.and_(pc.greater_equal(wanted, statistics.min), pc.less_equal(wanted, statistics.max))).as_py())
