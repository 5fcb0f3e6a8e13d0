"""Batches of records as bytes, as other clients write them and aiokafka's does not."""

import struct
from collections.abc import Sequence
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

from headrace.core.topics import Topic

LZ4 = 3
_LENGTH_AT, _CRC_AT, _CODEC_AT, _RECORDS_AT = 8, 17, 21, 61


def raw_batch(bodies: Sequence[bytes], *, first: int = 0, header_name: bytes = b"name", gzip: bool = False) -> bytes:
    """One batch from the offset `first` on; each record has a header of this name, which need not be text."""
    builder = _DefaultRecordBatchBuilderPy(2, int(gzip), 0, -1, -1, -1, 10_000_000)
    for number, body in enumerate(bodies):
        builder.append(number, timestamp=1, key=body, value=body, headers=[(_Name(header_name), b"value")])
    return _sealed(builder.build(), first)


def lz4_batch(bodies: Sequence[bytes], *, first: int = 0) -> bytes:
    """One batch in LZ4 frames, which aiokafka has no library for; nothing in it is really compressed."""
    plain = bytearray(raw_batch(bodies))
    records = plain[_RECORDS_AT:]
    plain[_RECORDS_AT:] = b"\x04\x22\x4d\x18\x60\x40\x82" + struct.pack("<I", len(records) | 1 << 31) + records + bytes(4)
    struct.pack_into(">h", plain, _CODEC_AT, LZ4)
    return _sealed(plain, first)


def damaged(batch: bytes) -> bytes:
    """The batch with another last byte than its checksum was taken of."""
    return batch[:-1] + bytes([batch[-1] ^ 1])


async def send_raw(producer: AIOKafkaProducer, topic: Topic, batch: bytes, partition: int = 0) -> None:
    """Has a broker store the batch as it is, but for its offsets."""
    builder = producer.create_batch()
    builder.append(timestamp=None, key=None, value=None)  # an empty one is not sent
    builder._build = lambda: batch
    builder.close()
    await (await producer.send_batch(builder, topic.name, partition=partition))


class _Name(str):
    """A header's name whose encoding is not that of a text."""

    __slots__ = ("_bytes",)
    _bytes: bytes

    def __new__(cls, name: bytes) -> Self:
        made = super().__new__(cls, name.decode(errors="replace"))
        made._bytes = name
        return made

    def encode(self, *_: str) -> bytes:
        return self._bytes


def _sealed(batch: bytes | bytearray, first: int) -> bytes:
    sealed = bytearray(batch)
    struct.pack_into(">q", sealed, 0, first)
    struct.pack_into(">i", sealed, _LENGTH_AT, len(sealed) - _LENGTH_AT - 4)
    struct.pack_into(">I", sealed, _CRC_AT, calc_crc32c(bytes(sealed[_CODEC_AT:])))
    return bytes(sealed)
