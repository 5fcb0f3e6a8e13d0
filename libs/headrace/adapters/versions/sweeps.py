"""One sweep of the object store at a time, and a sign that others can see while it runs.

A sweep deletes what nothing refers to. Whoever is about to refer to an object that lay there before (written by an earlier
attempt, perhaps long ago) watches for sweeps, writes the object again, and asks the watch. Either no sweep has been at work
between, and one that begins later, setting its sign before it looks at anything, will find the object young; or one has,
perhaps one that has ended already, and the writer comes back later.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from headrace.core.events import Stop
from headrace.core.ports.object_store import ObjectMissing, ObjectStore

SWEEP_KEY = "gc/sweep.json"
_LATEST_KEY = "gc/latest.json"
"""Which sweep was the last to begin: it stays when the sign goes."""

_SIGN_BYTES_MAX = 1024

SWEEP_S_MAX = 3 * 3_600.0
"""A sweep stops itself after this long; a sign that is twice as old was left by one that was killed."""


class SweepRunning(Exception):
    """Another sweep is at work."""


class SweepTooLong(Exception):
    """There is more to read than one sweep may take time for; the message says what to do."""


async def store_now(objects: ObjectStore) -> float:
    """The store's clock, Unix seconds: the one that ages of objects are told by. Raises Stop."""
    key = f"probes/{uuid4().hex}"
    await objects.put(key, b"")
    try:
        stat = await objects.stat(key)
    finally:
        await objects.delete(key)
    if stat is None:
        raise Stop(f"object store: {key} is gone as soon as it is written")
    return stat.modified


@asynccontextmanager
async def sweeping(objects: ObjectStore) -> AsyncIterator[None]:
    """Shows the sign while the block runs.

    Raises:
        SweepRunning: another sweep shows it.
        Stop: the store is gone.
    """
    sign = uuid4().hex.encode()
    if not await objects.put_if_absent(SWEEP_KEY, sign):
        if await sweep_is_on(objects):
            raise SweepRunning(f"another collection is at work ({SWEEP_KEY}): wait until it has ended")
        await objects.delete(SWEEP_KEY)
        if not await objects.put_if_absent(SWEEP_KEY, sign):
            raise SweepRunning(f"another collection has just begun ({SWEEP_KEY}): wait until it has ended")
    try:
        await objects.put(_LATEST_KEY, sign)
        yield
    finally:
        await objects.delete(SWEEP_KEY)


async def sweep_is_on(objects: ObjectStore) -> bool:
    """Whether a sweep may be deleting objects now. Raises Stop."""
    stat = await objects.stat(SWEEP_KEY)
    return stat is not None and await store_now(objects) - stat.modified < 2 * SWEEP_S_MAX


@dataclass(frozen=True, slots=True)
class SweepWatch:
    """What was known of sweeps when the watch began."""

    _objects: ObjectStore
    _latest: bytes
    _was_on: bool

    @classmethod
    async def begun(cls, objects: ObjectStore) -> Self:
        """A watch from now on. Raises Stop where the store is gone."""
        return cls(objects, await _latest(objects), await sweep_is_on(objects))

    async def require_none(self) -> None:
        """Raises Stop where a sweep may have been deleting objects since the watch began: the caller comes back later."""
        if self._was_on or await sweep_is_on(self._objects) or await _latest(self._objects) != self._latest:
            raise Stop("`headrace dataset gc` is deleting what nothing refers to: what lay there before may go under its hands")


async def _latest(objects: ObjectStore) -> bytes:
    try:
        return (await objects.get(_LATEST_KEY, bytes_max=_SIGN_BYTES_MAX)).body
    except ObjectMissing:
        return b""
