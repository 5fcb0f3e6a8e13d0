"""Densities of a survey's rows in the object store: one create-only object for each block of rows of the closed set.

A block that is there is not computed again, so a kill costs one block. Blocks lie where `QUERY_ROWS` puts them.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from headrace.adapters.rounds.closed_set import PromptVectors
from headrace.adapters.rounds.parquet_rows import read_table
from headrace.adapters.rounds.signal_table import SIGNAL_TABLE
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.versions.shards import write_segment
from headrace.core.ports.object_store import ObjectStore
from headrace.core.rounds.densities import QUERY_ROWS, Neighbourhoods, nearest
from headrace.core.rounds.facts import DensitiesMade
from headrace.core.rounds.stored import densities_from, densities_key, densities_prefix
from headrace.core.rounds.surveys import DensityRequested, Survey
from headrace.core.versions import DamagedVersion

DENSITIES = pa.schema([SIGNAL_TABLE.field(name) for name in ("sample_id", "revision", "density", "neighbours")])
"""One row for each of the closed set; rows without an embedding, or with fewer than k others that have one, have nulls."""

_NEIGHBOUR = DENSITIES.field("neighbours").type.value_type


async def make_block(objects: ObjectStore, survey: Survey, closed: PromptVectors, first_row: int, k: int) -> int:
    """Store the densities of the block that begins at this row; returns its rows. Raises Stop when the store is gone."""
    rows = min(QUERY_ROWS, len(closed) - first_row)
    key = densities_key(survey, first_row, rows)
    if await objects.stat(key) is None:
        body = await asyncio.to_thread(lambda: write_segment(density_table(closed, first_row, rows, k)))
        await objects.put_if_absent(key, body)
    return rows


class DensityBlocks:
    """Makes blocks for a slice of time; at least one, and never longer than that one beyond the slice."""

    def __init__(self, surveys: SurveyFiles, slice_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._surveys = surveys
        self._slice_s = slice_s
        self._clock = clock

    async def make(self, asked: DensityRequested) -> DensitiesMade:
        """Store the densities of the rows from the first one asked for on.

        Raises:
            RowsMissing: the set is not closed and has fewer rows than it is to have.
            DamagedVersion: an object is missing or damaged.
            Stop: the store is gone.
        """
        began, row = self._clock(), asked.first_row
        async with self._surveys.of(asked.survey) as local:
            closed = await local.compared(asked.rows)
            while row < len(closed):
                row += await make_block(local.objects, asked.survey, closed, row, asked.neighbours)
                if self._clock() - began >= self._slice_s:
                    break
        return DensitiesMade(row - asked.first_row, complete=row >= len(closed))


def density_table(closed: PromptVectors, first_row: int, rows: int, k: int) -> pa.Table:
    """Densities and neighbours of some consecutive rows. Computes for a second or so: call it in a thread."""
    names = closed.names.slice(first_row, rows)
    places = names["place"].to_numpy()
    queried = np.flatnonzero(places >= 0)
    found = nearest(closed.vectors, int(places[queried[0]]), len(queried), k) if len(queried) else None
    if found is None:
        densities, neighbours = pa.nulls(rows, pa.float64()), pa.nulls(rows, DENSITIES.field("neighbours").type)
    else:
        spread = np.full(rows, -1, dtype=np.int64)
        spread[queried] = np.arange(len(queried))
        taken = pa.array(spread, mask=spread < 0)
        densities, neighbours = pa.array(found.densities).take(taken), _neighbours(closed, found, k).take(taken)
    return pa.table([names["sample_id"], names["revision"], densities, neighbours], schema=DENSITIES)


def read_densities(objects: ObjectStore, survey: Survey, blocks: list[str]) -> Iterator[pa.Table]:
    """The densities of all rows in their order, block by block, from the keys that `block_keys` gave. Blocks.

    Raises:
        DamagedVersion: a block is missing or cannot be read.
    """
    row = 0
    known = {first: (rows, key) for key in sorted(blocks) if (place := densities_from(survey, key)) for first, rows in [place]}
    while row in known:
        rows, key = known[row]
        yield read_table(objects, key)
        row += rows
    if row < max((first + rows for first, (rows, _) in known.items()), default=0):
        raise DamagedVersion(f"{densities_prefix(survey)}: no densities of the rows from {row} on")


async def block_keys(objects: ObjectStore, survey: Survey) -> list[str]:
    """The keys of the survey's blocks of densities. Raises Stop when the store is gone."""
    return [entry.key async for entry in objects.list(densities_prefix(survey))]


def _neighbours(closed: PromptVectors, found: Neighbourhoods, k: int) -> pa.Array:
    """The neighbours by sample id. Vectors have their own numbers: rows without one are none of them."""
    flat = found.rows.ravel()
    wanted, inverse = np.unique(flat, return_inverse=True)
    rows = np.searchsorted(_cumulated(closed), wanted + 1)
    ids = closed.names["sample_id"].take(pa.array(rows)).combine_chunks().take(pa.array(inverse))
    each = pa.StructArray.from_arrays([ids, pa.array(found.cosines.ravel())], fields=list(_NEIGHBOUR))
    return pa.ListArray.from_arrays(
        pa.array(np.arange(0, len(flat) + 1, k), pa.int32()), each, type=DENSITIES.field("neighbours").type
    )


def _cumulated(closed: PromptVectors) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """For each row how many vectors there are up to it: the n-th vector is that of the first row where this is n + 1."""
    return np.maximum.accumulate(closed.names["place"].to_numpy() + 1)
