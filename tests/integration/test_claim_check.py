"""Bodies too large for a record, over a real broker and a real store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest

from headrace.adapters.claim_check import ClaimLimits, LargeBodies, reference_in
from headrace.adapters.kafka.claims_in_use import claims_in_use
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.versions.gc import CLAIM_PREFIX, Elsewhere, GarbageCollector, Keeping
from headrace.adapters.versions.sweeps import store_now
from headrace.core.events import Emit, Event, Handler, Result, Send, Stop
from headrace.core.topics import Topic, dlq_topic_name
from headrace.runtime.delivery.redrive import dead_letters
from tests.fakes.toy_topics import GROUP, QUICK, bodies_in, new_topics, records_in, running_hop, until

pytestmark = pytest.mark.connected

BODY = b"large" * 250_000
LIMITS = ClaimLimits(QUICK.inline_bytes_max, QUICK.claim_bytes_max, QUICK.claims_parallel_max)


@pytest.fixture
async def bodies(s3: ObjectStoreSettings) -> AsyncIterator[LargeBodies]:
    """Large bodies in a bucket of their own."""
    large = LargeBodies(partial(open_object_store, s3.model_copy(update={"bucket": "claim-check"})), LIMITS)
    yield large
    await large.aclose()


def growing(out: Topic) -> Handler[bytes]:
    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit((Send(out, event.body + b"+"),)) for event in events]

    return handle


async def submit(kafka: str, topic: Topic, bodies: LargeBodies, *sent: bytes) -> None:
    async with EventPublisher(kafka, "headrace/test", large_bodies=bodies) as publisher:
        await publisher.publish_many((f"id-{number}", Send(topic, body)) for number, body in enumerate(sent))


async def test_a_large_body_goes_through_two_hops_and_comes_out_whole(kafka: str, bodies: LargeBodies) -> None:
    """More than a broker takes in one record; small bodies stay in theirs, and a reader without the store sees only those."""
    (first, _), (second, out) = new_topics(kafka), new_topics(kafka)
    await submit(kafka, first, bodies, BODY, b"small")

    async def arrived() -> bool:
        return len(await records_in(kafka, out.name)) == 2

    async with (
        running_hop(kafka, first, growing(second), large_bodies=bodies),
        running_hop(kafka, second, growing(out), large_bodies=bodies),
    ):
        await until(arrived)
    assert all(len(record.value) < 100 for record in await records_in(kafka, out.name))
    came = {event.body async for event in read_topic(out, kafka, until_now=True, large_bodies=bodies)}
    assert came == {BODY + b"++", b"small++"}
    assert await bodies_in(kafka, out) == [b"small++"]


async def test_a_deleted_claim_is_a_dead_letter_that_names_it(kafka: str, s3: ObjectStoreSettings, bodies: LargeBodies) -> None:
    """The letter keeps the reference, and its neighbours go on."""
    source, out = new_topics(kafka)
    await submit(kafka, source, bodies, BODY, b"small")
    (reference,) = [
        found for record in await records_in(kafka, source.name) if (found := reference_in(record.value, record.headers))
    ]
    async with open_object_store(s3.model_copy(update={"bucket": "claim-check"})) as store:
        await store.delete(reference.key)

    async def ended() -> bool:
        return bool(await records_in(kafka, dlq_topic_name(source.name, GROUP)) and await bodies_in(kafka, out))

    async with running_hop(kafka, source, growing(out), large_bodies=bodies):
        await until(ended)
    (letter,) = [letter async for letter in dead_letters(kafka, dlq_topic_name(source.name, GROUP))]
    assert letter.error_class == "Undecodable"
    assert reference.key in letter.error
    assert letter.headers["ce_dataref"] == reference.key


async def test_a_hop_waits_while_the_store_is_gone(kafka: str, s3: ObjectStoreSettings, bodies: LargeBodies) -> None:
    """A missing store costs time and no record, and readiness says why."""
    source, out = new_topics(kafka)
    await submit(kafka, source, bodies, BODY)
    gone = True

    class Flickering(LargeBodies):
        async def ping(self) -> None:
            if gone:
                raise Stop("gone")

        async def get(self, reference):
            if gone:
                raise Stop("gone")
            return await super().get(reference)

    opened = Flickering(partial(open_object_store, s3.model_copy(update={"bucket": "claim-check"})), LIMITS)
    settings = QUICK.model_copy(update={"dependency_wait_s_max": 0.3})
    async with running_hop(kafka, source, growing(out), settings=settings, large_bodies=opened, ping=opened.ping) as hop:
        await until(lambda: "gone" in (hop.unready() or ""))
        gone = False
        assert await until_arrived(kafka, out) == 1
    assert await records_in(kafka, dlq_topic_name(source.name, GROUP)) == []
    await opened.aclose()


async def until_arrived(kafka: str, topic: Topic) -> int:
    async def arrived() -> bool:
        return bool(await records_in(kafka, topic.name))

    await until(arrived)
    return len(await records_in(kafka, topic.name))


async def test_claims_that_records_refer_to_are_known_and_others_collected(
    kafka: str, s3: ObjectStoreSettings, bodies: LargeBodies
) -> None:
    """Every topic is looked through; a body that no record refers to goes, those in use stay."""
    source, _ = new_topics(kafka)
    await submit(kafka, source, bodies, BODY, BODY + b"other", b"small")
    sent = {hashlib.sha256(body).digest() for body in (BODY, BODY + b"other")}
    used = await claims_in_use(kafka, start_s=30)
    assert sent <= used
    async with open_object_store(s3.model_copy(update={"bucket": "claim-check"})) as store:
        unused = f"{CLAIM_PREFIX}ab/{'ab' * 32}"
        await store.put(unused, b"x")
        began = await store_now(store)
        while await store_now(store) < began + 2:  # noqa: ASYNC110 - some stores tell time in whole seconds
            await asyncio.sleep(0.2)
        gone = [each.entry.key async for each in GarbageCollector(store, Keeping(1)).delete(Elsewhere(used))]
        assert unused in gone
        kept = {bytes.fromhex(entry.key.rpartition("/")[2]) async for entry in store.list(CLAIM_PREFIX)}
    assert sent <= kept
