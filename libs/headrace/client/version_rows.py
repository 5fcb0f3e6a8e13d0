"""A version's accepted rows as items, and what is needed to go on behind them."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from itertools import compress, zip_longest
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.scratch import scratch_folder
from headrace.adapters.versions.shards import read_shard
from headrace.adapters.versions.store import Version, VersionStore
from headrace.client.accepted import Accepted
from headrace.client.batches import of_rows
from headrace.client.bridge import Held
from headrace.client.chunks import Chunk
from headrace.client.limits import SubscribeLimits
from headrace.core.sharing import Slice, slices_of
from headrace.core.version_gaps import CutShard
from headrace.core.versions import RowKind

_KEYS = ["sample_id", "revision", "decided_at"]
_KEY_BATCH_ROWS = 16_384
_MICROSECONDS = pa.timestamp("us", "UTC")
_US = 1_000_000
_PART_ROWS = 128
"""Rows made into items at a time: so few that their memory is still warm when the next ones take it."""


class VersionRows:
    """The accepted rows of one version. What passes is remembered in `held`, whether this share takes it or not.

    Shards and rows are numbered as the version was cut: what was forgotten since is left out, and moves nothing else.
    Every shard is verified on local disk before a row of it passes; the next one comes there meanwhile. Every method raises
    DamagedVersion where a shard is missing or altered, and Stop where the object store is gone.
    """

    def __init__(self, versions: VersionStore, version: Version, held: Held, shards: Sequence[CutShard]) -> None:
        self.version = version
        self._versions = versions
        self._held = held
        self._shards = shards
        self._left = {number: shard.left for number, shard in enumerate(shards) if shard.left is not None}
        self._known: set[int] = set()
        self._latest: float | None = None

    @classmethod
    async def of(cls, versions: VersionStore, version: Version, held: Held) -> Self:
        """Those of a version that was found. Raises as the other methods do."""
        shards = await versions.shards_as_cut(version.manifest.dataset, version.id, RowKind.ACCEPTED)
        return cls(versions, version, held, shards)

    async def chunks(
        self, share: tuple[int, int], shard: int, row: int, limits: SubscribeLimits, schema: pa.Schema | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """The rows of a share's shards or slices of them, from row `row` of shard number `shard` on, in the manifest's order.

        As items, or as record batches where a schema says of which columns.
        """
        parts = {number: part for number, part in slices_of(len(self._shards), share).items() if number >= shard}
        async with aclosing(self._files(sorted(parts.keys() & self._left.keys()))) as files:
            async for number, path in files:
                skip = self._shards[number].rows_before(row) if number == shard else 0
                passing = self._passing(path, (number, parts[number]), skip, limits, schema)
                # One hand-over for each chunk: a thread that comes back to Python waits while the caller computes.
                while (chunk := await asyncio.to_thread(next, passing, None)) is not None:
                    yield chunk
                self._known.add(number)

    async def latest_decision(self) -> float | None:
        """The time of the version's latest decision, Unix seconds, None without rows. From here on `held` has all rows."""
        unknown = sorted(self._left.keys() - self._known)
        async with aclosing(self._files(unknown)) as files:
            async for number, path in files:
                await asyncio.to_thread(self._keep_all, path, number)
                self._known.add(number)
        return self._latest

    async def _files(self, numbers: Sequence[int]) -> AsyncGenerator[tuple[int, Path], None]:
        """These shards as local files, verified, each gone when the next is asked for, which is fetched meanwhile."""
        ahead: asyncio.Task[Path] | None = None
        with scratch_folder("shards") as folder:
            try:
                for number, following in zip_longest(numbers, numbers[1:]):
                    path = await (ahead or self._fetched(number, folder))
                    ahead = None if following is None else asyncio.create_task(self._fetched(following, folder))
                    yield number, path
                    path.unlink()
            finally:
                if ahead is not None:
                    ahead.cancel()
                    await asyncio.gather(ahead, return_exceptions=True)

    async def _fetched(self, number: int, folder: Path) -> Path:
        path = folder / f"{number}.parquet"
        await self._versions.download(self._left[number], path)
        return path

    def _keep_all(self, path: Path, number: int) -> None:
        for batch in read_shard(path, self._left[number], _KEYS, _KEY_BATCH_ROWS):
            self._keep(batch)

    def _passing(
        self, path: Path, source: tuple[int, Slice], skip: int, limits: SubscribeLimits, schema: pa.Schema | None
    ) -> Iterator[Chunk]:
        """What is left of a shard, without rows of other slices and the first `skip` rows."""
        (number, part), end = source, 0
        shard, slot = self._left[number], ~number
        heavy = limits.prefetch_bytes // 2 // max(1, shard.raw_bytes // shard.rows)
        rows_max = max(1, min(limits.prefetch_rows // 2, heavy))
        columns = dict.fromkeys((*_KEYS, *(("dossier",) if schema is None else schema.names)))
        for batch in read_shard(path, shard, [*columns], rows_max):
            self._keep(batch)
            begin, end = end, end + batch.num_rows
            left = batch.slice(max(skip - begin, 0))
            if left.num_rows:
                places = self._shards[number].places_behind(range(end - left.num_rows, end))
                left, taken = _sliced(left, part, places)
                if schema is None:
                    yield Chunk(parts=_parts(left, slot, taken, places[-1]))
                else:
                    yield Chunk(after={slot: places[-1]}, rows=of_rows(left, schema))

    def _keep(self, batch: pa.RecordBatch) -> None:
        self._held.add(batch)
        newest = pc.max(batch["decided_at"]).cast(_MICROSECONDS).value
        if newest is not None:
            self._latest = max(newest / _US, self._latest or 0.0)


def _sliced(batch: pa.RecordBatch, part: Slice, rows: Sequence[int]) -> tuple[pa.RecordBatch, Sequence[int]]:
    """The rows that belong to a slice, and which rows of the shard are taken once each of them is."""
    if part.of == 1:
        return batch, rows
    taken = [part.has(sample_id.encode()) for sample_id in batch["sample_id"].to_pylist()]
    return batch.filter(pa.array(taken, pa.bool_())), [*compress(rows, taken)]


def _parts(batch: pa.RecordBatch, slot: int, rows: Sequence[int], end: int) -> Iterator[Chunk]:
    """The rows as items, a few at a time; at last the place behind all of them."""
    for begin in range(0, batch.num_rows, _PART_ROWS):
        few, taken = batch.slice(begin, _PART_ROWS), rows[begin : begin + _PART_ROWS]
        columns = (few[name].to_pylist() for name in ("sample_id", "revision", "dossier"))
        yield Chunk([*map(Accepted, *columns)], [(slot, row) for row in taken], {slot: taken[-1]})
    yield Chunk(after={slot: end})
