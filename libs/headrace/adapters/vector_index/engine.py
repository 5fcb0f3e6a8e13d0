"""What Qdrant's server and its engine in process have in common: collections of points with payloads and named vectors."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.core.ports.vector_index import Vector

Payload = Mapping[str, str | int]

PROMPT = "prompt"
CONVERSATION = "conversation"

KEYWORDS = ("sample_id", "content_hash", "prompt_hash")
INTEGERS = ("order", "entered_at", "settled_at")
"""Payload fields with an index. Times are whole milliseconds of Unix time."""

CANDIDATES = 64
"""How many points a search in a graph keeps on its way: recall against time."""

OVERSAMPLING = 8.0
"""Graphs are walked on int8 copies of the vectors; so many times as many as are asked for are then measured on the vectors
themselves. Embeddings of language models lie close together and differ by little, and int8 takes some of that: with 2 the
nearest two were found at 97%, however many candidates there were, with 8 at more than 99%, for a tenth more time."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A point as it is stored. One without vectors is never found by a search: it is a mark."""

    id: str
    payload: Payload
    vectors: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """The nearest points by one of the named vectors; with `order_below`, among those whose order is lower."""

    by: str
    vector: Vector
    limit: int
    cosine_min: float | None = None
    order_below: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One point found, and its cosine."""

    payload: Payload
    cosine: float


class Engine(Protocol):
    """Collections by name. Writes are visible when the call returns; every method raises Stop when the engine is gone.

    A point is written and read whole: a reader sees it as it was before a write or as it is after it.
    """

    async def names(self) -> Collection[str]:
        """The collections there are, those of other writers too."""
        ...

    async def create(self, name: str, dimensions: int, *, searched: bool) -> None:
        """Make a collection unless it is there. `searched`: it will hold many vectors and is searched at every step."""
        ...

    async def drop(self, name: str) -> None:
        """Remove a collection if it is there."""
        ...

    async def add(self, name: str, points: Sequence[Point]) -> None:
        """Write those points whose ids are not there yet."""
        ...

    async def put(self, name: str, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same ids."""
        ...

    async def get(self, name: str, ids: Sequence[str], *, vectors: bool) -> dict[str, Point]:
        """The points that are there, by id."""
        ...

    async def find(self, name: str, any_of: Mapping[str, Collection[str | int]]) -> list[Point]:
        """All points with one of the values in one of the fields; with their conversation vectors in `searched` collections."""
        ...

    async def search(self, name: str, searches: Sequence[Search]) -> list[list[Hit]]:
        """The hits of each search, best first."""
        ...

    async def tally(self, name: str, field_name: str, values: Collection[str]) -> dict[str, int]:
        """How many points have each of the values."""
        ...

    async def count(self, name: str, field_name: str | None = None) -> int:
        """How many points there are, or how many that have the field."""
        ...

    async def least(self, name: str, field_name: str) -> int | None:
        """The least value of an integer field, None where no point has it."""
        ...

    async def remove_below(self, name: str, field_name: str, bound: int) -> int:
        """Remove the points whose integer field is below the bound; returns how many there were."""
        ...

    async def ping(self) -> None:
        """Return when the engine answers."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
