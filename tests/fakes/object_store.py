"""An object store in memory that behaves as the port says; the contract suite runs on it too."""

import hashlib
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from headrace.core.events import Stop
from headrace.core.ports.object_store import ObjectEntry, ObjectMissing, ObjectTooLarge, StoredObject, UnsuitableStore


class FakeObjectStore:
    """Objects in a dict. `down` makes every call raise Stop, `read_only` every write; `unconditional` ignores conditions.

    `before_write` is called with each key before it is written: a test that raises there kills the writer at that point.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        self.read_only = False
        self.unconditional = False
        self.before_write: Callable[[str], None] = lambda _: None
        self.clock: Callable[[], float] = lambda: 1_000.0
        self.listed = 0
        self._modified: dict[str, float] = {}

    async def get(self, key: str, *, bytes_max: int) -> StoredObject:
        body = self._body(key)
        if len(body) > bytes_max:
            raise ObjectTooLarge(f"{key}: {len(body)} bytes, at most {bytes_max} are read")
        return StoredObject(body, _etag(body), self._modified[key])

    async def fetch(self, key: str, path: Path, *, bytes_max: int) -> None:
        path.write_bytes((await self.get(key, bytes_max=bytes_max)).body)  # noqa: ASYNC240 - a test's small file

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self._body(key))

    async def put(self, key: str, body: bytes) -> None:
        self._write(key, body)

    async def put_file(self, key: str, path: Path) -> None:
        self._write(key, path.read_bytes())  # noqa: ASYNC240 - a test's small file

    async def put_if_absent(self, key: str, body: bytes) -> bool:
        self._require_up()
        if key in self.objects and not self.unconditional:
            return False
        self._write(key, body)
        return True

    async def replace_if_match(self, key: str, body: bytes, etag: str) -> bool:
        self._require_up()
        if not self.unconditional and (key not in self.objects or _etag(self._body(key)) != etag):
            return False
        self._write(key, body)
        return True

    async def stat(self, key: str) -> ObjectEntry | None:
        self._require_up()
        return self._entry(key) if key in self.objects else None

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectEntry]:
        self._require_up()
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > start_after and key in self.objects:  # it may have gone since
                self.listed += 1
                yield self._entry(key)

    async def delete(self, key: str) -> None:
        self._require_up()
        self.objects.pop(key, None)

    async def ping(self) -> None:
        self._require_up()

    async def require_conditional_writes(self) -> None:
        self._require_up()
        if self.unconditional:
            raise UnsuitableStore("the fake was told to ignore conditions")

    def _body(self, key: str) -> bytes:
        self._require_up()
        if key not in self.objects:
            raise ObjectMissing(key)
        return self.objects[key]

    def _write(self, key: str, body: bytes) -> None:
        self._require_up()
        if self.read_only:
            raise Stop(f"object store: put {key}: refused")
        self.before_write(key)
        self.objects[key] = body
        self._modified[key] = self.clock()

    def _entry(self, key: str) -> ObjectEntry:
        return ObjectEntry(key, len(self.objects[key]), self._modified[key])

    def _require_up(self) -> None:
        if self.down:
            raise Stop("object store: gone")


def _etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
