"""Telling two versions apart, reading only the columns compared of only the shards that differ."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Generic, TypeVar

import pyarrow.compute as pc

from headrace.adapters.versions.shards import read_columns
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.version_diff import AcceptedRow, Change, RetractedRow, changes, in_order, unshared, with_retractions
from headrace.core.versions import DamagedVersion, Manifest, RowKind, Shard

CHANGES_AT_A_TIME = 512
_READ_ROWS = 4_096

Row = TypeVar("Row", AcceptedRow, RetractedRow)


async def diff(objects: ObjectStore, before: Manifest, after: Manifest, behind: str = "") -> AsyncGenerator[Change]:
    """What differs between the accepted rows of two versions, in order of the ids, those above `behind`; in bounded memory.

    Raises:
        DamagedVersion: a shard that only one of them has is missing, or cannot be read.
        Stop: the store is gone.
    """
    differing = unshared(before, after)
    accepted, retracted = _Rows(objects, AcceptedRow, behind), _Rows(objects, RetractedRow, behind)
    sides = [_reaching_beyond(behind, shards) for shards in (differing.before, differing.after)]
    found = changes(*(in_order(shards, accepted) for shards in sides))
    told = with_retractions(found, in_order(_reaching_beyond(behind, after.shards_of(RowKind.RETRACTIONS)), retracted))
    while some := await asyncio.to_thread(lambda: list(islice(told, CHANGES_AT_A_TIME))):
        for change in some:
            yield change


def _reaching_beyond(behind: str, shards: Sequence[Shard]) -> list[Shard]:
    return [shard for shard in shards if shard.max_id > behind]


class _Rows(Generic[Row]):
    """A shard's rows in order, those with ids above `behind`, of which only the fields of the row's type are read."""

    def __init__(self, objects: ObjectStore, row: type[Row], behind: str) -> None:
        self._objects = objects
        self._row: type[Row] = row
        self._behind = behind

    def __call__(self, shard: Shard) -> Iterator[Row]:
        fields = self._row._fields
        try:
            handle = self._objects.open(shard.key)
        except ObjectMissing as error:
            raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error
        with handle, closing(read_columns(handle, shard, fields, _READ_ROWS)) as batches:
            for read in batches:
                batch = read.filter(pc.greater(read["sample_id"], self._behind)) if self._behind else read
                yield from map(self._row._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))
