"""How far the services are behind through which a sample goes, from the door to its decision and what is made of that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kafka.errors import KafkaError

from headrace.adapters.kafka.admin import KafkaAdmin, consumer_groups
from headrace.adapters.kafka.unreachable import BrokerUnreachable
from headrace.core.topics import DECIDED, HELD, PLACED, SCORED, SUBMITTED, VALIDATED, VALIDATION_REQUESTED
from services.gateway.lag import LagUnknown, ReadLag

_WAY = frozenset(topic.name for topic in (SUBMITTED, SCORED, HELD, PLACED, VALIDATION_REQUESTED, VALIDATED, DECIDED))
SPINE = tuple((group, topics) for group, topics in consumer_groups() if topics[0] in _WAY)
"""The consumers that intake waits for. A round's rows and rewrites wait for a chat endpoint, say: that is no reason to."""


@asynccontextmanager
async def spine_lag(bootstrap: str, start_s: float) -> AsyncIterator[ReadLag]:
    """A reader of the spine's lag: the gaps of its consumers (`SPINE`), added up.

    Gaps count offsets, and a transaction's marker takes one too: the figure is never below the number of records and at most
    about twice it. That is good enough for slowing intake down.

    Raises:
        BrokerUnreachable: the broker does not answer within `start_s` seconds.
    """
    admin = await asyncio.to_thread(KafkaAdmin, bootstrap, start_s=start_s)

    async def read() -> int:
        try:
            gaps = await asyncio.to_thread(admin.gaps, SPINE)
        except (KafkaError, BrokerUnreachable) as error:
            raise LagUnknown(repr(error)) from error
        return sum(gap.offsets for gap in gaps)

    try:
        yield read
    finally:
        await asyncio.to_thread(admin.close)
