"""Frozen versions of a dataset: which there are, what they say of themselves, and their accepted rows.

    with datasets() as stored:
        version = stored.version("math", "main~1")
        for row in version.rows(["sample_id", "messages"]):
            train_on(row["messages"])
        version.checkout("math/")

It needs the object store alone (HEADRACE_S3_* or `store`, else that of the stack that runs here), neither a broker nor a service.
A folder that was checked out is read by `datasets.load_dataset("parquet", data_files="math/accepted-*.parquet")`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa

from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.versions.checkout import checkout
from headrace.adapters.versions.store import BATCH_ROWS, Version, VersionStore
from headrace.client.loop_thread import LoopThread
from headrace.core.ports.object_store import ObjectStore
from headrace.core.version_names import NoSuchVersion
from headrace.core.versions import DamagedVersion, Manifest, RowKind
from headrace.local.state import find_stack

__all__ = ["DamagedVersion", "DatasetVersion", "Datasets", "Manifest", "NoSuchVersion", "RowKind", "datasets"]

Result = TypeVar("Result")

_AT_A_TIME = 32
"""Versions of a history fetched at a time."""

_WITHOUT_DOSSIER = "dossier"


def datasets(store: ObjectStoreSettings | None = None) -> "Datasets":
    """The datasets of an object store; nothing is connected before it is entered by `with`."""
    if store is None:
        find_stack()
    return Datasets(open_object_store(store or ObjectStoreSettings()))


class Datasets:
    """What lies in an object store. Every method blocks, works inside a running event loop too, and raises Stop where it is gone.

    To be opened in the process that reads: a thread does not survive a fork.
    """

    def __init__(self, opening: AbstractAsyncContextManager[ObjectStore]) -> None:
        self._opening = opening
        self._loop: LoopThread | None = None
        self._versions: VersionStore | None = None

    def __enter__(self) -> Self:
        self._loop = LoopThread()
        try:
            self._versions = VersionStore(self._loop.call(self._opening.__aenter__))
        except BaseException:
            self._loop.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._loop is not None:
            try:
                self._loop.call(lambda: _closing(self._opening))
            finally:
                self._loop.close()
                self._loop = self._versions = None

    def names(self) -> tuple[str, ...]:
        """The ids of the datasets that have a version, in order."""
        return self.call(self.store.datasets)

    def version(self, dataset: str, name: str = "") -> "DatasetVersion":
        """A version by its number, its id or the beginning of it, a tag, "" for the latest, "main~2" for two before that.

        Raises:
            NoSuchVersion: none is called so, or several are.
            DamagedVersion: an object on the way to it is missing or altered.
            ValueError: the dataset id is no plain name.
        """
        return DatasetVersion(self, self.call(lambda: self.store.version(dataset, name)))

    def versions(self, dataset: str) -> Iterator["DatasetVersion"]:
        """All versions, the latest first; none where the dataset has none. Raises DamagedVersion and ValueError as `version`."""
        for version in self.each(self.store.log(dataset), _AT_A_TIME):
            yield DatasetVersion(self, version)

    @property
    def store(self) -> VersionStore:
        """The versions for callers with an event loop of the store's. Raises RuntimeError before `with` and after it."""
        if self._versions is None:
            raise RuntimeError("open the datasets by `with datasets() as stored:`")
        return self._versions

    def call(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run a coroutine beside the caller and wait for it. Raises RuntimeError before `with` and after it."""
        if self._loop is None:
            raise RuntimeError("open the datasets by `with datasets() as stored:`")
        return self._loop.call(call)

    def each(self, items: AsyncIterator[Result], at_a_time: int = 1) -> Iterator[Result]:
        """Hand out what an asynchronous iterator gives, so many fetched at a time; it is closed where the caller breaks off."""

        async def some() -> list[Result]:
            taken: list[Result] = []
            async for item in items:
                taken.append(item)
                if len(taken) >= at_a_time:
                    break
            return taken

        async def close() -> None:
            if isinstance(items, AsyncGenerator):
                await items.aclose()

        try:
            while taken := self.call(some):
                yield from taken
        finally:
            if self._loop is not None:
                self.call(close)


class DatasetVersion:
    """One version. It never changes, so whatever is read of it is the same for ever, unless bytes were forgotten since."""

    def __init__(self, datasets: Datasets, version: Version) -> None:
        self._datasets = datasets
        self._version = version

    def __repr__(self) -> str:
        return f"<{self.manifest.dataset} version {self.sequence}, id {self.id[:12]}, {len(self)} accepted>"

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.manifest.shards_of(RowKind.ACCEPTED))

    @property
    def id(self) -> str:
        return self._version.id

    @property
    def sequence(self) -> int:
        return self.manifest.sequence

    @property
    def manifest(self) -> Manifest:
        """Parent, shards, counts, reasons, policies, models, recipes, costs, and the offsets it was made from."""
        return self._version.manifest

    def batches(
        self, columns: Sequence[str] | None = None, *, kind: RowKind = RowKind.ACCEPTED, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Rows as Arrow batches, shard by shard, in order of their ids within each; one shard lies on local disk at a time.

        Raises:
            DamagedVersion: a shard is missing, altered, or has no such column.
        """
        rows = self._datasets.store.rows(self.manifest, kind, list(columns) if columns is not None else None, batch_rows)
        yield from self._datasets.each(rows)

    def rows(self, columns: Sequence[str] | None = None, *, kind: RowKind = RowKind.ACCEPTED) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries: all columns but the dossier where none are named. Raises as `batches`."""
        for batch in self.batches(columns, kind=kind):
            named = batch if columns is not None else batch.drop_columns(set(batch.schema.names) & {_WITHOUT_DOSSIER})
            yield from named.to_pylist()

    def checkout(self, folder: Path | str, kinds: Sequence[RowKind] = (RowKind.ACCEPTED,)) -> list[Path]:
        """Copy the rows into a folder as Parquet files, each verified by its hash; goes on where an earlier one broke off.

        Raises:
            ValueError: the folder holds another version's files.
            DamagedVersion: a shard is missing or altered.
        """
        return self._datasets.call(lambda: checkout(self._datasets.store, self.manifest, Path(folder), kinds))


async def _closing(opening: AbstractAsyncContextManager[ObjectStore]) -> None:
    await opening.__aexit__(None, None, None)
