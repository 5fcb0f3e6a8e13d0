"""Asking a version's rows by SQL: DuckDB on the shards, with nothing but them in reach."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import duckdb
import pyarrow as pa

from headrace.adapters.scratch import scratch_folder
from headrace.adapters.versions.id_bounds import MayHold, may_hold
from headrace.adapters.versions.retraction_rows import RETRACTIONS_SCHEMA
from headrace.adapters.versions.sample_rows import DECIDED_SCHEMA
from headrace.adapters.versions.store import VersionStore
from headrace.core.versions import Manifest, RowKind, Shard

BATCH_ROWS = 256
_TABLE = "rows"


@dataclass(frozen=True, slots=True)
class RowsAsked:
    """Which rows are wanted: a condition and a select list in DuckDB's SQL; empty means all rows, all columns but the dossier.

    `limit` is the most rows, None for all of them.
    """

    kind: RowKind = RowKind.ACCEPTED
    where: str = ""
    columns: str = ""
    limit: int | None = None

    @property
    def sql(self) -> str:
        """The query. Line ends keep a comment in one part from swallowing the next."""
        where = f"\nWHERE (\n{self.where}\n)" if self.where.strip() else ""
        limit = f"\nLIMIT {self.limit}" if self.limit is not None else ""
        return f"SELECT\n{self.columns.strip() or '* EXCLUDE (dossier)'}\nFROM {_TABLE}{where}{limit}"

    def shards_needed(self, manifest: Manifest, holding: MayHold) -> Sequence[Shard]:
        """The shards that may hold the answer by their ids; for so many rows of any kind only those that have as many."""
        shards = [shard for shard in manifest.shards_of(self.kind) if holding(shard.min_id, shard.max_id)]
        if self.limit is None or self.where.strip() or self.columns.strip():
            return shards
        before = accumulate((shard.rows for shard in shards), initial=0)
        return [shard for shard, rows in zip(shards, before, strict=False) if rows < self.limit]


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Bounds of one query: memory and disk that DuckDB takes in bytes, and its longest time in seconds."""

    memory_bytes_max: int = 1024**3
    disk_bytes_max: int = 8 * 1024**3
    seconds_max: float = 600.0


async def rows_asked(
    versions: VersionStore, manifest: Manifest, asked: RowsAsked, limits: QueryLimits | None = None
) -> AsyncIterator[pa.RecordBatch]:
    """The rows in batches, as the scan finds them, in bounded memory; the shards lie on local disk meanwhile, verified.

    Raises:
        ValueError: the SQL is wrong, reaches for anything but the rows, or is beyond the limits.
        DamagedVersion: a shard is missing or altered.
        Stop: the store is gone.
    """
    limits = limits or QueryLimits()
    with scratch_folder("rows", versions.folder) as folder:
        with _connected(folder, limits) as connection, _told():
            holding = await asyncio.to_thread(may_hold, connection, asked.sql)
        paths = []
        for shard in asked.shards_needed(manifest, holding):
            paths.append(folder / f"{shard.sha256}.parquet")
            await versions.download(shard, paths[-1])
        with _connected(folder, limits) as connection, _told(), _interrupted_after(connection, limits.seconds_max):
            empty = RETRACTIONS_SCHEMA if asked.kind is RowKind.RETRACTIONS else DECIDED_SCHEMA
            reader = await asyncio.to_thread(_reader, connection, paths, asked.sql, empty)
            while (batch := await asyncio.to_thread(next, reader, None)) is not None:
                yield batch


def _reader(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path], sql: str, empty: pa.Schema) -> pa.RecordBatchReader:
    names = [str(path) for path in paths]
    if names:
        connection.read_parquet(names, union_by_name=True).create_view(_TABLE)
    else:
        connection.from_arrow(empty.empty_table()).create(_TABLE)
    connection.execute("SET allowed_paths = $paths", {"paths": names})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError("give one condition and one list of columns, no further statements")
    return connection.sql(sql).to_arrow_reader(BATCH_ROWS)


@contextmanager
def _connected(folder: Path, limits: QueryLimits) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that finds no variable of this program and loads no extension."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "allow_community_extensions": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "max_temp_directory_size": f"{limits.disk_bytes_max}B",
        "memory_limit": f"{limits.memory_bytes_max}B",
        "python_enable_replacements": False,
        "temp_directory": str(folder),
    }
    with closing(duckdb.connect(":memory:", config=settings)) as connection:
        yield connection


@contextmanager
def _interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _told() -> Iterator[None]:
    """The engine's errors in our words: the shards are sound, so the SQL is at fault."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise ValueError("the query took longer than it may: narrow the condition, or allow more seconds") from error
    except (duckdb.Error, pa.ArrowException) as error:
        raise ValueError(str(error).strip()) from error
