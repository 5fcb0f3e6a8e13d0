"""Keys go where every other Kafka client would put them."""

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.kafka.partitioning import murmur2, partition_of


@given(st.binary(max_size=200))
def test_the_hash_is_that_of_the_other_clients(key: bytes) -> None:
    """Any key of any length hashes as in aiokafka, which follows the Java client."""
    assert murmur2(key) == reference(key) & 0xFFFFFFFF


@given(st.binary(max_size=40), st.integers(1, 64))
def test_a_key_has_one_partition_for_all_clients(key: bytes, count: int) -> None:
    """The partition is that of aiokafka's own partitioner."""
    partitions = list(range(count))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, partitions, partitions)


def test_records_without_a_key_are_spread() -> None:
    """No key, no order to keep: any partition will do."""
    assert {partition_of(None, [0, 1]) for _ in range(100)} == {0, 1}
