"""Reading what is admitted, as it is admitted: an iterator of accepted samples that can be resumed from a checkpoint.

    from headrace.client import Accepted, subscribe

    for item in subscribe("math"):
        if isinstance(item, Accepted):
            train_on(item.messages)

The same object serves `async for`. It needs a broker (HEADRACE_KAFKA or `kafka`) and, for versions and for bodies too large
for a record, an object store (HEADRACE_S3_* or `store`). Where neither HEADRACE_KAFKA nor `kafka` is set, they are those of the
stack that `headrace up` started here.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from headrace.adapters.kafka.unreachable import BrokerUnreachable
from headrace.client.accepted import Accepted, Item, Retracted
from headrace.client.chunks import Chunk
from headrace.client.limits import PositionGone, SubscribeLimits, UnreadableRecord, found_settings
from headrace.client.loop_thread import LoopThread
from headrace.client.stream import Plan, Stream
from headrace.core.events import Stop
from headrace.core.positions import BadPosition, Position

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.adapters.object_store import ObjectStoreSettings

__all__ = [
    "Accepted", "BadPosition", "BrokerUnreachable", "Item", "Position", "PositionGone", "Retracted", "Stop", "SubscribeLimits",
    "Subscription", "UnreadableRecord", "subscribe",
]  # fmt: skip

Result = TypeVar("Result")


def subscribe(
    dataset: str,
    *,
    start: str = "beginning",
    follow: bool = True,
    share: tuple[int, int] = (0, 1),
    kafka: str | None = None,
    store: "ObjectStoreSettings | None" = None,
    limits: SubscribeLimits | None = None,
) -> "Subscription":
    """The accepted samples of a dataset: each once, each sample's revisions and retraction in order.

    `start` is one of:

    - "beginning": everything that was ever accepted, also what was replaced or taken back since;
    - "latest", or a version's number, tag or id: the accepted rows of that version, then what was accepted after it,
      without gap or overlap;
    - "now": what is accepted from the first read on;
    - a position token, as `Subscription.position` gives it: what came behind that position.

    With `follow` it goes on for ever, waiting for new samples; without, it ends where the topic ended at the first read.
    `share` = (index, of) takes one of `of` disjoint parts, which together are everything; a sample's later revisions are in
    one part, its row in a version may be in another. Up to the number of partitions each part reads some of them; of more parts
    several read the same partition, and each keeps those of its samples that are its own.

    Nothing is connected before the first read. Close it, or use it in a `with`, to disconnect before it ends.

    Raises:
        ValueError: the dataset id or the share is impossible.
        BadPosition: the position token is garbled, or of another dataset or share.
    """
    return Subscription(planned(dataset, start=start, follow=follow, share=share, kafka=kafka, store=store, limits=limits))


def planned(
    dataset: str,
    *,
    start: str,
    follow: bool,
    share: tuple[int, int] = (0, 1),
    kafka: str | None,
    store: "ObjectStoreSettings | None",
    limits: SubscribeLimits | None,
) -> Plan:
    """What `subscribe` was asked for, checked; raises as it does."""
    return Plan(dataset, start, follow, share, kafka or found_settings().kafka, store, limits or SubscribeLimits())


class Subscription:
    """An iterator of items, for `for` or for `async for`, not for both. One chunk is read ahead while another is handed out.

    Reading raises:
        BrokerUnreachable: the broker or the topic is not there, or was away for `patience_s`.
        Stop: the object store is not there, was away for `patience_s`, or is needed and HEADRACE_S3_ENDPOINT is not set.
        NoSuchVersion, DamagedVersion: the version is not there, or one of its objects is missing or altered.
        PositionGone: the topic no longer has what comes next.
        UnreadableRecord: something that is no accepted sample lies there.

    After an error it can be read no more; a new one goes on from `position`.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stream = Stream(plan)
        self._by_batches = False
        self._chunks: AsyncGenerator[Chunk, None] | None = None
        self._ahead: asyncio.Task[Chunk | None] | None = None
        self._ready: Chunk | None = None
        self._loop: LoopThread | None = None
        self._chunk = Chunk()
        self._left: list[Item] = []
        self._parts: Iterator[Chunk] = iter(())
        self._told = 0
        self._ended = False

    @property
    def position(self) -> str | None:
        """The token of the position behind the latest item that was handed out; None before the first read.

        It is short, and stays valid as long as the records behind it are in the topic.
        """
        reached = self.reached
        return None if reached is None else reached.token()

    @property
    def reached(self) -> Position | None:
        """The same, to look at: the version, and which record of each partition comes next."""
        places = self._chunk.places
        taken = len(places) - len(self._left)
        if self._told < taken:
            self._stream.advance(dict(places[self._told : taken]), None, None)
            self._told = taken
        return self._stream.position

    def batches(self, columns: Sequence[str] | None = None) -> "Batches":
        """The same as Arrow record batches, for `for` or `async for`: the rows of a version stay columns all the way.

        Columns are those of a version's rows (`messages`, `tools_json`, `loss_mean`, ...; all but `dossier` where none are named)
        behind `sample_id`, `revision` and `retracted`. In a row that takes a sample back `retracted` is the reason, and all
        behind it is null; in others it is null. Rows have the order that items have. While a batch is handled, `position` is the
        one behind it. A batch holds up to half of `SubscribeLimits.prefetch_rows`, of the topic mostly fewer.

        Reading raises what reading items does. Raises ValueError where there is no such column, or items were read.
        """
        from headrace.client.batches import batch_schema  # noqa: PLC0415 - Arrow costs a third of a second

        if self._chunks is not None or self._ended:
            raise ValueError("items were read already: ask for batches of a new subscription from this one's position")
        self._stream, self._by_batches = Stream(self._plan, batch_schema(columns)), True
        return Batches(self)

    def __iter__(self) -> Self:
        self._require_items()
        return self

    def __next__(self) -> Item:
        while not self._left:
            if not self._next_part() and self.fetched() is None:
                raise StopIteration
        return self._left.pop()

    def __aiter__(self) -> Self:
        self._require_items()
        return self

    async def __anext__(self) -> Item:
        while not self._left:
            if not self._next_part() and await self.afetched() is None:
                raise StopAsyncIteration
        return self._left.pop()

    def fetched(self) -> Chunk | None:
        """The next chunk, in place of the one before, which counts as handed out; None at the end. Closes there and on errors."""
        try:
            going_on = self._go_on(self._in_loop(self._next_chunk))
        except BaseException:
            self.close()
            raise
        if not going_on:
            self.close()
        return self._chunk if going_on else None

    async def afetched(self) -> Chunk | None:
        """The same in an event loop."""
        try:
            going_on = self._go_on(await self._next_chunk())
        except Exception:  # not when the caller only stops waiting: what is read ahead is kept
            await self.aclose()
            raise
        if not going_on:
            await self.aclose()
        return self._chunk if going_on else None

    def close(self) -> None:
        """Disconnects. The position remains. Closing twice does nothing."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call(self.aclose)
            finally:
                self._loop = None
                loop.close()
        self._ended = True

    async def aclose(self) -> None:
        """Disconnects. The position remains. Closing twice does nothing."""
        self._ended = True
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            await chunks.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def _require_items(self) -> None:
        if self._by_batches:
            raise ValueError("batches were asked for: read those")

    def _go_on(self, chunk: Chunk | None) -> bool:
        """Puts the next chunk in the place of the one that was handed out; False where there is none."""
        self._take(chunk or Chunk())
        self._parts = self._chunk.parts
        return chunk is not None

    def _next_part(self) -> bool:
        """Puts the next part of a chunk that comes in parts in the place of the one before; False where there is none."""
        part = next(self._parts, None)
        if part is not None:
            self._take(part)
        return part is not None

    def _take(self, chunk: Chunk) -> None:
        self._settle(self._chunk)
        self._chunk, self._told = chunk, 0
        # From the end, so that an item is freed, and its memory warm for the next one, once the caller has no use for it.
        self._left, self._chunk.items = self._chunk.items[::-1], []
        if not self._left:  # nothing to hand out: the position moves at once
            self._settle(self._chunk)

    def _settle(self, chunk: Chunk) -> None:
        """Moves the position behind a chunk, which has places where it has no items too."""
        if chunk.after or chunk.version is not None or chunk.until is not None:
            self._stream.advance(chunk.after, chunk.version, chunk.until)
        chunk.after, chunk.version, chunk.until = {}, None, None

    async def _next_chunk(self) -> Chunk | None:
        if self._ended:
            return None
        if self._chunks is None:
            self._chunks = self._stream.chunks()
        if self._ready is None:
            if self._ahead is None:
                self._ahead = self._reading(self._chunks)
            self._ready = await asyncio.shield(self._ahead)
            self._ahead = None if self._ready is None else self._reading(self._chunks)
            # So that it begins now: a caller that computes comes back to the loop when it has taken everything. Should it be
            # cancelled here, what is ready is kept.
            await asyncio.sleep(0)
        chunk, self._ready = self._ready, None
        return chunk

    def _reading(self, chunks: AsyncGenerator[Chunk, None]) -> asyncio.Task[Chunk | None]:
        async def read() -> Chunk | None:
            return await anext(chunks, None)

        return asyncio.create_task(read(), name="headrace-subscribe")

    def _in_loop(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result | None:
        if self._ended:
            return None
        if self._loop is None:
            self._loop = LoopThread()
        return self._loop.call(call)


class Batches:
    """The record batches of a subscription, see `Subscription.batches`."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> "pa.RecordBatch":
        while (chunk := self._subscription.fetched()) is not None:
            if chunk.rows is not None and chunk.rows.num_rows:
                return chunk.rows
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "pa.RecordBatch":
        while (chunk := await self._subscription.afetched()) is not None:
            if chunk.rows is not None and chunk.rows.num_rows:
                return chunk.rows
        raise StopAsyncIteration
