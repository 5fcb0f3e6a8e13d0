"""Looking through a shard for few rows, in ranged reads: small columns as a whole, large ones only where they are needed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.shards import parquet, read_columns
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.versions import DamagedVersion, Shard

_BATCH_ROWS = 16_384


def rows_where(
    objects: ObjectStore, shard: Shard, probed: Sequence[str], matches: Callable[[pa.Table], pa.Array], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """The rows of which `matches` says so, looking at the columns `probed`; other columns are read where there are any.

    A row group at a time; the tables have `probed` and `columns`. It blocks: take it in a thread.

    Raises:
        DamagedVersion: the shard is missing or cannot be read.
        Stop: the store is gone.
    """
    with _opened(objects, shard) as handle, parquet(handle, shard.key) as file:
        try:
            for group in range(file.metadata.num_row_groups):
                names = file.read_row_group(group, columns=list(probed))
                places = pc.indices_nonzero(pc.fill_null(matches(names), fill_value=False))
                if len(places):
                    rest = file.read_row_group(group, columns=list(columns)).take(places)
                    found = names.take(places)
                    yield pa.table([*found.columns, *rest.select(list(columns)).columns], names=[*found.column_names, *columns])
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DamagedVersion(f"{shard.key}: cannot be read: {error}") from error


def value_counts(objects: ObjectStore, shard: Shard, column: str) -> dict[str, int]:
    """How often each value occurs; null is "". It blocks, and raises, as `rows_where` does."""
    counts: dict[str, int] = {}
    with _opened(objects, shard) as handle:
        for batch in read_columns(handle, shard, [column], _BATCH_ROWS):
            for entry in pc.value_counts(batch[column]).to_pylist():
                value = entry["values"] or ""
                counts[value] = counts.get(value, 0) + entry["counts"]
    return counts


@contextmanager
def _opened(objects: ObjectStore, shard: Shard) -> Iterator[BinaryIO]:
    try:
        handle = objects.open(shard.key)
    except ObjectMissing as error:
        raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error
    with handle:
        yield handle
