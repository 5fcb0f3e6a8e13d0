"""Where converted rows go: the files of their configuration and split, or the list of what is left out."""

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar, cast

import pyarrow as pa

from headrace.adapters.exports.contents import ACCEPTED, HELD_OUT, REJECTED, TRAIN, Contents, Split
from headrace.adapters.exports.files import LineFiles, ParquetFiles
from headrace.adapters.exports.shapes import Shape, json_line, occurring, paths_of
from headrace.core.exports import ExportFormat, Fields, Left
from headrace.core.fine_tuning import is_held_out
from headrace.core.versions import Version

LEFT_OUT = "left-out.jsonl"
_Files = TypeVar("_Files", LineFiles, ParquetFiles)
_FOLDERS = {ACCEPTED: "data", REJECTED: "rejected"}


class Sink:
    """Takes the rows of one export in their order; a context manager that closes what it opened."""

    def __init__(self, folder: Path, shape: Shape, held_out_share: float, held_out_seed: str) -> None:
        self.shape = shape
        self._folder = folder
        self._share = held_out_share
        self._seed = held_out_seed
        self._seen: set[str] = set()
        self._found_by: Counter[str] = Counter()
        self._left: Counter[Left] = Counter()
        self._open = ExitStack()
        self._files: dict[tuple[str, str], LineFiles | ParquetFiles] = {}
        self._left_out: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def take(self, config: str, batch: pa.RecordBatch) -> None:
        """Rows of a version, of the columns that the shape asks for."""
        if self.shape.convert is None:
            self._take_as_they_are(config, _aligned(batch, self.shape.schema))
            return
        lines: dict[str, list[bytes]] = {TRAIN: [], HELD_OUT: []}
        for row in batch.to_pylist():
            fields = self.shape.convert(row)
            line = self._line(fields, {"config": config, "sample_id": row["sample_id"], "revision": row["revision"]})
            if line is not None:
                lines[self._split(row["prompt_hash"] or "")].append(line)
        for split, written in lines.items():
            self._lines(config, split, written)

    def take_pairs(self, pairs: Iterable[tuple[str, Fields | Left, dict[str, Any]]]) -> None:
        """Preference pairs: prompt hash, the pair or why it is left out, whose answers they are."""
        for prompt_hash, fields, told in pairs:
            line = self._line(fields, told)
            if line is not None and not isinstance(fields, Left):
                self._found_by[fields["found_by"]] += 1
                self._lines(ACCEPTED, self._split(prompt_hash), [line])

    def finish(self, version: Version, licence: str) -> Contents:
        """Ends all files and says what there is."""
        self._open.close()
        splits = []
        for (config, name), files in sorted(self._files.items(), key=lambda item: (item[0][0], item[0][1] != TRAIN)):
            pattern = f"{_FOLDERS[config]}/{name}-*.{self.shape.suffix}"
            splits.append(Split(config, name, pattern, files.rows, tuple(files.finish(self._folder))))
        plain = self.shape.format is ExportFormat.PARQUET
        columns = self.shape.schema if plain else occurring(self.shape.schema, frozenset(self._seen))
        left, found_by = dict(self._left), dict(self._found_by)
        return Contents(version, self.shape, columns, tuple(splits), left, found_by, self._share, self._seed, licence)

    def _line(self, fields: Fields | Left, told: Fields) -> bytes | None:
        """The row's line; None where it is left out, which is then counted and listed."""
        line = fields if isinstance(fields, Left) else json_line(fields)
        if isinstance(line, Left):
            self._left[line] += 1
            if self._left_out is None:
                self._left_out = self._open.enter_context((self._folder / LEFT_OUT).open("wb"))
            self._left_out.write(json.dumps({**told, "reason": line.value}, ensure_ascii=False).encode() + b"\n")
            return None
        if not isinstance(fields, Left):
            self._seen.update(paths_of(fields))
        return line

    def _split(self, prompt_hash: str) -> str:
        return HELD_OUT if is_held_out(prompt_hash, self._share, self._seed) else TRAIN

    def _lines(self, config: str, split: str, lines: list[bytes]) -> None:
        if lines:
            files = self._files_of(config, split, LineFiles)
            files.write(lines)

    def _take_as_they_are(self, config: str, rows: pa.Table) -> None:
        aside = [self._split(prompt_hash or "") == HELD_OUT for prompt_hash in rows["prompt_hash"].to_pylist()]
        for split, chosen in ((TRAIN, [not each for each in aside]), (HELD_OUT, aside)):
            if any(chosen):
                self._files_of(config, split, ParquetFiles).write(rows.filter(pa.array(chosen)))

    def _files_of(self, config: str, split: str, kind: type[_Files]) -> _Files:
        files = self._files.get((config, split))
        if files is None:
            files = kind(self._folder / _FOLDERS[config], split, self.shape.suffix)
            self._files[config, split] = files
            self._open.callback(files.close)
        return cast("_Files", files)


def _aligned(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The batch with all columns of the schema: shards of earlier releases may lack some, which are then null."""
    names = set(batch.schema.names)
    columns = [
        batch.column(field.name).cast(field.type) if field.name in names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
