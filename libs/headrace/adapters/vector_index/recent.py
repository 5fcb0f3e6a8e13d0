"""The vectors of a part that has no graph yet, side by side in memory.

A matrix product compares a batch with all of them in a tenth of the time that the engine takes to scan them one search
after another.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT, Hit, Payload, Point, Search
from headrace.core.ports.vector_index import Vector

_ROWS_MIN = 256
_NO_ORDER = np.iinfo(np.int64).max


class RecentVectors:
    """Follows a part's writes; answers searches as the engine would. Not safe for two threads at a time."""

    def __init__(self, dimensions: int) -> None:
        self._rows: dict[str, int] = {}
        self._points: list[tuple[str, Payload]] = []
        self._orders: NDArray[np.int64] = np.empty(_ROWS_MIN, np.int64)
        self._vectors: dict[str, NDArray[np.float32]] = {
            name: np.empty((_ROWS_MIN, dimensions), np.float32) for name in (PROMPT, CONVERSATION)
        }

    def put(self, points: Iterable[Point]) -> None:
        """Add points or replace those of the same ids; a mark, which has no vectors, takes its id's away."""
        for point in points:
            if not point.vectors:
                self.remove([point.id])
                continue
            row = self._rows.setdefault(point.id, len(self._points))
            if row == len(self._points):
                self._make_room(row)
                self._points.append((point.id, point.payload))
            self._points[row] = (point.id, point.payload)
            self._orders[row] = point.payload.get("order", _NO_ORDER)
            for name, vector in point.vectors.items():
                self._vectors[name][row] = vector

    def remove(self, ids: Collection[str]) -> None:
        """Forget points, where they are there."""
        for point_id in ids:
            row = self._rows.pop(point_id, None)
            if row is None:
                continue
            last = self._points.pop()
            if last[0] != point_id:  # the last one moves into the gap
                end = len(self._points)
                self._points[row] = last
                self._rows[last[0]] = row
                self._orders[row] = self._orders[end]
                for matrix in self._vectors.values():
                    matrix[row] = matrix[end]

    def search(self, searches: Sequence[Search]) -> list[list[tuple[str, Hit]]]:
        """The hits of each search with their ids, best first."""
        found: list[list[tuple[str, Hit]]] = [[] for _ in searches]
        for name, matrix in self._vectors.items():
            asked = [n for n, each in enumerate(searches) if each.by == name]
            if asked and self._points:
                cosines = np.stack([searches[n].vector for n in asked]) @ matrix[: len(self._points)].T
                for n, row in zip(asked, cosines, strict=True):
                    found[n] = self._best(searches[n], row)
        return found

    def _best(self, asked: Search, cosines: Vector) -> list[tuple[str, Hit]]:
        wanted = np.ones(len(cosines), np.bool_)
        if asked.cosine_min is not None:
            wanted = cosines >= np.float32(asked.cosine_min)
        if asked.order_below is not None:
            wanted &= self._orders[: len(cosines)] < asked.order_below
        rows = np.flatnonzero(wanted)
        if len(rows) > asked.limit:
            rows = rows[np.argpartition(-cosines[rows], asked.limit)[: asked.limit]]
        return [
            (self._points[row][0], Hit(self._points[row][1], float(cosines[row]))) for row in rows[np.argsort(-cosines[rows])]
        ]

    def _make_room(self, rows: int) -> None:
        if rows == len(self._orders):
            self._orders = np.concatenate([self._orders, np.empty_like(self._orders)])
            for name, matrix in self._vectors.items():
                self._vectors[name] = np.concatenate([matrix, np.empty_like(matrix)])
