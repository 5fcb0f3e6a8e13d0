"""What commands cost behind very many tiny commits: `python -m tests.bench.bench_commits [COMMITS...]` (default 10,000).

The branch is written as the cutter would leave it (`Branch`); then real commits are cut on top, and commands run: processor time,
calls to the store, and the peak of memory above what was there. The store lies in a folder under TMPDIR: 100,000 commits take
about 2 GB of it.
"""

import asyncio
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from headrace.adapters.versions.check import check
from headrace.adapters.versions.checkout import checkout
from headrace.adapters.versions.diff import diff
from headrace.adapters.versions.gc import GarbageCollector, Keeping
from headrace.adapters.versions.lineage import lineage
from headrace.adapters.versions.rows import RowsAsked, rows_asked
from headrace.adapters.versions.store import VersionStore
from headrace.core.versions import MAIN, RowKind, stored_bytes
from tests.fakes.decisions import DATASET
from tests.fakes.tiny_commits import Branch, QuickStore, TinyCommits, sample_id

CUTS = 20
KIB = 1024


class FolderStore(QuickStore):
    """Bodies in files, so that they do not count as memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _body(self, key: str) -> bytes:
        super()._body(key)
        return self._path(key).read_bytes()

    def _write(self, key: str, body: bytes) -> None:
        super()._write(key, b"")
        self._path(key).write_bytes(body)

    def _path(self, key: str) -> Path:
        return self._folder / key.replace("/", "|")


async def _drained(items: AsyncIterator[Any]) -> str:
    count = 0
    async for _ in items:
        count += 1
    return f"{count:,}"


async def measured(name: str, store: FolderStore, run: Callable[[], Awaitable[object]], *, traced: bool = True) -> None:
    """One line of the table. Memory is traced in a run of its own, since tracing takes time."""
    asked, began = store.asked, time.process_time()
    told = await run()
    seconds, asked = time.process_time() - began, store.asked - asked
    peak = ""
    if traced:
        tracemalloc.start()
        await run()
        peak = f"{tracemalloc.get_traced_memory()[1] / KIB:,.0f}"
        tracemalloc.stop()
    print(f"{name:<34} {seconds * 1000:>12,.1f} {asked:>10,} {peak:>10}  {told}", flush=True)


async def measure(commits: int, folder: Path) -> None:
    store = FolderStore(folder)
    began = time.process_time()
    await Branch(store, commits, folder).write()
    print(f"\n{commits:,} commits, written in {time.process_time() - began:,.0f} s of processor time")
    print(f"{'':<34} {'CPU ms':>12} {'calls':>10} {'peak KiB':>10}")
    on_top = TinyCommits(store, first=commits)

    async def cut() -> str:
        for _ in range(CUTS):
            version = await on_top.cut()
        shards = version.manifest.shards_of(RowKind.ACCEPTED)
        return f"{len(shards)} shards, manifest {len(stored_bytes(version.manifest)):,} bytes"

    await measured(f"{CUTS} cuts", store, cut, traced=False)
    latest = await VersionStore(store).version(DATASET)
    middle = commits // 2
    middle_id = (await VersionStore(store).version(DATASET, str(middle))).id

    def named(name: str) -> Callable[[], Awaitable[object]]:
        async def find() -> str:
            return f"version {(await VersionStore(store).version(DATASET, name)).manifest.sequence:,}"

        return find

    for name in (MAIN, f"{MAIN}~{middle}", str(middle), middle_id[:10]):
        await measured(f"name {name}", store, named(name))
    await measured("manifest of a whole id, as in events", store, lambda: _manifest(store, middle_id))
    await measured("log of 20", store, lambda: _log(store, 20))
    tail = await VersionStore(store).version(DATASET, f"{MAIN}~100")
    await measured("diff main~100 main", store, lambda: _drained(diff(store, tail.manifest, latest.manifest)))
    sample = sample_id(middle)
    await measured("lineage", store, lambda: _lineage(store, sample))
    one = RowsAsked(RowKind.ACCEPTED, f"sample_id = '{sample}'", "sample_id", None)
    await measured("rows --where sample_id = ...", store, lambda: _drained(rows_asked(VersionStore(store), latest.manifest, one)))
    await measured("rows, all, one column", store, lambda: _rows(store))
    await measured("checkout", store, lambda: _checkout(store, folder))
    await measured("verify", store, lambda: _verified(store))
    await measured("gc --dry-run", store, lambda: _collected(store))
    await measured("gc --dry-run --keep-last 1000", store, lambda: _collected(store, 1_000))


async def _manifest(store: FolderStore, version: str) -> str:
    return f"version {(await VersionStore(store).manifest(DATASET, version)).sequence:,}"


async def _log(store: FolderStore, count: int) -> str:
    versions = VersionStore(store)
    left = count
    async for _ in versions.log(DATASET):
        left -= 1
        if not left:
            break
    return f"{count - left}"


async def _lineage(store: FolderStore, sample: str) -> str:
    versions = VersionStore(store)
    found = await lineage(versions, await versions.version(DATASET), sample, 10)
    return f"first in version {found.ancestors[0].decided[0].first_version:,}"


async def _rows(store: FolderStore) -> str:
    versions = VersionStore(store)
    latest = await versions.version(DATASET)
    rows = 0
    async for batch in versions.rows(latest.manifest, RowKind.ACCEPTED, ["sample_id"]):
        rows += batch.num_rows
    return f"{rows:,} rows"


async def _checkout(store: FolderStore, folder: Path) -> str:
    versions = VersionStore(store)
    with tempfile.TemporaryDirectory(dir=folder) as into:
        latest = await versions.version(DATASET)
        return f"{len(await checkout(versions, latest.manifest, Path(into), [RowKind.ACCEPTED]))} files"


async def _verified(store: FolderStore) -> str:
    versions = VersionStore(store)
    return f"{await _drained(check(versions, await versions.version(DATASET)))} shards"


async def _collected(store: FolderStore, last: int | None = None) -> str:
    return f"{await _drained(GarbageCollector(store, Keeping(-1.0, last)).find())} objects to delete"


def main() -> None:
    """Each size on a store of its own."""
    for commits in sys.argv[1:] or ("10000",):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(int(commits), Path(folder)))


if __name__ == "__main__":
    main()
