"""What aiokafka cannot read, and what is made of it."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.kafka.unreadable import UNMENDED, Unreadable
from tests.fakes.raw_batches import damaged, lz4_batch, raw_batch

TP = TopicPartition("toy.in", 3)
BODIES = [b"a", b"b", b"c"]


def fetched(*batches: bytes, at: int = 0, mended: bool = True) -> Any:
    """What aiokafka makes of a fetch from this offset on."""
    memory, partition = (fetcher.MemoryRecords, fetcher.PartitionRecords) if mended else UNMENDED
    return partition(TP, memory(b"".join(batches)), [], at, None, None, True, 1)


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (raw_batch(BODIES, header_name=b"gr\xf6\xdf"), UnicodeDecodeError),
        (lz4_batch(BODIES), UnsupportedCodecError),
        (damaged(raw_batch(BODIES)), CorruptRecordException),
    ],
)
def test_without_the_mend_what_cannot_be_read_ends_the_parser(batch: bytes, error: type[Exception]) -> None:
    """When this fails, aiokafka has mended it, or has the library, and `unreadable` or a part of it can go."""
    with pytest.raises(error):
        list(fetched(batch, mended=False))


@given(st.binary(max_size=30))
def test_any_bytes_are_a_header_name(name: bytes) -> None:
    """Names that are text stay as they are, others show their bytes; keys, values and offsets are untouched."""
    for batch in (raw_batch(BODIES, first=7, header_name=name), raw_batch(BODIES, first=7, header_name=name, gzip=True)):
        records = list(fetched(batch, at=7))
        assert [(each.offset, each.key, each.value) for each in records] == [(7, b"a", b"a"), (8, b"b", b"b"), (9, b"c", b"c")]
        assert {each.headers for each in records} == {((name.decode(errors="backslashreplace"), b"value"),)}


def test_a_fetch_within_a_batch_of_odd_names_begins_there() -> None:
    """What lies before it in the batch was read before."""
    assert [record.offset for record in fetched(raw_batch(BODIES, header_name=b"\xff"), at=2)] == [2]


@pytest.mark.parametrize("bad", [lz4_batch(BODIES, first=3), damaged(raw_batch(BODIES, first=3))])
def test_what_lies_before_is_read_first_and_then_the_place_is_told(bad: bytes) -> None:
    """So nobody who goes on past that place leaves out records that could be read."""
    records = fetched(raw_batch(BODIES), bad)
    assert [record.value for record in records] == BODIES
    assert records.next_fetch_offset == 3
    with pytest.raises(Unreadable, match=r"toy\.in-3 cannot be read from offset 3 to 5 \("):
        next(fetched(bad, at=3))
