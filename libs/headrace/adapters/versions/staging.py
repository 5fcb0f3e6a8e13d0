"""The staging area: batches of decided and indexed samples on their way from a topic into a version."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.retraction_rows import retractions_table
from headrace.adapters.versions.sample_rows import decided_table, embeddings_table
from headrace.adapters.versions.shards import matching_rows, parquet, read_segment, write_segment
from headrace.core.dossiers import Dossier, IndexedSample
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge
from headrace.core.retractions import RetractionRequested
from headrace.core.staged import (
    Place,
    Segment,
    Slice,
    Staged,
    end_key,
    segment_from,
    staging_prefix,
    start_key,
    stream_prefix,
)
from headrace.core.versions import DamagedVersion

SEGMENT_BYTES_MAX = 512 * 1024 * 1024
"""Longest segment that is read; a batch of records is far smaller."""


class StagingArea:
    """Create-only segments, named by what they hold: writing one again changes nothing.

    Every method raises Stop when the store is gone.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def stage_decided(self, dataset_id: str, stream: str, rows: Sequence[tuple[Dossier, Place]]) -> int:
        """Write one batch's decisions of one dataset and stream; returns the bytes written. Raises ValueError without any."""
        return await self._stage(dataset_id, stream, rows, partial(decided_table, rows))

    async def stage_indexed(self, dataset_id: str, stream: str, rows: Sequence[tuple[IndexedSample, Place]]) -> int:
        """Write one batch's embeddings of one dataset and stream; returns the bytes written. Raises ValueError for no vectors."""
        return await self._stage(dataset_id, stream, rows, partial(embeddings_table, rows))

    async def stage_retracted(self, dataset_id: str, stream: str, rows: Sequence[tuple[RetractionRequested, Place]]) -> int:
        """Write one batch's retractions of one dataset and stream; returns the bytes written. Raises ValueError without any."""
        return await self._stage(dataset_id, stream, rows, partial(retractions_table, rows))

    async def since(self, dataset_id: str, inputs: Mapping[str, int]) -> Staged:
        """The segments that hold offsets above `inputs`; a stream that is not in it counts from its beginning.

        What earlier versions took is not listed, so the cost does not grow with the dataset.
        """
        segments: dict[str, list[Segment]] = {}
        oldest: list[float] = []
        async for stream in self._streams(dataset_id):
            start = start_key(dataset_id, stream, inputs.get(stream, -1))
            async for entry in self._objects.list(stream_prefix(dataset_id, stream), start_after=start):
                if segment := segment_from(entry.key):
                    segments.setdefault(stream, []).append(segment)
                    oldest.append(entry.modified)
        by_stream = {stream: tuple(sorted(found)) for stream, found in segments.items()}
        return Staged(by_stream, dict(inputs), min(oldest, default=None))

    async def read(self, dataset_id: str, part: Slice, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a slice, in order of their offsets. Raises DamagedVersion where the segment is missing or damaged."""
        key = part.segment.key(dataset_id)
        body = await self._body(key)
        table = await asyncio.to_thread(read_segment, body, key, columns)
        if part.whole:
            return table
        offsets = table["offset"]
        return table.filter(pc.and_(pc.greater(offsets, part.after), pc.less_equal(offsets, part.upto)))

    async def find(self, dataset_id: str, inputs: Mapping[str, int], sample_id: str) -> tuple[pa.Table, ...]:
        """A sample's decisions that lie behind a version, oldest first in each stream."""
        tables = []
        for part in (await self.since(dataset_id, inputs)).slices(decided=True):
            key = part.segment.key(dataset_id)
            table = await asyncio.to_thread(_matching, await self._body(key), key, sample_id)
            if table.num_rows:
                tables.append(table)
        return tuple(tables)

    async def _streams(self, dataset_id: str) -> AsyncIterator[str]:
        """The dataset's streams, found by leaping from one to the next."""
        prefix = staging_prefix(dataset_id)
        after = prefix
        while True:
            entry = await anext(self._objects.list(prefix, start_after=after), None)
            if entry is None:
                return
            stream = "/".join(entry.key.removeprefix(prefix).split("/")[:2])
            yield stream
            after = end_key(dataset_id, stream)

    async def _stage(self, dataset_id: str, stream: str, rows: Sequence[tuple[object, Place]], table: "partial[pa.Table]") -> int:
        offsets = [place.offset for _, place in rows]
        segment = Segment(stream, min(offsets), max(offsets), len(rows))
        body = await asyncio.to_thread(lambda: write_segment(table()))
        await self._objects.put_if_absent(segment.key(dataset_id), body)
        return len(body)

    async def _body(self, key: str) -> bytes:
        try:
            return (await self._objects.get(key, bytes_max=SEGMENT_BYTES_MAX)).body
        except ObjectMissing as error:
            raise DamagedVersion(f"{key}: no such object, though it was listed") from error
        except ObjectTooLarge as error:
            raise DamagedVersion(str(error)) from error


def _matching(body: bytes, key: str, sample_id: str) -> pa.Table:
    with parquet(pa.BufferReader(body), key) as file:
        return matching_rows(file, key, sample_id)
