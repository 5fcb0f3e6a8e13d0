"""Telling two versions apart that share 99 of 100 shards: `python -m tests.bench.bench_version_diff [ROWS...]` (default 20,000).

The second version revises one sample in each hundredth shard. "read" is what goes through the store, each read being one
ranged request, beside what the accepted rows of both versions weigh; "plain" reads all of both with pyarrow, the same columns.
"""

import asyncio
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import BinaryIO, cast

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.diff import diff
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits, read_columns
from headrace.core.version_diff import AcceptedRow, ChangeKind, unshared
from headrace.core.versions import Manifest, RowKind
from tests.bench.bench_versions import MIB, FolderStore
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.staged_rows import StagedRows

SHARDS = 100


class CountedStore(FolderStore):
    """Counts what is read of shards."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bytes_read = 0
        self.reads = 0

    def open(self, key: str) -> BinaryIO:
        return cast("BinaryIO", CountedFile(self._path(key), self))


class CountedFile(io.FileIO):
    """A shard whose reads are counted."""

    def __init__(self, path: Path, store: CountedStore) -> None:
        super().__init__(path, "rb")
        self._store = store

    def read(self, size: int | None = -1) -> bytes:
        body = super().read(size)
        self._store.bytes_read += len(body)
        self._store.reads += 1
        return body


async def two_versions(store: CountedStore, rows: int, folder: Path) -> tuple[Manifest, Manifest]:
    """One with all rows, and one after it in which a sample of every hundredth shard is revised."""
    shard_rows = max(1, rows // SHARDS)
    limits = ShardLimits(shard_rows_max=shard_rows, group_rows_max=min(2_048, shard_rows))
    cutter = VersionCutter(store, CutSettings(folder=folder, shards=limits, embeddings_wait_s=0))
    await StagedRows().stage(store, rows, "s{:09}".format, rejected=False, embeddings=False)
    before = certain(await cutter.cut(DATASET, "first")).version.manifest
    touched = before.shards_of(RowKind.ACCEPTED)[::SHARDS]
    revised = [(dossier(shard.max_id, 1), place(rows + n)) for n, shard in enumerate(touched)]
    await cutter.staging.stage_decided(DATASET, DECIDED, revised)
    return before, certain(await cutter.cut(DATASET, "second")).version.manifest


def read_all(store: CountedStore, manifests: tuple[Manifest, Manifest]) -> float:
    """Seconds to read the columns compared of all accepted rows of both."""
    began = time.perf_counter()
    for manifest in manifests:
        for shard in manifest.shards_of(RowKind.ACCEPTED):
            with store.open(shard.key) as handle:
                for batch in read_columns(handle, shard, AcceptedRow._fields, 4_096):
                    batch.to_pylist()
    return time.perf_counter() - began


async def measure(rows: int, folder: Path) -> None:
    """One line: what the two share, what telling them apart took, and what reading everything takes."""
    store = CountedStore(folder)
    before, after = await two_versions(store, rows, folder)
    differing = unshared(before, after)
    store.bytes_read = store.reads = 0
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, began_cpu = time.perf_counter(), time.process_time()
    kinds = Counter([change.kind async for change in diff(store, before, after)])
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    grown_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - peak_mib
    read, reads = store.bytes_read, store.reads
    weight = sum(shard.size_bytes for manifest in (before, after) for shard in manifest.shards_of(RowKind.ACCEPTED))
    plain_s = read_all(store, (before, after))
    print(
        f"{rows:>9,} {differing.shared:>7} {len(differing.before) + len(differing.after):>7} {kinds[ChangeKind.REVISED]:>8} "
        f"{seconds * 1000:>8.1f} {cpu_s * 1000:>8.1f} {reads:>6} {read / MIB:>9.3f} {weight / MIB:>9.1f} {read / weight:>8.3%} "
        f"{plain_s * 1000:>9.1f} "
        f"{grown_mib:>9.1f}",
        flush=True,
    )
    assert set(kinds) == {ChangeKind.REVISED}
    assert read < weight * 2 / SHARDS + 64 * 1024, "more was read than what differs"


def main() -> None:
    """Each size in a process of its own, so that its peak of memory is its own."""
    if os.environ.get("BENCH_ROWS"):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(int(os.environ["BENCH_ROWS"]), Path(folder)))
        return
    print(
        f"{'rows':>9} {'shared':>7} {'differ':>7} {'revised':>8} {'diff ms':>8} {'cpu ms':>8} {'reads':>6} {'read MiB':>9} "
        f"{'MiB':>9} "
        f"{'share':>8} {'plain ms':>9} {'+RSS MiB':>9}",
        flush=True,
    )
    for rows in sys.argv[1:] or ("20000",):
        subprocess.run(
            [sys.executable, "-m", "tests.bench.bench_version_diff"], env=os.environ | {"BENCH_ROWS": rows}, check=True
        )


if __name__ == "__main__":
    main()
