"""An engine of plain dictionaries with exact search, for the logic on top of collections."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import numpy as np

from headrace.adapters.vector_index.engine import Hit, Point, Search


async def _at_once() -> None:
    """Gives way to nobody."""


class DictEngine:
    """Every operation is atomic; `pause` is awaited before each, so that a test can interleave several callers there."""

    def __init__(self, pause: Callable[[], Awaitable[None]] = _at_once) -> None:
        self._pause = pause
        self.collections: dict[str, dict[str, Point]] = {}

    async def names(self) -> Collection[str]:
        await self._pause()
        return tuple(self.collections)

    async def create(self, name: str, dimensions: int, *, searched: bool) -> None:
        await self._pause()
        self.collections.setdefault(name, {})

    async def drop(self, name: str) -> None:
        await self._pause()
        self.collections.pop(name, None)

    async def add(self, name: str, points: Sequence[Point]) -> None:
        await self._pause()
        for point in points:
            self.collections[name].setdefault(point.id, point)

    async def put(self, name: str, points: Sequence[Point]) -> None:
        await self._pause()
        self.collections[name].update({point.id: point for point in points})

    async def get(self, name: str, ids: Sequence[str], *, vectors: bool) -> dict[str, Point]:
        await self._pause()
        points = self.collections[name]
        return {each: points[each] if vectors else Point(each, points[each].payload) for each in ids if each in points}

    async def find(self, name: str, any_of: Mapping[str, Collection[str | int]]) -> list[Point]:
        await self._pause()
        return [
            point
            for point in self.collections[name].values()
            if any(point.payload.get(field) in values for field, values in any_of.items())
        ]

    async def search(self, name: str, searches: Sequence[Search]) -> list[list[Hit]]:
        await self._pause()
        return [self._search(list(self.collections[name].values()), each) for each in searches]

    async def tally(self, name: str, field_name: str, values: Collection[str]) -> dict[str, int]:
        await self._pause()
        found = [point.payload.get(field_name) for point in self.collections[name].values()]
        return {value: found.count(value) for value in values}

    async def count(self, name: str, field_name: str | None = None) -> int:
        await self._pause()
        return sum(field_name is None or field_name in point.payload for point in self.collections[name].values())

    async def least(self, name: str, field_name: str) -> int | None:
        await self._pause()
        return min((int(p.payload[field_name]) for p in self.collections[name].values() if field_name in p.payload), default=None)

    async def remove_below(self, name: str, field_name: str, bound: int) -> int:
        await self._pause()
        points = self.collections[name]
        gone = [each for each, p in points.items() if field_name in p.payload and int(p.payload[field_name]) < bound]
        for each in gone:
            del points[each]
        return len(gone)

    async def ping(self) -> None:
        await self._pause()

    async def close(self) -> None:
        self.collections.clear()

    @staticmethod
    def _search(points: Sequence[Point], asked: Search) -> list[Hit]:
        hits = [
            Hit(point.payload, float(np.dot(point.vectors[asked.by], asked.vector)))
            for point in points
            if asked.by in point.vectors and _is_below(point, asked.order_below)
        ]
        near = [hit for hit in hits if asked.cosine_min is None or hit.cosine >= asked.cosine_min]
        return sorted(near, key=lambda hit: -hit.cosine)[: asked.limit]


def _is_below(point: Point, order: int | None) -> bool:
    return order is None or ("order" in point.payload and int(point.payload["order"]) < order)
