"""The log of a part that is still written: what a killed process had written is there when it is opened again.

One record is one write: its length and checksum, then JSON with ids and payloads, then the vectors as they lie in memory. A
record that a death cut short is the last one, belongs to a call that never returned, and is dropped.
"""

import json
import logging
import os
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from headrace.adapters.vector_index.engine import Point

_log = logging.getLogger("headrace.vector_index")
NAME = "points.log"
_BEGIN = struct.Struct("<8sI")
_MAGIC = b"hrpoint1"
_HEAD = struct.Struct("<III")
"""Checksum of what follows it, length of the JSON, length of the vectors."""


class DamagedIndex(OSError):
    """A folder of the index cannot be read."""

    def __init__(self, path: Path, why: object) -> None:
        super().__init__(
            f"{path} cannot be opened: {why}. Move the index folder away, start over and run `headrace index rebuild`"
        )


@dataclass(frozen=True, slots=True)
class Written:
    """One write: points that were put, or ids that were removed."""

    points: Sequence[Point] = ()
    removed: Sequence[str] = ()


class PointLog:
    """Appends writes to a file. Each has left the process when the call returns; `sync` brings them to the disk."""

    def __init__(self, path: Path, dimensions: int) -> None:
        """Makes the file, or goes on behind its last whole record."""
        self.path = path
        self._dimensions = dimensions
        self._end = 0
        there = path.exists()
        if there:
            self._end = max((end for end, _ in _records(path)), default=_BEGIN.size)
            os.truncate(path, self._end)
        self._file: IO[bytes] = path.open("ab", buffering=0)  # at the end, also once half a record was taken back
        if not there:
            try:
                self._write(_BEGIN.pack(_MAGIC, dimensions))
            except OSError:
                self.close()
                raise

    @property
    def size(self) -> int:
        """Bytes."""
        return self._end

    def put(self, points: Sequence[Point]) -> None:
        """Points, each whole."""
        if points:
            vectors = [np.ascontiguousarray(each, "<f4") for point in points for each in point.vectors.values()]
            self._append({"points": [[point.id, dict(point.payload), list(point.vectors)] for point in points]}, vectors)

    def remove(self, ids: Collection[str]) -> None:
        """Points that are no more."""
        if ids:
            self._append({"removed": list(ids)}, [])

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _append(self, said: dict[str, Any], vectors: Sequence[Any]) -> None:
        text = json.dumps(said, separators=(",", ":")).encode()
        body = b"".join([text, *vectors])
        lengths = struct.pack("<II", len(text), len(body) - len(text))
        self._write(_HEAD.pack(zlib.crc32(body, zlib.crc32(lengths)), len(text), len(body) - len(text)) + body)

    def _write(self, record: bytes) -> None:
        """The whole of it, or nothing."""
        written, left = 0, memoryview(record)
        try:
            while written < len(record):
                written += self._file.write(left[written:]) or 0
        except OSError:
            os.ftruncate(self._file.fileno(), self._end)  # or the next record would lie behind half of this one
            raise
        self._end += len(record)


def dimensions_of(path: Path) -> int:
    """The size of the vectors in a log.

    Raises:
        DamagedIndex: the file is no log.
    """
    try:
        with path.open("rb") as file:
            magic, dimensions = _BEGIN.unpack(file.read(_BEGIN.size))
    except (OSError, struct.error) as error:
        raise DamagedIndex(path, error) from error
    if magic != _MAGIC:
        raise DamagedIndex(path, "it is no log of points")
    return int(dimensions)


def written_in(path: Path) -> Iterator[Written]:
    """What was written, in order, up to the last whole record.

    Raises:
        DamagedIndex: the file is no log.
    """
    return (written for _, written in _records(path))


def _records(path: Path) -> Iterator[tuple[int, Written]]:
    """Each write with where it ends."""
    dimensions = dimensions_of(path)
    with path.open("rb") as file:
        end = file.seek(_BEGIN.size)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            checksum, text_size, vectors_size = _HEAD.unpack(head)
            if text_size + vectors_size > os.fstat(file.fileno()).st_size - file.tell():
                break
            body = file.read(text_size + vectors_size)
            if zlib.crc32(body, zlib.crc32(head[4:])) != checksum:
                break
            end = file.tell()
            yield end, _written(body, text_size, dimensions)
        if end < os.fstat(file.fileno()).st_size:
            _log.warning("%s ends in a record that was cut short, which is left out", path)


def _written(body: bytes, text_size: int, dimensions: int) -> Written:
    said = json.loads(body[:text_size])
    if "removed" in said:
        return Written(removed=said["removed"])
    rows = iter(np.frombuffer(body, "<f4", offset=text_size).reshape(-1, dimensions))
    return Written([Point(name, payload, {each: next(rows) for each in vectors}) for name, payload, vectors in said["points"]])
