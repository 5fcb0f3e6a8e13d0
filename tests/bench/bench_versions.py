"""Staging and cutting versions: `python -m tests.bench.bench_versions [ROWS...]` (default 10,000 and 100,000).

The store is a folder, so that the figures are those of our own work. The plain rewrite reads the same staged segments and
writes them as one Parquet file with the same compression: no sorting, no revisions, no hashes; it is done before the cut and
after it, and the mean counts. All figures are of processor time, which other work on the machine changes least, but for "wall
ratio". A million rows take four gigabytes of disk.
"""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import read_segment
from headrace.core.ports.object_store import ObjectEntry, ObjectMissing
from headrace.core.versions import RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, dossier, place
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.staged_rows import StagedRows

MIB = 1024 * 1024


class FolderStore(FakeObjectStore):
    """The fake with its objects in files, so that they do not count as memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def open(self, key: str) -> BinaryIO:
        return self._path(key).open("rb")

    async def fetch(self, key: str, path: Path, *, bytes_max: int) -> None:
        shutil.copyfile(self._path(key), path)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectEntry]:
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > start_after:
                yield ObjectEntry(key, self._path(key).stat().st_size, 0.0)

    def _body(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(key)
        return self._path(key).read_bytes()

    async def put_file(self, key: str, path: Path) -> None:
        self._write(key, b"")
        shutil.copyfile(path, self._path(key))

    def _write(self, key: str, body: bytes) -> None:
        self._path(key).write_bytes(body)
        self.objects[key] = b""
        self._modified[key] = 0.0

    def _path(self, key: str) -> Path:
        return self._folder / key.replace("/", "|")


async def measure(rows: int, folder: Path) -> None:
    """One line: staging, plain rewrite, first cut, a second cut that replaces one sample in a thousand, one sample found."""
    store, made = FolderStore(folder), StagedRows()
    cutter = VersionCutter(store, CutSettings(folder=folder, embeddings_wait_s=0))
    began = time.process_time()
    await cutter.staging.stage_decided("other", DECIDED, made.decided)
    await cutter.staging.stage_indexed("other", INDEXED, made.indexed)
    staging_cpu_s = time.process_time() - began
    await made.stage(store, rows, made.random_id)
    rewrites = [plain_rewrite(store, folder / "plain.parquet")]
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, began_cpu = time.perf_counter(), time.process_time()
    first = certain(await cutter.cut(DATASET, "first")).version
    first_s, first_cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rewrites.append(plain_rewrite(store, folder / "plain.parquet"))
    rewrite_s, rewrite_cpu_s = (sum(each) / len(rewrites) for each in zip(*rewrites, strict=True))
    some = [
        row async for batch in cutter.versions.rows(first.manifest, RowKind.ACCEPTED, ["sample_id"]) for row in batch["sample_id"]
    ]
    replaced = [(dossier(row.as_py(), 1), place(rows + n)) for n, row in enumerate(some[:: len(some) // max(1, rows // 1_000)])]
    await cutter.staging.stage_decided(DATASET, DECIDED, replaced)
    began_cpu = time.process_time()
    second = certain(await cutter.cut(DATASET, "second")).version
    second_cpu_s = time.process_time() - began_cpu
    assert second.manifest.counts.accepted == first.manifest.counts.accepted
    began = time.perf_counter()
    [found] = await cutter.versions.find(second.manifest, RowKind.ACCEPTED, some[0].as_py())
    find_ms = (time.perf_counter() - began) * 1000
    size = sum(shard.size_bytes for shards in first.manifest.shards.values() for shard in shards) / MIB
    print(
        f"{rows:>9,} {len(made.decided) / staging_cpu_s:>10,.0f} {rows / rewrite_cpu_s:>10,.0f} {rows / first_cpu_s:>10,.0f} "
        f"{rewrite_cpu_s / first_cpu_s:>9.2f} {rewrite_s / first_s:>10.2f} "
        f"{second_cpu_s:>9.2f} {find_ms:>8.1f} {size:>9.1f} {before_mib:>9.0f} {peak_mib:>9.0f}",
        flush=True,
    )
    assert found.num_rows == 1


def plain_rewrite(store: FolderStore, path: Path) -> tuple[float, float]:
    """Seconds, and seconds of CPU, to read all staged segments and write their rows as they come."""
    began, began_cpu = time.perf_counter(), time.process_time()
    for stem in ("decided", "indexed"):
        keys = sorted(key for key in store.objects if key.startswith(f"staging/{DATASET}/{stem}/"))
        schema = read_segment(store._body(keys[0]), keys[0]).schema
        with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer:
            for key in keys:
                writer.write_table(read_segment(store._body(key), key))
    path.unlink()
    return time.perf_counter() - began, time.process_time() - began_cpu


def main() -> None:
    """Each size in a process of its own, so that its peak of memory is its own."""
    if os.environ.get("BENCH_ROWS"):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(int(os.environ["BENCH_ROWS"]), Path(folder)))
        return
    print(
        f"{'rows':>9} {'staged/s':>10} {'plain/s':>10} {'cut/s':>10} {'cpu ratio':>9} {'wall ratio':>10} "
        f"{'recut s':>9} {'find ms':>8} {'MiB':>9} "
        f"{'RSS MiB':>9} {'peak MiB':>9}",
        flush=True,
    )
    for rows in sys.argv[1:] or ("10000", "100000"):
        subprocess.run([sys.executable, "-m", "tests.bench.bench_versions"], env=os.environ | {"BENCH_ROWS": rows}, check=True)


if __name__ == "__main__":
    main()
