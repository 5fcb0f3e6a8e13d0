"""The publisher of events in front of a real broker that refuses one of them."""

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from headrace.adapters.kafka.admin import KafkaAdmin, TopicSpec
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.core.dossiers import PolicyPublished
from headrace.core.events import Send
from headrace.core.topics import POLICY_PUBLISHED

pytestmark = pytest.mark.connected


def send(dataset: str, *, size: int = 10) -> Send:
    return Send(POLICY_PUBLISHED, PolicyPublished(dataset, "v", "x" * size, 1.0))


async def test_behind_a_refused_event_the_next_ones_are_written(own_kafka: str) -> None:
    """The refused one leaves a gap in the producer's sequence; each later one is written once, and the publisher stays ready."""
    with KafkaAdmin(own_kafka) as admin:
        admin.create([TopicSpec(POLICY_PUBLISHED.name, 1, {"max.message.bytes": "20000"})], replication_factor=1)
    async with EventPublisher(own_kafka, "headrace/test") as publisher:
        await publisher.publish(send("first"), event_id="first")
        for number in range(3):
            with pytest.raises(MessageSizeTooLargeError):
                await publisher.publish(send("large", size=30_000), event_id="large")
            await publisher.publish(send(f"after-{number}"), event_id=f"after-{number}")
        await publisher.ping()
    written = [event.body.dataset_id async for event in read_topic(POLICY_PUBLISHED, own_kafka, until_now=True)]
    assert written == ["first", "after-0", "after-1", "after-2"]
