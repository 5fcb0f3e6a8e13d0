"""Which partition a key belongs to, as Kafka's own clients compute it."""

import random
from collections.abc import Sequence
from struct import unpack_from

_M = 0x5BD1E995
_SEED = 0x9747B28C
_32_BITS = 0xFFFFFFFF


def partition_of(key: bytes | None, partitions: Sequence[int]) -> int:
    """The partition of a key among all partitions of a topic, in order; any of them where there is no key."""
    if key is None:
        return random.choice(partitions)  # noqa: S311  # spreads load, keeps no secret
    return partitions[(murmur2(key) & 0x7FFFFFFF) % len(partitions)]


def murmur2(key: bytes) -> int:
    """The 32-bit hash of Kafka's default partitioner.

    aiokafka's does the same byte by byte, which was the dearest thing that happened to a record on its way through a hop.
    """
    length = len(key)
    hashed = _SEED ^ length
    words = length >> 2
    for word in unpack_from(f"<{words}I", key):
        mixed = (word * _M) & _32_BITS
        hashed = ((hashed * _M) ^ ((mixed ^ (mixed >> 24)) * _M)) & _32_BITS
    tail = key[words << 2 :]
    if tail:
        hashed = ((hashed ^ int.from_bytes(tail, "little")) * _M) & _32_BITS
    hashed = ((hashed ^ (hashed >> 13)) * _M) & _32_BITS
    return hashed ^ (hashed >> 15)
