"""Putting a survey's signal table together: the closed set of measured rows, joined with the densities, in one Parquet file.

Memory is bounded whatever the number of rows: they are sorted in runs on local disk, and densities lie in the same order. The
same rows give the same bytes.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.rounds.closed_set import closed_rows
from headrace.adapters.rounds.density_blocks import block_keys, read_densities
from headrace.adapters.rounds.measured_rows import MEASURED_ROWS, MeasuredRows
from headrace.adapters.rounds.signal_table import SIGNAL_TABLE, SignalFile
from headrace.adapters.rounds.survey_pages import is_surveyed
from headrace.adapters.versions.shards import ShardLimits, write_shards
from headrace.adapters.versions.sorted_rows import RUN_BYTES, latest_revisions
from headrace.adapters.versions.store import VersionStore
from headrace.core.ports.object_store import ObjectStore
from headrace.core.rounds.pages import RowsMissing
from headrace.core.rounds.stored import densities_prefix, signals_key
from headrace.core.rounds.surveys import Survey
from headrace.core.version_names import NoSuchVersion
from headrace.core.versions import DamagedVersion, RowKind

_ONE_FILE = ShardLimits(shard_rows_max=1 << 62, shard_bytes_max=1 << 62, group_rows_max=65_536, group_bytes_max=1 << 62)
_NAMED_MAX = 5
_MEASURED = [name for name in SIGNAL_TABLE.names if name in MEASURED_ROWS.names]


@dataclass(frozen=True, slots=True)
class SurveyTable:
    """A signal table, in the object store under `key` and as a local file; neither where it has no rows."""

    key: str
    rows: int
    sha256: str
    path: Path | None

    @property
    def files(self) -> tuple[SignalFile, ...]:
        """What the selection scan reads."""
        return (SignalFile(self.path, self.key),) if self.path else ()


async def build_signal_table(
    objects: ObjectStore, survey: Survey, rows: int, folder: Path, *, densities: bool, run_bytes: int = RUN_BYTES
) -> SurveyTable:
    """Write a survey's signal table of (at least) `rows` rows under `signals_key`, and leave it in the folder.

    `densities` joins those that diversity stored; without them the column is null. Doing it again writes the same bytes.

    Raises:
        RowsMissing: fewer rows were measured; the message says how many are missing and names some.
        DamagedVersion: an object is missing or damaged, or the densities are not those of these rows.
        Stop: the store is gone.
    """
    sorting = folder / "sorting"
    sorting.mkdir(parents=True, exist_ok=True)
    try:
        sorter = await closed_rows(objects, survey, rows, _MEASURED, sorting, run_bytes)
    except RowsMissing as missing:
        raise RowsMissing(f"{missing}; {await _naming_some(objects, survey, folder)}") from missing
    blocks = await block_keys(objects, survey) if densities else []

    def written() -> SurveyTable:
        tables = latest_revisions(sorter.tables())
        joined = _with_densities(tables, read_densities(objects, survey, blocks), survey) if densities else _without(tables)
        found = next(write_shards(joined, folder, _ONE_FILE), None)
        if found is None:
            return SurveyTable(signals_key(survey), 0, hashlib.sha256().hexdigest(), None)
        return SurveyTable(signals_key(survey), found.shard.rows, found.shard.sha256, found.path)

    table = await asyncio.to_thread(written)
    if table.path is not None:
        await objects.put_file(table.key, table.path)
    return table


def _with_densities(tables: Iterator[pa.Table], densities: Iterator[pa.Table], survey: Survey) -> Iterator[pa.Table]:
    """Both in the order of sample ids, row by row the same."""
    waiting: pa.Table | None = None
    for table in tables:
        while waiting is None or waiting.num_rows < table.num_rows:
            more = next(densities, None)
            if more is None:
                raise DamagedVersion(f"{densities_prefix(survey)}: densities of fewer rows than were measured")
            waiting = more if waiting is None else pa.concat_tables([waiting, more])
        near, waiting = waiting.slice(0, table.num_rows), waiting.slice(table.num_rows)
        same = pc.and_(pc.equal(near["sample_id"], table["sample_id"]), pc.equal(near["revision"], table["revision"]))
        if not pc.all(same, min_count=0).as_py():
            raise DamagedVersion(f"{densities_prefix(survey)}: densities of other rows than were measured")
        yield _table(table, near["density"], near["neighbours"])


def _without(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        nulls = [pa.nulls(table.num_rows, SIGNAL_TABLE.field(name).type) for name in ("density", "neighbours")]
        yield _table(table, *nulls)


def _table(measured: pa.Table, density: pa.ChunkedArray, neighbours: pa.ChunkedArray) -> pa.Table:
    later = {"density": density, "neighbours": neighbours}
    return pa.table([later.get(name, measured[name] if name in _MEASURED else None) for name in SIGNAL_TABLE.names],
                    schema=SIGNAL_TABLE)  # fmt: skip


async def _naming_some(objects: ObjectStore, survey: Survey, folder: Path) -> str:
    """Some of the version's rows that were not measured, for a person to look for."""
    there = await MeasuredRows(objects).ids(survey)
    versions = VersionStore(objects, folder)
    missing: list[str] = []
    try:
        manifest = await versions.manifest(survey.dataset_id, survey.version)
        async for batch in versions.rows(manifest, RowKind.ACCEPTED, ("sample_id", "prompt_hash")):
            left = batch.filter(pc.invert(pc.is_in(batch["sample_id"], value_set=there)))
            missing += [row["sample_id"] for row in left.to_pylist() if is_surveyed(survey, row["prompt_hash"])]
            if len(missing) > _NAMED_MAX:
                break
    except (DamagedVersion, NoSuchVersion) as error:
        return f"which are missing cannot be told: {error}"
    return f"missing are {', '.join(missing[:_NAMED_MAX])}{', ...' if len(missing) > _NAMED_MAX else ''}"
