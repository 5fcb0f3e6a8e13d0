"""Telling two versions apart, reading only the columns compared of only the shards that differ."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import islice
from typing import Generic, TypeVar

from headrace.adapters.versions.shards import read_columns
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.version_diff import AcceptedRow, Change, RetractedRow, changes, in_order, unshared, with_retractions
from headrace.core.versions import DamagedVersion, Manifest, RowKind, Shard

CHANGES_AT_A_TIME = 512
_READ_ROWS = 4_096

Row = TypeVar("Row", AcceptedRow, RetractedRow)


async def diff(objects: ObjectStore, before: Manifest, after: Manifest) -> AsyncIterator[Change]:
    """What differs between the accepted rows of two versions, in order of the ids, in bounded memory.

    Raises:
        DamagedVersion: a shard that only one of them has is missing, or cannot be read.
        Stop: the store is gone.
    """
    differing = unshared(before, after)
    accepted, retracted = _Rows(objects, AcceptedRow), _Rows(objects, RetractedRow)
    found = changes(in_order(differing.before, accepted), in_order(differing.after, accepted))
    told = with_retractions(found, in_order(after.shards_of(RowKind.RETRACTIONS), retracted))
    while some := await asyncio.to_thread(lambda: list(islice(told, CHANGES_AT_A_TIME))):
        for change in some:
            yield change


class _Rows(Generic[Row]):
    """A shard's rows in order, of which only the fields of the row's type are read."""

    def __init__(self, objects: ObjectStore, row: type[Row]) -> None:
        self._objects = objects
        self._row: type[Row] = row

    def __call__(self, shard: Shard) -> Iterator[Row]:
        fields = self._row._fields
        try:
            handle = self._objects.open(shard.key)
        except ObjectMissing as error:
            raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error
        with handle, closing(read_columns(handle, shard, fields, _READ_ROWS)) as batches:
            for batch in batches:
                yield from map(self._row._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))
