"""Mends what aiokafka 0.14 makes of records that it cannot read; whoever reads what strangers write imports this first.

A header's name that is not UTF-8 ends its parser, and so the partition; Kafka's own client writes a replacement for what it
cannot read. Whatever else cannot be read (a compression without its library, a broken checksum) is raised without saying where,
and ahead of the records before it. A test shows when a later aiokafka no longer needs this.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

UNMENDED = (fetcher.MemoryRecords, fetcher.PartitionRecords)


class Unreadable(KafkaError):  # type: ignore[misc]  # aiokafka publishes no types
    """What lies in a partition from one offset to another cannot be read."""

    def __init__(self, tp: TopicPartition, first: int, last: int, error: Exception) -> None:
        super().__init__(tp, first, last, error)
        self.tp = tp

    def __str__(self) -> str:
        tp, first, last, error = self.args
        return f"{tp.topic}-{tp.partition} cannot be read from offset {first} to {last} ({error!r})"


class _Lenient(bytearray):
    """Bytes that are text whatever they hold: those that are not UTF-8 show as their numbers."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Lenient(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # as above
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Lenient(self._buffer)


class _Batch:
    """A batch read by aiokafka's fast parser, and from the first record on that has such a name by its slow one."""

    def __init__(self, batch: Any, buffer: memoryview) -> None:
        self._batch = batch
        self._buffer = buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        count = 0
        try:
            for record in self._batch:
                yield record
                count += 1
        except UnicodeDecodeError:
            yield from islice(_LenientBatch(self._buffer), count, None)


class _MemoryRecords(_MemoryRecordsPy):  # type: ignore[misc]  # as above
    """The batches of one fetch; `last` is the offset of the last record in the latest one."""

    last = -1

    def next_batch(self) -> Any:
        buffer, batch = self._next_slice, super().next_batch()
        if batch is None:
            return None
        self.last = batch.next_offset - 1
        return batch if batch.is_control_batch else _Batch(batch, buffer)


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # as above
    """The records of one fetch, up to what cannot be read; the next fetch begins with that, and says so."""

    def __init__(self, tp: TopicPartition, records: Any, aborted: Any, fetch_offset: int, *others: Any) -> None:
        super().__init__(tp, records, aborted, fetch_offset, *others)
        self._began_at = fetch_offset

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except StopIteration:
            raise
        except Exception as error:  # parsers raise what they like: it is told where it lies
            if self.next_fetch_offset > self._began_at:
                raise StopIteration from error
            raise Unreadable(self._tp, self.next_fetch_offset, self._records.last, error) from error


fetcher.MemoryRecords, fetcher.PartitionRecords = _MemoryRecords, _PartitionRecords  # the mend itself
