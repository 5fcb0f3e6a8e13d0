"""Large bodies leave their records and come back the same, or not at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from headrace.adapters.claim_check import BodyReference, ClaimLimits, LargeBodies, detached, no_large_bodies, reference_in
from headrace.adapters.wire.envelope import DATA_REFERENCE, Record
from headrace.adapters.wire.events import Undecodable
from headrace.core.events import Stop
from tests.fakes.object_store import FakeObjectStore

BODY = b"large" * 1_000
RECORD = Record("toy.in", b"key", BODY, (("ce_id", b"e1"),))
LIMITS = ClaimLimits(bytes_min=1_024, bytes_max=100_000, parallel_max=2)


class Shelf:
    """Large bodies over a fake store that counts how often it is opened."""

    def __init__(self) -> None:
        self.store = FakeObjectStore()
        self.opened = 0
        self.bodies = LargeBodies(self._open, LIMITS)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[FakeObjectStore]:
        self.opened += 1
        await self.store.ping()
        yield self.store

    async def put(self) -> BodyReference:
        record, key = detached(RECORD)
        await self.bodies.put({key: BODY})
        reference = reference_in(record.value, record.headers)
        assert reference is not None
        return reference


async def test_a_body_comes_back_as_it_was_and_the_store_is_opened_once_and_late() -> None:
    """Whoever never meets a large body never opens the store."""
    shelf = Shelf()
    await shelf.bodies.ping()
    assert shelf.opened == 0
    reference = await shelf.put()
    assert await shelf.put() == reference
    assert list(shelf.store.objects) == [reference.key] == [f"claims/sha256/{reference.sha256[:2]}/{reference.sha256}"]
    assert await shelf.bodies.get(reference) == BODY
    assert shelf.opened == 1
    await shelf.bodies.aclose()


async def test_a_missing_or_altered_body_is_undecodable_and_named() -> None:
    """Nothing but what was written is ever handed on."""
    shelf = Shelf()
    reference = await shelf.put()
    for altered in (BODY[::-1], BODY[:-1], BODY + b"x"):
        shelf.store.objects[reference.key] = altered
        with pytest.raises(Undecodable, match=reference.key):
            await shelf.bodies.get(reference)
    del shelf.store.objects[reference.key]
    with pytest.raises(Undecodable, match=f"missing.*{reference.key}"):
        await shelf.bodies.get(reference)
    with pytest.raises(Undecodable, match="HEADRACE_DELIVERY_CLAIM_BYTES_MAX"):
        await shelf.bodies.get(BodyReference(reference.key, 100_001, reference.sha256))


async def test_a_store_that_is_gone_or_not_set_is_stop() -> None:
    """The body may well be there, so the record keeps its place; once the store is back, all goes on."""
    shelf = Shelf()
    shelf.store.down = True
    with pytest.raises(Stop):
        await shelf.put()
    with pytest.raises(Stop):
        await shelf.bodies.ping()
    shelf.store.down = False
    reference = await shelf.put()
    shelf.store.down = True
    with pytest.raises(Stop):
        await shelf.bodies.get(reference)
    with pytest.raises(Stop, match="HEADRACE_S3_ENDPOINT"):
        await no_large_bodies().get(reference)


def test_a_reference_can_name_nothing_but_a_claim() -> None:
    """Headers choose no key: it follows from the hash. A record with a body has no reference."""
    record, key = detached(RECORD)
    assert record.value == b""
    assert reference_in(b"body", record.headers) is None
    assert reference_in(b"", RECORD.headers) is None
    for other in (b"refs/demo/main.json", b"https://elsewhere", key.encode() + b"x", b"\xff"):
        headers = [(name, other if name == DATA_REFERENCE else value) for name, value in record.headers]
        with pytest.raises(Undecodable):
            reference_in(b"", headers)
    with pytest.raises(Undecodable):
        reference_in(None, [(DATA_REFERENCE, key.encode())])
