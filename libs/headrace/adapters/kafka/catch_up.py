"""Waiting until a consumer has handled what was in its topic at a given moment."""

import asyncio
import time

from headrace.adapters.kafka.record_lag import gaps, lags
from headrace.core.topics import Topic, consumer_group_id

_POLL_S = 0.2


async def caught_up(bootstrap: str, topic: Topic, group: str, *, wait_s: float) -> bool:
    """Return once the group has handled what is in the topic now; False where it has not within `wait_s` seconds.

    Raises:
        BrokerUnreachable, KafkaError: the broker does not answer.
    """
    groups = [(consumer_group_id(topic.name, group), (topic.name,))]
    deadline = time.monotonic() + wait_s
    wanted = {gap.partition: gap.end for gap in await gaps(bootstrap, groups)}
    while True:
        behind = {gap.partition for gap in await gaps(bootstrap, groups) if gap.committed < wanted[gap.partition]}
        # Commit markers take offsets too, so a partition that is behind by offsets may hold no record any more.
        if not behind or not any(lag.records for lag in await lags(bootstrap, groups) if lag.partition in behind):
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_POLL_S)
