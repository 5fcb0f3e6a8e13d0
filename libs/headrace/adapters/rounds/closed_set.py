"""The closed set of a survey: its rows in the order of sample ids, each once; and their prompt embeddings as a local file.

The order follows from the rows alone, so nothing that is computed over the set depends on when its rows arrived.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.rounds.measured_rows import MeasuredRows, ends_of, slices_up_to
from headrace.adapters.versions.sorted_rows import RUN_BYTES, RowSorter, latest_revisions
from headrace.core.ports.object_store import ObjectStore
from headrace.core.rounds.densities import Vectors
from headrace.core.rounds.pages import RowsMissing
from headrace.core.rounds.surveys import Survey
from headrace.core.staged import Slice

_NAMES = pa.schema([pa.field("sample_id", pa.string()), pa.field("revision", pa.int64()), pa.field("place", pa.int64())])
_SORTED_BY = ("sample_id", "revision", "stream", "offset")
_FLOAT32_BYTES = 4
_UNIT_TOLERANCE = 1e-5
_VECTORS_FILE = "prompts.f32"
_NAMES_FILE = "rows.arrow"


async def closed_rows(
    objects: ObjectStore, survey: Survey, rows: int, columns: Sequence[str], folder: Path, run_bytes: int = RUN_BYTES
) -> RowSorter:
    """The rows of the closed set, to be taken in order through `latest_revisions`; the folder holds them sorted.

    The set is closed here, unless it was before, once it has `rows` rows. Of a row that was measured twice the later one counts.

    Raises:
        RowsMissing: fewer rows are staged: the set stays open.
        Stop, DamagedVersion: as MeasuredRows says.
    """
    measured = MeasuredRows(objects)
    ends = await measured.closed(survey)
    segments = await measured.segments(survey)
    upto = ends_of(segments) if ends is None else ends
    parts = list(slices_up_to(segments, upto))
    if ends is None:
        there = await asyncio.to_thread(_count, measured, survey, parts, folder, run_bytes)
        if there < rows:
            raise RowsMissing(f"round {survey.round_id} of {survey.dataset_id}: {there} of {rows} rows were measured")
        if not await measured.close(survey, upto):
            return await closed_rows(objects, survey, rows, columns, folder, run_bytes)
    return await asyncio.to_thread(_sorted, measured, survey, parts, columns, folder, run_bytes)


def _count(measured: MeasuredRows, survey: Survey, parts: Sequence[Slice], folder: Path, run_bytes: int) -> int:
    counted = _sorted(measured, survey, parts, (), folder, run_bytes)
    return sum(table.num_rows for table in latest_revisions(counted.tables()))


def _sorted(
    measured: MeasuredRows, survey: Survey, parts: Sequence[Slice], columns: Sequence[str], folder: Path, run_bytes: int
) -> RowSorter:
    sorter = RowSorter(folder, run_bytes)
    for part in parts:
        sorter.add(measured.read(survey, part, list(dict.fromkeys((*_SORTED_BY, *columns)))))
    return sorter


@dataclass(frozen=True, slots=True, eq=False)
class PromptVectors:
    """The closed set on local disk. `names` has sample id, revision and place of each row: which vector is its, -1 for none.

    Both are mapped into memory, not read.
    """

    names: pa.Table
    vectors: Vectors

    def __len__(self) -> int:
        return int(self.names.num_rows)

    def vector_of(self, sample_id: str) -> bytes:
        """A row's embedding, float32 little-endian of unit length; empty where it has none, or is no row."""
        row = self._row_of(sample_id)
        place = -1 if row is None else self.names["place"][row].as_py()
        return b"" if place < 0 else np.asarray(self.vectors[place]).astype("<f4").tobytes()

    def _row_of(self, sample_id: str) -> int | None:
        low, high = 0, len(self)
        ids = self.names["sample_id"]
        wanted = sample_id.encode()
        while low < high:
            middle = (low + high) // 2
            if ids[middle].as_py().encode() < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and ids[low].as_py() == sample_id else None


async def build_prompt_vectors(
    objects: ObjectStore, survey: Survey, rows: int, folder: Path, column: str = "prompt"
) -> PromptVectors:
    """Write the closed set into a folder of its own, with the embeddings in that column. Raises what `closed_rows` raises."""
    sorter = await closed_rows(objects, survey, rows, (column,), folder)
    await asyncio.to_thread(_write, latest_revisions(sorter.tables()), folder, column)
    return await asyncio.to_thread(_opened, folder)


def _write(tables: Iterator[pa.Table], folder: Path, column: str) -> None:
    place = dimensions = 0
    with (
        (folder / _VECTORS_FILE).open("wb") as vectors,
        pa.OSFile(str(folder / _NAMES_FILE), "wb") as file,
        pa.ipc.new_file(file, _NAMES) as names,
    ):
        for table in tables:
            lengths = pc.fill_null(pc.binary_length(table[column]), 0).to_numpy()
            dimensions = dimensions or int(next((length for length in lengths if length), 0)) // _FLOAT32_BYTES
            fits = (lengths == dimensions * _FLOAT32_BYTES) & (lengths > 0)
            unit, usable = _unit_vectors(table[column].filter(pa.array(fits)), dimensions)
            has_vector = np.zeros(table.num_rows, dtype=np.bool_)
            has_vector[np.flatnonzero(fits)[usable]] = True
            places = np.where(has_vector, place + np.cumsum(has_vector) - 1, -1)
            place += int(np.count_nonzero(has_vector))
            vectors.write(np.ascontiguousarray(unit[usable]).tobytes())
            names.write_table(pa.table([table["sample_id"], table["revision"], pa.array(places)], schema=_NAMES))


def _unit_vectors(embeddings: pa.ChunkedArray, dimensions: int) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """The embeddings, scaled to unit length where they are off by more than rounding, and which of them can be used at all."""
    found = np.frombuffer(b"".join(embeddings.to_pylist()), "<f4").reshape(len(embeddings), dimensions or 1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lengths = np.linalg.norm(found.astype(np.float64), axis=1)
        usable = np.isfinite(lengths) & (lengths > 0)
        scaled = found / lengths[:, None]
    off = usable & (np.abs(lengths - 1.0) > _UNIT_TOLERANCE)
    unit = np.where(off[:, None], scaled, found).astype(np.float32)
    return unit, usable


def _opened(folder: Path) -> PromptVectors:
    with pa.memory_map(str(folder / _NAMES_FILE)) as file:
        names = pa.ipc.open_file(file).read_all()
    count = int(pc.sum(pc.greater_equal(names["place"], 0)).as_py() or 0)
    path = folder / _VECTORS_FILE
    if not count:
        return PromptVectors(names, np.empty((0, 1), dtype=np.float32))
    return PromptVectors(names, np.memmap(path, dtype="<f4", mode="r").reshape(count, -1))
