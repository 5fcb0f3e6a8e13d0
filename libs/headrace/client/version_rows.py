"""A version's accepted rows as items, and what is needed to go on behind them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import compress

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.store import Version, VersionStore
from headrace.client.accepted import Accepted
from headrace.client.batches import of_rows
from headrace.client.bridge import Held
from headrace.client.chunks import Chunk
from headrace.client.limits import SubscribeLimits
from headrace.core.sharing import Slice, slices_of
from headrace.core.versions import RowKind

_KEYS = ["sample_id", "revision", "decided_at"]
_KEY_BATCH_ROWS = 16_384


class VersionRows:
    """The accepted rows of one version. What passes is remembered in `held`, whether this share takes it or not.

    Every method raises DamagedVersion where a shard is missing or altered, and Stop where the object store is gone.
    """

    def __init__(self, versions: VersionStore, version: Version, held: Held) -> None:
        self.version = version
        self._versions = versions
        self._held = held
        self._shards = version.manifest.shards_of(RowKind.ACCEPTED)
        self._known: set[int] = set()
        self._latest: float | None = None

    async def chunks(
        self, share: tuple[int, int], shard: int, row: int, limits: SubscribeLimits, schema: pa.Schema | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """The rows of a share's shards or slices of them, from row `row` of shard number `shard` on, in the manifest's order.

        As items, or as record batches where a schema says of which columns.
        """
        for number, part in sorted(slices_of(len(self._shards), share).items(), key=lambda taken: taken[0]):
            if number >= shard:
                async for chunk in self._shard_chunks(number, part, row if number == shard else 0, limits, schema):
                    yield chunk

    async def latest_decision(self) -> float | None:
        """The time of the version's latest decision, Unix seconds, None without rows. From here on `held` has all rows."""
        for number, shard in enumerate(self._shards):
            if number not in self._known:
                async for batch in self._versions.shard_rows(shard, _KEYS, _KEY_BATCH_ROWS):
                    await asyncio.to_thread(self._keep, batch)
                self._known.add(number)
        return self._latest

    async def _shard_chunks(
        self, number: int, part: Slice, skip: int, limits: SubscribeLimits, schema: pa.Schema | None
    ) -> AsyncGenerator[Chunk, None]:
        shard, seen = self._shards[number], 0
        heavy = limits.prefetch_bytes // 2 // max(1, shard.raw_bytes // shard.rows)
        rows_max = max(1, min(limits.prefetch_rows // 2, heavy))
        columns = dict.fromkeys((*_KEYS, *(("dossier",) if schema is None else schema.names)))
        async for batch in self._versions.shard_rows(shard, [*columns], rows_max):
            begin, seen = seen, seen + batch.num_rows
            chunk = await asyncio.to_thread(self._pass, batch, (number, part), begin, skip, schema)
            if chunk is not None:
                yield chunk
        self._known.add(number)

    def _pass(
        self, batch: pa.RecordBatch, source: tuple[int, Slice], begin: int, skip: int, schema: pa.Schema | None
    ) -> Chunk | None:
        """The batch as a chunk, without rows of other slices and those before row `skip` of the shard; None if none are left."""
        self._keep(batch)
        left = batch.slice(max(skip - begin, 0))
        if not left.num_rows:
            return None
        number, part = source
        slot, end = ~number, begin + batch.num_rows
        rows: Sequence[int] = range(end - left.num_rows + 1, end + 1)
        if part.of > 1:
            taken = [part.has(sample_id.encode()) for sample_id in left["sample_id"].to_pylist()]
            left, rows = left.filter(pa.array(taken, pa.bool_())), [*compress(rows, taken)]
        if schema is not None:
            return Chunk(after={slot: end}, rows=of_rows(left, schema))
        columns = (left[name].to_pylist() for name in ("sample_id", "revision", "dossier"))
        places = [(slot, row) for row in rows]
        return Chunk([*map(Accepted, *columns)], places, {slot: end})

    def _keep(self, batch: pa.RecordBatch) -> None:
        self._held.add(batch)
        newest = pc.max(batch["decided_at"]).as_py()
        if newest is not None:
            self._latest = max(newest.timestamp(), self._latest or 0.0)
