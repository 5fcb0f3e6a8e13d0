"""A branch of very many versions, each with a row more or none, cut by the real cutter from a store that lists quickly."""

import hashlib
from bisect import bisect_right, insort
from collections.abc import AsyncIterator

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.core.ports.object_store import ObjectEntry, ObjectStore
from headrace.core.versions import Version
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, RETRACTED, dossier, indexed, place, retraction
from tests.fakes.object_store import FakeObjectStore

EMPTY_EVERY = 10
"""So often a commit adds no row: it holds a retraction of a sample that never was."""


class QuickStore(FakeObjectStore):
    """The fake with its keys in order: a listing costs what it lists. `asked` counts the calls that a server would get."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self._keys: list[str] = []

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectEntry]:
        self._require_up()
        self.asked += 1
        at = bisect_right(self._keys, max(start_after, prefix)) if start_after else bisect_right(self._keys, prefix)
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
    """Cuts one version after the other: the n-th adds sample n, or nothing."""

    def __init__(self, store: ObjectStore, *, embeddings: bool = False) -> None:
        self.cutter = VersionCutter(store, CutSettings(embeddings_wait_s=0))
        self._embeddings = embeddings
        self._cut = 0

    async def cut(self) -> Version:
        """The next version."""
        number, staging = self._cut, self.cutter.staging
        self._cut += 1
        if number % EMPTY_EVERY == EMPTY_EVERY - 1:
            await staging.stage_retracted(DATASET, RETRACTED, [(retraction(f"never-{number}"), place(number, RETRACTED))])
        else:
            await staging.stage_decided(DATASET, DECIDED, [(dossier(sample_id(number)), place(number))])
            if self._embeddings:
                await staging.stage_indexed(DATASET, INDEXED, [(indexed(sample_id(number)), place(number, INDEXED))])
        return certain(await self.cutter.cut(DATASET, f"request-{number}")).version
