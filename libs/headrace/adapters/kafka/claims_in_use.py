"""Which bodies in the object store records still refer to: every record that Kafka retains is looked at, headers only."""

import asyncio

from headrace.adapters.claim_check import reference_in
from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import RecordReader
from headrace.adapters.wire.fields import Undecodable


async def claims_in_use(bootstrap: str, *, start_s: float) -> frozenset[bytes]:
    """The hashes of all bodies that records of Headrace's topics refer to, dead letters and accepted topics included.

    A body that is sent while this reads is written anew, hence young. Memory grows with the claims, 32 bytes each.

    Raises:
        BrokerUnreachable: the broker does not answer in time.
    """
    topics = await asyncio.to_thread(_topics, bootstrap, start_s)
    used: set[bytes] = set()
    async with RecordReader.opened(bootstrap, topics, start_s=start_s) as reader:
        async for record in reader.until_now():
            try:
                reference = reference_in(record.value, record.headers)
            except Undecodable:  # no claim of ours
                continue
            if reference is not None:
                used.add(bytes.fromhex(reference.sha256))
    return frozenset(used)


def _topics(bootstrap: str, start_s: float) -> list[str]:
    with KafkaAdmin(bootstrap, start_s=start_s) as admin:
        return list(admin.topics())
