"""Publishing policies, and reading which ones stand: one record per dataset on a compacted topic."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import BrokerUnreachable, EventPublisher, read_topic
from headrace.core.dossiers import PolicyPublished
from headrace.core.events import Send
from headrace.core.policies import Policy
from headrace.core.topics import POLICY_PUBLISHED, accepted_topic


@dataclass(frozen=True, slots=True)
class PolicyTopics:
    """Which broker, and how a dataset's accepted topic is made there."""

    bootstrap: str
    partitions: int
    replication_factor: int
    start_s: float


async def publish_policy(dataset_id: str, policy: Policy, topics: PolicyTopics, *, now: float) -> PolicyPublished:
    """Make a policy the dataset's standing one, and with its first policy the dataset: its accepted topic is made before.

    `now` is Unix time in seconds. The policy's checks are the caller's to validate (`headrace.checks.validate`).

    Raises:
        ValueError: the dataset id is not a plain lower-case name.
        BrokerUnreachable: the broker does not answer, or lacks its topics.
    """
    accepted_topic(dataset_id)  # refuses an impossible id before anything is made
    await asyncio.to_thread(_prepare, dataset_id, topics)
    published = PolicyPublished(dataset_id, policy.version, policy.canonical_json(), now)
    async with EventPublisher(topics.bootstrap, "headrace/policy", start_s=topics.start_s) as publisher:
        event_id = f"{dataset_id}/{policy.version}/{round(now * 1000)}"
        await publisher.publish(Send(POLICY_PUBLISHED, published), event_id=event_id)
    return published


async def standing_policies(topics: PolicyTopics) -> Mapping[str, PolicyPublished]:
    """The latest policy of every dataset, by dataset id.

    Raises:
        BrokerUnreachable: the broker does not answer, or lacks the topic.
    """
    standing: dict[str, PolicyPublished] = {}
    async for event in read_topic(POLICY_PUBLISHED, topics.bootstrap, until_now=True, start_s=topics.start_s):
        standing[event.body.dataset_id] = event.body
    return standing


def policy_in(published: PolicyPublished) -> Policy | None:
    """The policy of a record; None where this release cannot read it."""
    try:
        return Policy.model_validate_json(published.policy_json)
    except ValidationError:
        return None


def _prepare(dataset_id: str, topics: PolicyTopics) -> None:
    with KafkaAdmin(topics.bootstrap, start_s=topics.start_s) as admin:
        if POLICY_PUBLISHED.name not in admin.topics():
            raise BrokerUnreachable(
                f"topic {POLICY_PUBLISHED.name} does not exist at {topics.bootstrap}: run `headrace topics create`"
            )
        admin.create_accepted_topic(dataset_id, partitions=topics.partitions, replication_factor=topics.replication_factor)
