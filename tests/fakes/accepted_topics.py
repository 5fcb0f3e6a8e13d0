"""Accepted topics of made-up datasets, written as admission writes them."""

import os
from collections.abc import Iterable

from headrace.adapters.claim_check import LargeBodies
from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher
from headrace.core.dossiers import AcceptedSample, Dossier, Retraction
from headrace.core.events import Send
from headrace.core.topics import accepted_topic
from tests.fakes.decisions import dossier


def new_dataset(bootstrap: str, *, partitions: int = 4) -> str:
    """The id of a dataset whose accepted topic exists and is empty."""
    dataset = f"notes-{os.urandom(4).hex()}"
    with KafkaAdmin(bootstrap) as admin:
        admin.create_accepted_topic(dataset, partitions=partitions, replication_factor=1)
    return dataset


def accepted(dataset: str, ids: Iterable[str], revision: int = 0, *, text: str = "") -> list[Dossier]:
    """An acceptance of each sample."""
    return [dossier(sample_id, revision, dataset_id=dataset, text=text) for sample_id in ids]


async def publish(
    bootstrap: str, dataset: str, changes: Iterable[Dossier | Retraction], bodies: LargeBodies | None = None
) -> None:
    """Writes changes in this order."""
    topic = accepted_topic(dataset)
    async with EventPublisher(bootstrap, "headrace/test", large_bodies=bodies) as publisher:
        await publisher.publish_many((os.urandom(8).hex(), Send(topic, AcceptedSample(change))) for change in changes)
