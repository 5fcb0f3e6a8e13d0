"""Topics of bytes with made-up names, so that a test shares nothing with another on the same broker."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from aiokafka import ConsumerRecord

from headrace.adapters.kafka.admin import KafkaAdmin, TopicSpec, consumer_specs
from headrace.adapters.kafka.streams import EventPublisher, RecordReader, read_topic
from headrace.adapters.wire.envelope import ATTEMPT, ERROR_CLASS, texts_of
from headrace.core.events import Emit, Event, Handler, Position, Result, Send
from headrace.core.topics import DAY_MS, KeyedBy, Topic, dlq_topic_name, retry_topic_name
from headrace.runtime.delivery import Hop
from headrace.runtime.service import Subscription
from headrace.runtime.settings import DeliverySettings

GROUP = "toy"
QUICK = DeliverySettings(heartbeat_interval_ms=200, retry_s_min=0.1, retry_s_max=0.4, attempts_max=3, drain_s=3)
"""Settings under which failures show within seconds; a busy machine does not make a live consumer's session end."""
BRIEF = QUICK.model_copy(update={"session_timeout_ms": 1_500})
"""The same for consumers that are killed: others take their work over soon."""
_WAIT_S_MAX = 60.0


def toy_topic(name: str, *, partitions: int = 2, delayed: bool = False) -> Topic:
    """A topic whose events are bytes keyed by their beginnings."""
    return Topic(name, "a toy", bytes, KeyedBy.SAMPLE, _beginning, partitions, DAY_MS, delayed=delayed)


def _beginning(body: object) -> str:
    assert isinstance(body, bytes)
    return body[:40].decode(errors="replace")


def new_topics(
    bootstrap: str, *, partitions: int = 2, delayed: bool = False, config: dict[str, str] | None = None
) -> tuple[Topic, Topic]:
    """Two topics that exist, the first with retries and dead letters of `GROUP`; `config` is the second one's."""
    tag = f"headrace.toy-{os.urandom(4).hex()}"
    first, second = toy_topic(f"{tag}.in", partitions=partitions, delayed=delayed), toy_topic(f"{tag}.out", partitions=partitions)
    with KafkaAdmin(bootstrap) as admin:
        admin.create(
            [
                TopicSpec(first.name, partitions, {}),
                TopicSpec(second.name, partitions, config or {}),
                *consumer_specs(first.name, GROUP, partitions),
            ],
            replication_factor=1,
        )
    return first, second


def numbered(count: int) -> list[bytes]:
    """So many different bodies."""
    return [f"id-{number}".encode() for number in range(count)]


def copying(out: Topic) -> Handler[bytes]:
    """A handler that passes every body on."""

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [Emit((Send(out, event.body),)) for event in events]

    return handle


async def publish(bootstrap: str, topic: Topic, bodies: Sequence[bytes], not_before: float | None = None) -> None:
    """Publishes each body as one event; its id is the body."""
    async with EventPublisher(bootstrap, "headrace/test") as publisher:
        await publisher.publish_many((body.decode(), Send(topic, body, not_before)) for body in bodies)


async def bodies_in(bootstrap: str, topic: Topic) -> list[bytes]:
    """What a reader of committed records sees in the topic now."""
    return [event.body async for event in read_topic(topic, bootstrap, until_now=True)]


async def records_in(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """The committed records of the topic as it stands."""
    async with RecordReader.opened(bootstrap, [topic]) as reader:
        return [record async for record in reader.until_now()]


async def retries_in(bootstrap: str, topic: Topic) -> list[str]:
    """The attempts that the topic's retries announce, in order."""
    return [texts_of(record.headers)[ATTEMPT] for record in await records_in(bootstrap, retry_topic_name(topic.name, GROUP))]


async def dead_in(bootstrap: str, topic: Topic) -> list[tuple[bytes | None, str]]:
    """The topic's dead letters: their bytes and error classes."""
    records = await records_in(bootstrap, dlq_topic_name(topic.name, GROUP))
    return [(record.value, texts_of(record.headers)[ERROR_CLASS]) for record in records]


async def until(true: Callable[[], Awaitable[bool] | bool], seconds: float = _WAIT_S_MAX) -> None:
    """Waits until something is the case; TimeoutError where it never is."""
    async with asyncio.timeout(seconds):
        while True:
            answer = true()
            if answer is True or (answer is not False and await answer):
                return
            await asyncio.sleep(0.05)


async def until_seen(bootstrap: str, topic: Topic, count: int, seconds: float = _WAIT_S_MAX) -> list[bytes]:
    """The committed bodies of a topic once it has this many; TimeoutError where it never has."""
    seen: list[bytes] = []
    async with asyncio.timeout(seconds), aclosing(read_topic(topic, bootstrap)) as events:
        async for event in events:
            seen.append(event.body)
            if len(seen) >= count:
                break
    return seen


@asynccontextmanager
async def running_hop(bootstrap: str, topic: Topic, handler: Handler[Any], **options: Any) -> AsyncIterator[Hop]:
    """A hop on the topic, started; stopped at the end."""
    settings = options.pop("settings", QUICK)
    batch = {name: options.pop(name) for name in ("batch_records_max", "batch_records_min", "gapless") if name in options}
    hop = Hop(Subscription(topic, GROUP, handler, **batch), bootstrap, settings, **options)
    await hop.start()
    try:
        yield hop
    finally:
        await hop.stop()


def event(body: bytes = b"body", topic: str = "toy.in", attempt: int = 1, **fields: Any) -> Event[bytes]:
    """An event that was read nowhere."""
    return Event("id", topic, "key", body, 0.0, Position(topic, 0, 7), attempt, **fields)
