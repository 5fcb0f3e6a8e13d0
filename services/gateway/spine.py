"""How far the services behind the door are behind, over all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kafka.errors import KafkaError

from headrace.adapters.kafka.admin import KafkaAdmin, consumer_groups
from headrace.core.topics import CUT_REQUESTED, INGEST
from services.gateway.lag import LagUnknown, ReadLag

_SPINE = tuple((group, topics) for group, topics in consumer_groups() if topics[0] not in {INGEST.name, CUT_REQUESTED.name})


@asynccontextmanager
async def spine_lag(bootstrap: str, start_s: float) -> AsyncIterator[ReadLag]:
    """A reader of the spine's lag: the gaps of all its consumers, added up.

    Gaps count offsets, and a transaction's marker takes one too: the figure is never below the number of records and at most
    about twice it. That is good enough for slowing intake down.

    Raises:
        BrokerUnreachable: the broker does not answer within `start_s` seconds.
    """
    admin = await asyncio.to_thread(KafkaAdmin, bootstrap, start_s=start_s)

    async def read() -> int:
        try:
            gaps = await asyncio.to_thread(admin.gaps, _SPINE)
        except KafkaError as error:
            raise LagUnknown(repr(error)) from error
        return sum(gap.offsets for gap in gaps)

    try:
        yield read
    finally:
        await asyncio.to_thread(admin.close)
