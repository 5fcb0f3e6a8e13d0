"""Claim check: a body too large for a record lies in the object store by its hash, and the record carries the reference.

Objects under `claims/` are named by their content alone and never change; a body that is sent again is written again, which
makes it young again. So whoever cleans up may go by age, but not below the longest life of a record that refers to it: the
topics' retention, 90 days for dead letters, for ever for the accepted topics.
"""

import asyncio
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace

from headrace.adapters.wire.envelope import DATA_REFERENCE, Record
from headrace.adapters.wire.fields import Undecodable
from headrace.core.events import Stop
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge

SIZE = "ce_datarefbytes"
DIGEST = "ce_datarefsha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN_CHARS = 200

OpenStore = Callable[[], AbstractAsyncContextManager[ObjectStore]]


@dataclass(frozen=True, slots=True)
class BodyReference:
    """Where a body lies, and what it must turn out to be."""

    key: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """Bodies above `bytes_min` go to the store, none above `bytes_max` does; `parallel_max` requests at a time."""

    bytes_min: int
    bytes_max: int
    parallel_max: int


def detached(record: Record) -> tuple[Record, str]:
    """The record with a reference in place of its body, and the key under which the body must be stored before it is sent."""
    body = record.value or b""
    digest = hashlib.sha256(body).hexdigest()
    key = _key_of(digest)
    headers = ((DATA_REFERENCE, key.encode()), (SIZE, str(len(body)).encode()), (DIGEST, digest.encode()))
    return replace(record, value=b"", headers=record.headers + headers), key


def reference_in(value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> BodyReference | None:
    """The reference that a record carries in place of a body; None where it carries none.

    A key follows from its hash, so a reference can name nothing else in the store.

    Raises:
        Undecodable: what is there is no reference of ours.
    """
    if value:
        return None
    said = {name: text for name, text in headers if text is not None and name in {DATA_REFERENCE, SIZE, DIGEST}}
    if DATA_REFERENCE not in said:
        return None
    key, size, digest = (said.get(name, b"")[:_SHOWN_CHARS].decode(errors="replace") for name in (DATA_REFERENCE, SIZE, DIGEST))
    if not (_SHA256.fullmatch(digest) and key == _key_of(digest) and re.fullmatch(r"[0-9]{1,15}", size)):
        raise Undecodable(f"the body lies elsewhere, and {DATA_REFERENCE} {key!r} with {SIZE} {size!r} is no reference of ours")
    return BodyReference(key, int(size), digest)


class LargeBodies:
    """The bodies in the object store, which is opened when the first one comes. Without `open_store` there is none."""

    def __init__(self, open_store: OpenStore | None, limits: ClaimLimits) -> None:
        self.limits = limits
        self._open_store = open_store
        self._parallel = asyncio.Semaphore(limits.parallel_max)
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._opened: ObjectStore | None = None
        self._needed = False

    @property
    def configured(self) -> bool:
        """Whether there is a store for bodies to go to."""
        return self._open_store is not None

    async def put(self, bodies: Mapping[str, bytes]) -> None:
        """Stores bodies under the keys that `detached` gave them; those that are there already are written again.

        Raises:
            Stop: the store is gone; some may have been written.
        """
        store = await self._store("a body is too large for a record")
        await asyncio.gather(*(self._put(store, key, body) for key, body in bodies.items()))

    async def get(self, reference: BodyReference) -> bytes:
        """The body, whole and as it was written.

        Raises:
            Undecodable: it is missing, altered or above the limit; the text names the object.
            Stop: the store is gone, or none is set.
        """
        key, size = reference.key, reference.size_bytes
        if size > self.limits.bytes_max:
            limit = f"HEADRACE_DELIVERY_CLAIM_BYTES_MAX ({self.limits.bytes_max})"
            raise Undecodable(f"the body in the object store, {key}, has {size} bytes, above {limit}")
        store = await self._store(f"a body lies in the object store as {key}")
        try:
            async with self._parallel:
                body = (await store.get(key, bytes_max=size)).body
        except ObjectMissing:
            raise Undecodable(f"the body is missing from the object store: {key}") from None
        except ObjectTooLarge as error:
            raise Undecodable(f"the body in the object store is not what was written: {error}") from None
        if hashlib.sha256(body).hexdigest() != reference.sha256:
            raise Undecodable(f"the body in the object store is not what was written: {key} has another hash")
        return body

    async def ping(self) -> None:
        """Returns while no body has needed the store, or when it answers.

        Raises:
            Stop: it does not.
        """
        if self._needed:
            await (await self._store("a body needs the object store")).ping()

    async def aclose(self) -> None:
        """Lets go of the store."""
        self._opened = None
        await self._stack.aclose()

    async def _store(self, why: str) -> ObjectStore:
        self._needed = True
        if self._open_store is None:
            raise Stop(f"{why}, and HEADRACE_S3_ENDPOINT does not say where that is")
        async with self._opening:
            if self._opened is None:
                self._opened = await self._stack.enter_async_context(self._open_store())
        return self._opened

    async def _put(self, store: ObjectStore, key: str, body: bytes) -> None:
        async with self._parallel:
            # Not create-only: a body that comes again must be as young as the record that refers to it.
            await store.put(key, body)


def no_large_bodies() -> LargeBodies:
    """For readers that must not leave an event out: the first one whose body lies in a store is Stop."""
    return LargeBodies(None, ClaimLimits(bytes_min=sys.maxsize, bytes_max=sys.maxsize, parallel_max=1))


def _key_of(digest: str) -> str:
    return f"claims/sha256/{digest[:2]}/{digest}"
