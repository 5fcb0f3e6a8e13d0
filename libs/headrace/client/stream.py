"""One subscription's way through a version and a topic, chunk by chunk, and where it stands."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from headrace.adapters.claim_check import ClaimLimits, LargeBodies, OpenStore
from headrace.client.accepted import Item
from headrace.client.accepted_topic import AcceptedTopic
from headrace.client.bridge import Held
from headrace.client.chunks import Chunk
from headrace.client.limits import ClientSettings, SubscribeLimits
from headrace.core.events import Stop
from headrace.core.positions import Position, is_token, position_from, require_share
from headrace.core.topics import accepted_topic, require_dataset_id
from headrace.core.versions import Version

if TYPE_CHECKING:  # Arrow and the object store's client cost most of a second, which importing this should not
    import pyarrow as pa

    from headrace.adapters.object_store import ObjectStoreSettings
    from headrace.adapters.versions.store import VersionStore
    from headrace.client.version_rows import VersionRows

STARTS = ("beginning", "now")
"""Starts that name no version."""

LATEST = "latest"
"""The start that names the latest version."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a subscription was asked for; see `headrace.client.subscribe`."""

    dataset_id: str
    start: str
    follow: bool
    share: tuple[int, int]
    kafka: str
    store: "ObjectStoreSettings | None"
    limits: SubscribeLimits

    def __post_init__(self) -> None:
        require_dataset_id(self.dataset_id)
        require_share(self.share)
        if self.is_resumed:
            position_from(self.start, self.dataset_id, self.share)

    @property
    def is_resumed(self) -> bool:
        """Whether the start is a position."""
        return is_token(self.start)


class Stream:
    """Chunks in order, to be taken one after the other; `advance` tells it what its caller has handed on.

    They hold items, or record batches where a schema says of which columns.
    """

    def __init__(self, plan: Plan, schema: "pa.Schema | None" = None) -> None:
        self._plan = plan
        self._schema = schema
        self._position = position_from(plan.start, plan.dataset_id, plan.share) if plan.is_resumed else None

    @property
    def position(self) -> Position | None:
        """Behind everything that was handed on; None until something was read, where the start is no position."""
        return self._position

    def advance(self, places: Mapping[int, int], version: str | None, until: Mapping[int, int] | None) -> None:
        """Moves the position; all three as in `Chunk`."""
        position = self._position or Position(self._plan.dataset_id, self._plan.share)
        rows = [~slot for slot in places if slot < 0]
        offsets = {**position.offsets, **{slot: offset for slot, offset in places.items() if slot >= 0}}
        ends = position.until if until is None else until
        begins = bool(offsets) and not position.offsets
        self._position = replace(
            position,
            version=position.version if version is None else version,
            shard=max(rows, default=position.shard),
            row=places[~max(rows)] if rows else position.row,
            offsets=offsets,
            until={number: end for number, end in ends.items() if offsets.get(number, 0) < end},
            since=offsets if begins else position.since,
            repeats=ends if begins else position.repeats,
        )

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Everything that is asked for; without end while following. To be called once.

        Raises:
            BrokerUnreachable, Stop: the broker or the object store is away for longer than the limits allow.
            NoSuchVersion, DamagedVersion: the version is not there, or not whole.
            PositionGone, UnreadableRecord: see `headrace.client.limits`.
        """
        plan = self._plan
        async with AsyncExitStack() as stack:
            bodies = LargeBodies(_opener(plan), _claim_limits())
            stack.push_async_callback(bodies.aclose)
            topic = await stack.enter_async_context(
                AcceptedTopic.opened(plan.kafka, plan.dataset_id, plan.share, bodies, plan.limits)
            )
            ends = None if plan.follow else await topic.ends()
            held = stack.enter_context(Held())
            async with aclosing(self._before_records(stack, topic, held)) as chunks:
                async for chunk in chunks:
                    offsets, until = chunk.after, chunk.until or {}  # the last one says where records begin
                    yield chunk

            def wanted(number: int, offset: int, item: Item) -> bool:
                return offset >= until.get(number, 0) or not held.covers(item)

            async with aclosing(topic.chunks(offsets, ends, wanted)) as chunks:
                async for chunk in chunks:
                    yield chunk if self._schema is None else await asyncio.to_thread(self._by_columns, chunk, self._schema)

    async def _before_records(self, stack: AsyncExitStack, topic: AcceptedTopic, held: Held) -> AsyncGenerator[Chunk, None]:
        """A version's rows, if any; then a chunk without items whose places are those of the first records."""
        position, start = self._position, self._plan.start
        if position is None and start in STARTS:
            yield Chunk(after=await (topic.beginnings() if start == "beginning" else topic.ends()))
        elif position is not None and position.offsets:
            await topic.require(position.offsets)
            if position.until:
                rows = await self._rows(stack, held, position.version)
                await rows.latest_decision()
            yield Chunk(after=dict(position.offsets), until=dict(position.until))
        else:
            position = position or Position(self._plan.dataset_id, self._plan.share)
            rows = await self._rows(stack, held, position.version or start)
            yield Chunk(version=rows.version.id)
            passing = rows.chunks(self._plan.share, position.shard, position.row, self._plan.limits, self._schema)
            async with aclosing(passing) as chunks:
                async for chunk in chunks:
                    yield chunk
            yield await _bridge(topic, await rows.latest_decision(), self._plan.limits.clocks_within_s)

    def _by_columns(self, chunk: Chunk, schema: "pa.Schema") -> Chunk:
        from headrace.client.batches import of_records  # noqa: PLC0415 - see above

        rows = of_records(chunk, schema, accepted_topic(self._plan.dataset_id).name)
        return Chunk(after=chunk.after, version=chunk.version, until=chunk.until, rows=rows)

    async def _rows(self, stack: AsyncExitStack, held: Held, version: str) -> "VersionRows":
        from headrace.client.version_rows import VersionRows  # noqa: PLC0415 - see above

        versions, found = await _version(stack, self._plan, version)
        return await VersionRows.of(versions, found, held)


