"""A branch of very many versions, each with a row more or none: cut by the real cutter, or written as it would leave it."""

import hashlib
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.sample_rows import DECIDED_SCHEMA_ID, decided_table
from headrace.adapters.versions.shards import ShardLimits, write_shards
from headrace.core.ports.object_store import ObjectEntry, ObjectStore
from headrace.core.versions import (
    Counts,
    Manifest,
    Reference,
    RowKind,
    Shard,
    Version,
    in_id_order,
    manifest_key,
    reference_key,
    stored_bytes,
    to_merge,
    version_of,
)
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, RETRACTED, dossier, indexed, place, retraction
from tests.fakes.object_store import FakeObjectStore

LIMITS = ShardLimits()


class QuickStore(FakeObjectStore):
    """The fake with its keys in order: a listing costs what it lists. `asked` counts the calls that a server would get."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self._keys: list[str] = []

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectEntry]:
        self._require_up()
        self.asked += 1
        at = bisect_right(self._keys, max(start_after, prefix))
        while at < len(self._keys) and (key := self._keys[at]).startswith(prefix):
            self.listed += 1
            yield self._entry(key)
            at = bisect_right(self._keys, key)

    async def stat(self, key: str) -> ObjectEntry | None:
        self.asked += 1
        return await super().stat(key)

    async def delete(self, key: str) -> None:
        self._require_up()
        self.asked += 1
        if key in self.objects:
            self._keys.pop(bisect_right(self._keys, key) - 1)
            del self.objects[key]

    def _body(self, key: str) -> bytes:
        self.asked += 1
        return super()._body(key)

    def _write(self, key: str, body: bytes) -> None:
        self.asked += 1
        if key not in self.objects:
            insort(self._keys, key)
        super()._write(key, body)


def sample_id(number: int) -> str:
    """An id that tells nothing of its order, as producers make them."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


class TinyCommits:
    """Cuts one version after the other, from `first` on: the n-th adds sample n.

    One of so many (`empty_every`) adds nothing: it holds a retraction of a sample that never was.
    """

    def __init__(self, store: ObjectStore, *, embeddings: bool = False, first: int = 0, empty_every: int = 0) -> None:
        self.cutter = VersionCutter(store, CutSettings(embeddings_wait_s=0))
        self._embeddings = embeddings
        self._cut = first
        self._empty_every = empty_every

    async def cut(self) -> Version:
        """The next version."""
        number, staging = self._cut, self.cutter.staging
        self._cut += 1
        if self._empty_every and (number + 1) % self._empty_every == 0:
            await staging.stage_retracted(DATASET, RETRACTED, [(retraction(f"never-{number}"), place(number, RETRACTED))])
        else:
            await staging.stage_decided(DATASET, DECIDED, [(dossier(sample_id(number)), place(number))])
            if self._embeddings:
                await staging.stage_indexed(DATASET, INDEXED, [(indexed(sample_id(number)), place(number, INDEXED))])
        return certain(await self.cutter.cut(DATASET, f"request-{number}")).version


class Span(NamedTuple):
    """Commits `since` to `until`, their rows in one shard."""

    since: int
    until: int


class Branch:
    """A branch of one row more with each commit, as the cutter leaves it: shards are merged by the same rule at the same moments.

    Only the shards that the last version has are real; of those that were merged long ago only the names count.
    """

    def __init__(self, store: QuickStore, commits: int, folder: Path) -> None:
        self._store = store
        self._commits = commits
        self._folder = folder
        self._ids = [sample_id(number) for number in range(commits)]
        self._real: dict[Span, Shard] = {}
        self._parent: str | None = None

    async def write(self) -> None:
        self._real = {span: self._written(span) for span in self._through(lambda _: None)}
        self._through(self._commit)
        reference = Reference(dataset=DATASET, version=str(self._parent), sequence=self._commits, cut_by="bench")
        await self._store.put(reference_key(DATASET), stored_bytes(reference))

    def _through(self, commit: Callable[[list[Shard]], None]) -> list[Span]:
        """Every commit with the shards that it leaves; which spans those of the last one have."""
        shards: dict[str, tuple[Span, Shard]] = {}

        def add(span: Span) -> None:
            shard = self._real.get(span) or self._named(span)
            shards[shard.sha256] = (span, shard)

        for number in range(self._commits):
            add(Span(number, number))
            while due := to_merge([shard for _, shard in shards.values()], LIMITS.shard_rows_max, LIMITS.shard_bytes_max):
                spans = [shards.pop(shard.sha256)[0] for shard in due]
                add(Span(min(span.since for span in spans), max(span.until for span in spans)))
            commit([shard for _, shard in shards.values()])
        return [span for span, _ in shards.values()]

    def _commit(self, shards: list[Shard]) -> None:
        number = sum(shard.rows for shard in shards)
        body = stored_bytes(self._manifest(number, shards))
        self._parent = version_of(body)
        self._store._write(manifest_key(DATASET, number, self._parent), body)

    def _named(self, span: Span) -> Shard:
        """A shard that was merged into another one long ago: its name is there, and no row."""
        rows, ids = span.until - span.since + 1, self._ids[span.since : span.until + 1]
        name = hashlib.sha256(str(span).encode()).hexdigest()
        shard = Shard(sha256=name, rows=rows, size_bytes=1, raw_bytes=1_000 * rows, min_id=min(ids), max_id=max(ids))
        if self._real:
            self._store._write(shard.key, b"")
        return shard

    def _written(self, span: Span) -> Shard:
        numbers = range(span.since, span.until + 1)
        table = decided_table([(dossier(self._ids[number]), place(number)) for number in numbers]).sort_by("sample_id")
        [local] = write_shards([table], self._folder, LIMITS)
        self._store._write(local.shard.key, local.path.read_bytes())
        local.path.unlink()
        return local.shard

    def _manifest(self, number: int, shards: list[Shard]) -> Manifest:
        return Manifest(
            dataset=DATASET,
            sequence=number,
            parent=self._parent,
            schemas={RowKind.ACCEPTED: DECIDED_SCHEMA_ID},
            shards={RowKind.ACCEPTED: in_id_order(shards)},
            counts=Counts(decided=number, accepted=number),
            reasons={"accepted": number},
            policies={"p1": number},
            models={"smol 3": number},
            inputs={DECIDED: number - 1},
        )
