"""The object store as Headrace needs it: whole objects by key, conditional writes, ordered listing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


class ObjectMissing(LookupError):
    """No object has this key."""


class ObjectTooLarge(ValueError):
    """The object is larger than the caller is prepared to take."""


class UnsuitableStore(RuntimeError):
    """The store does not honour conditional writes, so versions could be lost in it."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's bytes and the tag that a replacement must name; `modified` is the store's clock, Unix seconds."""

    body: bytes
    etag: str
    modified: float


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One line of a listing; `modified` is the store's clock, Unix seconds."""

    key: str
    size_bytes: int
    modified: float


class ObjectStore(Protocol):
    """Objects by key in one bucket. A write is visible whole or not at all, and at once to every reader.

    Every method raises `headrace.core.events.Stop` when the store cannot be reached or refuses the request for a reason
    that lies with the store: the caller keeps its place and tries again later. A conditional write that ends in Stop may
    have happened; whoever repeats it must be able to recognise its own earlier success.
    """

    async def get(self, key: str, *, bytes_max: int) -> StoredObject:
        """The whole object. Raises ObjectMissing, or ObjectTooLarge above `bytes_max`."""
        ...

    async def fetch(self, key: str, path: Path, *, bytes_max: int) -> None:
        """Write the whole object to a local file. Raises ObjectMissing, or ObjectTooLarge above `bytes_max`."""
        ...

    def open(self, key: str) -> BinaryIO:
        """A seekable file whose reads are ranged requests. It blocks: use it in a thread. Raises ObjectMissing."""
        ...

    async def put(self, key: str, body: bytes) -> None:
        """Create or replace."""
        ...

    async def put_file(self, key: str, path: Path) -> None:
        """Create or replace from a local file of any size, in parts."""
        ...

    async def put_if_absent(self, key: str, body: bytes) -> bool:
        """Create; False where the key exists. Of any number of racing creators exactly one gets True."""
        ...

    async def replace_if_match(self, key: str, body: bytes, etag: str) -> bool:
        """Replace the object that still has this etag; False where it has another or is gone."""
        ...

    async def stat(self, key: str) -> ObjectEntry | None:
        """Size and age, or None where there is no such object."""
        ...

    def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectEntry]:
        """All objects under a prefix in byte order of their keys, beginning after the key `start_after`, fetched page by page.

        Servers that keep folders sort "a/..." before "a-b/...", others after it: no folder's name may begin with a sibling's.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove; nothing happens where it does not exist."""
        ...

    async def ping(self) -> None:
        """Return when the store answers and the bucket exists."""
        ...

    async def require_conditional_writes(self) -> None:
        """Try create-only and compare-and-swap writes on a scratch key. Raises UnsuitableStore where they are not honoured."""
        ...