async def _version(stack: AsyncExitStack, plan: Plan, name: str) -> "tuple[VersionStore, Version]":
    from headrace.adapters.object_store import open_object_store  # noqa: PLC0415 - see above
    from headrace.adapters.versions.store import VersionStore  # noqa: PLC0415 - see above

    store = _store_settings(plan.store)
    if store is None:
        raise Stop("versions lie in the object store, and HEADRACE_S3_ENDPOINT does not say where that is")
    versions = VersionStore(await stack.enter_async_context(open_object_store(store)))
    return versions, await versions.version(plan.dataset_id, "" if name == LATEST else name)


def _opener(plan: Plan) -> OpenStore | None:
    """Opens the object store when the first large body comes; None where none is set."""
    from headrace.adapters.object_store import open_object_store  # noqa: PLC0415 - see above

    store = _store_settings(plan.store)
    return None if store is None else partial(open_object_store, store)


async def _bridge(topic: AcceptedTopic, latest: float | None, clocks_within_s: float | None) -> Chunk:
    """Where to go on behind a version, and up to where the topic may repeat it: see `headrace.client.bridge`."""
    until = await topic.written_ends()
    if latest is None or clocks_within_s is None:
        return Chunk(after=await topic.beginnings(), until=until)
    return Chunk(after=await topic.first_since(latest - clocks_within_s), until=until)


def _store_settings(given: "ObjectStoreSettings | None") -> "ObjectStoreSettings | None":
    """The store that was given or that the environment names, if any."""
    from headrace.adapters.object_store import ObjectStoreSettings  # noqa: PLC0415 - see above

    store = given or ObjectStoreSettings()
    return store if store.endpoint else None


def _claim_limits() -> ClaimLimits:
    bytes_max = ClientSettings().delivery_claim_bytes_max
    return ClaimLimits(bytes_min=bytes_max, bytes_max=bytes_max, parallel_max=1)
