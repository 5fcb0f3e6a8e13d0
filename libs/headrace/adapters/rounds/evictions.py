"""Which samples leave so that the scale is held: from a survey's signal table and its selection."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.rounds.signal_table import SignalFile, held_out_flags, read_batches
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.versions.retracted_samples import retracted_samples
from headrace.adapters.versions.shards import parquet
from headrace.core.retractions import is_retracted
from headrace.core.rounds.redundancy import Neighbouring, most_redundant
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.signal_rows import Flags
from headrace.core.rounds.stored import collapsed_key, selection_key, signals_key
from headrace.core.rounds.surveys import EvictionRequested, Survey
from headrace.core.rounds.thresholds import TooManyRows
from headrace.core.samples import OriginKind

_COLUMNS = ("sample_id", "revision", "prompt_hash", "origin_kind", "density", "neighbours")
_BATCH_ROWS = 65_536


class Evictions:
    """Redundant rows of surveys, at most `evictions_max` of one: they leave in one transaction.

    A few hundred bytes are held for each row of a table, which has at most `rows_max` of them.
    """

    def __init__(self, surveys: SurveyFiles, rows_max: int, evictions_max: int) -> None:
        self._surveys = surveys
        self._rows_max = rows_max
        self._evictions_max = evictions_max

    async def read(self, asked: EvictionRequested) -> list[tuple[str, int]]:
        """The most redundant samples, id and revision: as many as are asked for, fewer where not enough are redundant.

        Where rows collapsed, in mode middo_compat, it is those: nothing is evicted there beside them.

        Rows that were selected never leave: rewritten ones are what they were no longer, sparse ones are no crowd. Held-out
        prompts never leave, and nobody leaves for them; nor for what was retracted since.

        Raises:
            TooManyRows: the table has more rows than can be held, or more of them are to leave than may leave at once.
            DamagedVersion: an object is missing or cannot be read.
            Stop: the store is gone.
        """
        survey = asked.survey
        async with self._surveys.of(survey) as local:
            table = await local.file(signals_key(survey))
            if table is None or not asked.rows:
                return []
            retracted = await retracted_samples(local.objects, survey.dataset_id)
            collapsed = await local.file(collapsed_key(survey))
            if collapsed is not None:
                leaving = (await asyncio.to_thread(_collapsed, collapsed, survey, retracted))[: asked.rows]
            else:
                selection = await local.file(selection_key(survey))
                leaving = await asyncio.to_thread(self._chosen, asked, table, selection, retracted)
        if len(leaving) > self._evictions_max:
            raise TooManyRows(
                f"{len(leaving):,} rows are to leave, and at most {self._evictions_max:,} may at once: "
                "raise HEADRACE_DATASETS_EVICTIONS_MAX, or let the dataset grow (rounds.scale: paper)"
            )
        return leaving

    def _chosen(
        self, asked: EvictionRequested, table: Path, selection: Path | None, retracted: Mapping[str, int]
    ) -> list[tuple[str, int]]:
        survey = asked.survey
        rows = self._read(table, survey)
        replaced, sparse = _selected(selection, survey)
        ids = rows["sample_id"].combine_chunks()
        neighbouring = Neighbouring(
            *_neighbours(rows["neighbours"].combine_chunks(), ids),
            density=rows["density"].to_numpy(),
            model_written=_flags(pc.not_equal(rows["origin_kind"], OriginKind.INGESTED.value)),
            kept=_flags(pc.is_in(ids, value_set=sparse)),
            apart=_flags(pc.is_in(ids, value_set=replaced))
            | held_out_flags(rows["prompt_hash"], survey.holds_out)
            | _taken_back(rows, retracted),
        )
        revisions = rows["revision"]
        return [(ids[row].as_py(), revisions[row].as_py()) for row in most_redundant(neighbouring, asked.rows)]

    def _read(self, path: Path, survey: Survey) -> pa.Table:
        batches, count = [], 0
        for batch in read_batches((SignalFile(path, signals_key(survey)),), _COLUMNS, _BATCH_ROWS):
            count += batch.num_rows
            if count > self._rows_max:
                raise TooManyRows(
                    f"evictions are chosen among at most {self._rows_max:,} rows (HEADRACE_DATASETS_EVICTION_ROWS_MAX), and the "
                    "table has more: raise it, or let the dataset grow (rounds.scale: paper)"
                )
            batches.append(batch)
        return pa.Table.from_batches(batches)


def _collapsed(path: Path, survey: Survey, retracted: Mapping[str, int]) -> list[tuple[str, int]]:
    with path.open("rb") as handle, parquet(handle, collapsed_key(survey)) as file:
        rows = file.read(columns=["sample_id", "revision"])
    pairs = zip(rows["sample_id"].to_pylist(), rows["revision"].to_pylist(), strict=True)
    return [(sample_id, revision) for sample_id, revision in pairs if not is_retracted(retracted, sample_id, revision)]


def _selected(path: Path | None, survey: Survey) -> tuple[pa.Array, pa.Array]:
    """The ids of the rows that rewrites replace, and of those they stand beside."""
    if path is None:
        return pa.array([], pa.string()), pa.array([], pa.string())
    with path.open("rb") as handle, parquet(handle, selection_key(survey)) as file:
        selection = file.read(columns=["sample_id", "axis"])
    is_sparse = pc.equal(selection["axis"], Axis.SPARSE.value)
    ids = selection["sample_id"]
    return ids.filter(pc.invert(is_sparse)).combine_chunks(), ids.filter(is_sparse).combine_chunks()


def _neighbours(
    column: pa.ListArray, ids: pa.Array
) -> "tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], np.ndarray[tuple[int, ...], np.dtype[np.float64]]]":
    """Rows and cosines of each row's neighbours, in as many columns as the longest list has entries."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    width = int(lengths.max(initial=0))
    rows = np.full((len(column), width), -1, dtype=np.int64)
    cosines = np.full((len(column), width), np.nan)
    flat = column.flatten()
    places = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    where = (np.repeat(np.arange(len(column)), lengths), places)
    rows[where] = pc.fill_null(pc.index_in(flat.field("sample_id"), value_set=ids), -1).to_numpy()
    cosines[where] = flat.field("cosine").to_numpy(zero_copy_only=False)
    return rows, cosines


def _taken_back(rows: pa.Table, retracted: Mapping[str, int]) -> Flags:
    flags = _flags(pc.is_in(rows["sample_id"], value_set=pa.array(list(retracted), pa.string())))
    for row in np.flatnonzero(flags):
        flags[row] = is_retracted(retracted, rows["sample_id"][row].as_py(), rows["revision"][row].as_py())
    return flags


def _flags(column: pa.ChunkedArray | pa.Array) -> Flags:
    flags: Flags = np.array(column.to_numpy(zero_copy_only=False), dtype=np.bool_)
    return flags
