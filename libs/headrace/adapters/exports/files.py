"""The files of one split, written row by row: a new one begins when one is full. The same rows give the same bytes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

FILE_ROWS_MAX = 100_000
FILE_BYTES_MAX = 256 * 1024 * 1024
"""A file is ended once it has as many bytes."""
_GROUP_BYTES = 32 * 1024 * 1024
_GROUP_ROWS = 2_048


@dataclass(frozen=True, slots=True)
class Written:
    """A file of an export; `name` is its path inside the folder, with slashes."""

    name: str
    sha256: str
    size_bytes: int


class SplitFiles:
    """Files `<stem>-00000-of-00003.<suffix>` in a folder; how many there are is known only at the end."""

    def __init__(self, folder: Path, stem: str, suffix: str, *, rows_max: int = FILE_ROWS_MAX) -> None:
        self._folder = folder
        self._stem = stem
        self._suffix = suffix
        self._rows_max = rows_max
        self._parts: list[Path] = []
        self._file: IO[bytes] | None = None
        self._in_file = 0
        self.rows = 0

    def close(self) -> None:
        """End the last file; what lies there after an error is of no use."""
        self._end_file()

    def _begin_file(self) -> IO[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._parts.append(self._folder / f"{self._stem}-{len(self._parts):05}.part")
        return self._parts[-1].open("wb")

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._in_file = 0

    def finish(self, root: Path) -> list[Written]:
        """Ends the last file and gives all their names; nothing can be written afterwards."""
        self._end_file()
        written = []
        for index, part in enumerate(self._parts):
            path = part.rename(self._folder / f"{self._stem}-{index:05}-of-{len(self._parts):05}.{self._suffix}")
            written.append(written_file(path, root))
        return written


class LineFiles(SplitFiles):
    """JSON Lines."""

    def write(self, lines: Iterable[bytes]) -> None:
        """Append lines, each with its line break."""
        for line in lines:
            if self._file is not None and (self._in_file >= self._rows_max or self._file.tell() >= FILE_BYTES_MAX):
                self._end_file()
            self._file = self._file or self._begin_file()
            self._file.write(line)
            self._in_file += 1
            self.rows += 1


class ParquetFiles(SplitFiles):
    """Parquet; rows wait until a row group is full."""

    def __init__(self, folder: Path, stem: str, suffix: str, *, rows_max: int = FILE_ROWS_MAX) -> None:
        super().__init__(folder, stem, suffix, rows_max=rows_max)
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0

    def write(self, rows: pa.Table) -> None:
        """Append rows."""
        while rows.num_rows:
            room = min(_GROUP_ROWS, self._rows_max - self._in_file) - self._waiting_rows
            taken = rows.slice(0, room)
            self._waiting.append(taken)
            self._waiting_rows += taken.num_rows
            if taken.num_rows == room or sum(table.nbytes for table in self._waiting) >= _GROUP_BYTES:
                self._write_group()
            rows = rows.slice(taken.num_rows)

    def _write_group(self) -> None:
        group = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._waiting_rows = [], 0
        if self._writer is None:
            self._file = self._begin_file()
            self._writer = pq.ParquetWriter(self._file, group.schema, version="2.6", compression="zstd", write_page_checksum=True)
        self._writer.write_table(group)
        self._in_file += group.num_rows
        self.rows += group.num_rows
        if self._in_file >= self._rows_max or (self._file is not None and self._file.tell() >= FILE_BYTES_MAX):
            self._end_file()

    def _end_file(self) -> None:
        if self._waiting:
            self._write_group()  # may itself end the file, which is then ended twice to no harm
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        super()._end_file()


def written_file(path: Path, root: Path) -> Written:
    """A file as it lies in the folder `root`."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Written(path.relative_to(root).as_posix(), sha256, path.stat().st_size)
