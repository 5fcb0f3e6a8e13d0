"""Open streams of samples: bounded in number, answered in order, told to finish when the gateway stops."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from headrace.runtime.telemetry import Attribute, Metric, Telemetry
from services.gateway.outbox import Answer, Ticket
from services.gateway.tokens import Caller

Label = TypeVar("Label")


class TooManyStreams(Exception):
    """No further stream now; the text names the limit."""


class Window(Generic[Label]):
    """The samples of one stream that are on their way, in order; a full window stops the reading side."""

    def __init__(self, size: int) -> None:
        self._room = asyncio.Semaphore(size)
        self._queue: asyncio.Queue[tuple[Label, Ticket] | None] = asyncio.Queue()

    async def put(self, label: Label, ticket: Ticket) -> None:
        """Add the next sample; waits while the window is full."""
        await self._room.acquire()
        self._queue.put_nowait((label, ticket))

    def end(self) -> None:
        """Nothing follows."""
        self._queue.put_nowait(None)

    async def answers(self) -> AsyncIterator[list[tuple[Label, Answer]]]:
        """The answers in the order of the samples, as many at a time as are there.

        What is given out makes room in the window when the next is asked for.
        """
        batch: list[tuple[Label, Answer]] = []
        while entry := await self._queue.get():
            label, ticket = entry
            if batch and not ticket.ready:
                yield batch
                self._make_room(batch)
            batch.append((label, await ticket.answer()))
            if self._queue.empty():
                yield batch
                self._make_room(batch)
        if batch:
            yield batch

    def _make_room(self, batch: list[tuple[Label, Answer]]) -> None:
        for _ in batch:
            self._room.release()
        batch.clear()


class Place:
    """One stream's place among those that may be open."""

    def __init__(self, freed: Callable[[], None]) -> None:
        self._freed = freed
        self.left = False

    def leave(self) -> None:
        """Free the place, if it has not been freed yet."""
        if not self.left:
            self.left = True
            self._freed()


class Streams:
    """All open streams. After `drain` none is opened, and the reading sides of those that are open end."""

    def __init__(self, streams_max: int, telemetry: Telemetry) -> None:
        self._streams_max = streams_max
        self._telemetry = telemetry
        self._open = 0
        self._readers: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._closed.set()
        self.draining = False

    @property
    def count(self) -> int:
        """How many are open."""
        return self._open

    @contextmanager
    def opened(self, entry: str, caller: Caller) -> Iterator["Place"]:
        """Count one stream while it is open.

        Raises:
            TooManyStreams: the gateway's or the token's limit is reached, or the gateway is stopping.
        """
        if self.draining:
            raise TooManyStreams("the gateway is stopping")
        if self._open >= self._streams_max:
            raise TooManyStreams(f"{self._streams_max} streams are open, the most at a time (HEADRACE_GATEWAY_STREAMS_MAX)")
        if caller.grant is not None and caller.grant.streams is not None and caller.streams >= caller.grant.streams:
            raise TooManyStreams(f"this token may have {caller.grant.streams} streams open at a time")
        self._count(entry, caller, 1)
        place = Place(partial(self._count, entry, caller, -1))
        try:
            yield place
        finally:
            place.leave()

    @contextmanager
    def reading(self, read: Coroutine[None, None, None], window: Window[Label]) -> Iterator["asyncio.Task[None]"]:
        """Run the reading side of a stream; however it ends, the window ends with it."""
        reader = asyncio.create_task(read)
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        reader.add_done_callback(lambda _: window.end())  # also when it is cancelled before its first step
        if self.draining:
            reader.cancel()
        try:
            yield reader
        finally:
            reader.cancel()

    async def drain(self, stop_s: float) -> None:
        """Stop reading everywhere and wait, at most so long, until what was read is answered."""
        self.draining = True
        for reader in tuple(self._readers):
            reader.cancel()
        try:
            async with asyncio.timeout(stop_s):
                await self._closed.wait()
        except TimeoutError:
            return  # who does not read its answers cannot be waited for

    def _count(self, entry: str, caller: Caller, change: int) -> None:
        self._open += change
        caller.streams += change
        self._telemetry.count(Metric.GATEWAY_STREAMS, change, {Attribute.ENTRY: entry})
        if self._open:
            self._closed.clear()
        else:
            self._closed.set()
