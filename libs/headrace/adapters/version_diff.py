"""Telling two versions apart, reading only the columns compared of only the shards that differ."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import islice

from headrace.adapters.shards import read_columns
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.version_diff import AcceptedRow, Change, changes, in_order, unshared
from headrace.core.versions import DamagedVersion, Manifest, Shard

CHANGES_AT_A_TIME = 512
_READ_ROWS = 4_096


async def diff(objects: ObjectStore, before: Manifest, after: Manifest) -> AsyncIterator[Change]:
    """What differs between the accepted rows of two versions, in order of the ids, in bounded memory.

    Raises:
        DamagedVersion: a shard that only one of them has is missing, or cannot be read.
        Stop: the store is gone.
    """
    differing = unshared(before, after)
    found = changes(
        in_order(differing.before, lambda shard: _rows(objects, shard)),
        in_order(differing.after, lambda shard: _rows(objects, shard)),
    )
    while some := await asyncio.to_thread(lambda: list(islice(found, CHANGES_AT_A_TIME))):
        for change in some:
            yield change


def _rows(objects: ObjectStore, shard: Shard) -> Iterator[AcceptedRow]:
    try:
        handle = objects.open(shard.key)
    except ObjectMissing as error:
        raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error
    with handle, closing(read_columns(handle, shard, AcceptedRow._fields, _READ_ROWS)) as batches:
        for batch in batches:
            yield from map(AcceptedRow._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))
