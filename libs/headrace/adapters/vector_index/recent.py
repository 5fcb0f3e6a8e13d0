"""The points of a part that has no graph yet, in memory: payloads by value, vectors side by side.

A matrix product compares a batch with all of them at a fraction of what the engine takes to scan them, or even to walk a graph.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headrace.adapters.vector_index.engine import CONVERSATION, INTEGERS, KEYWORDS, PROMPT, Hit, Payload, Point, Search

Number = TypeVar("Number", np.int64, np.float32)

_ROWS_MIN = 256
_NO_ORDER = np.iinfo(np.int64).max
_ORDER = "order"
_RUNS = 64
"""Cosines are looked through in so many runs to learn what the best few of them reach at least."""

_PAGE = 2_000

_OUTLINE = 96
"""Of two unit vectors the first so many numbers and the length of the rest bound the cosine: they tell who is far."""

_SLACK = 1e-4
"""More than rounding adds to a cosine."""

_PAIRS_MAX = 4_096
"""So many pairs are measured one by one; where more may be near, the product of all with all is cheaper."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Searches by number, the rows they found, and the cosines."""


class RecentPoints:
    """Follows a part's writes; answers as the engine would. Not safe for two threads at a time."""

    def __init__(self, dimensions: int) -> None:
        self._payloads: dict[str, Payload] = {}
        self._by_value: dict[str, defaultdict[str | int, set[str]]] = {name: defaultdict(set) for name in (*KEYWORDS, _ORDER)}
        self._having: Counter[str] = Counter()
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._orders: NDArray[np.int64] = np.empty(_ROWS_MIN, np.int64)
        self._vectors: dict[str, NDArray[np.float32]] = {
            name: np.empty((_ROWS_MIN, dimensions), np.float32) for name in (PROMPT, CONVERSATION)
        }
        self._outlines: NDArray[np.float32] = np.empty((_ROWS_MIN, min(_OUTLINE, dimensions) + 1), np.float32)

    def __len__(self) -> int:
        return len(self._payloads)

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors that are there."""
        return sum(len(self._ids) * matrix[0].nbytes for matrix in self._vectors.values())

    # Writing

    def put(self, points: Iterable[Point]) -> None:
        """Add points or replace those of the same ids; a mark, which has no vectors, takes its id's away."""
        for point in points:
            self._forget(point.id)
            self._payloads[point.id] = point.payload
            for name, value in point.payload.items():
                if name in self._by_value:
                    self._by_value[name][value].add(point.id)
            self._having.update(name for name in INTEGERS if name in point.payload)
            if point.vectors:
                self._place(point)
            else:
                self._free_row(point.id)

    def remove(self, ids: Iterable[str]) -> None:
        """Forget points, where they are there."""
        for point_id in ids:
            self._forget(point_id)
            self._free_row(point_id)

    # Reading

    def get(self, ids: Iterable[str], *, vectors: bool) -> dict[str, Point]:
        """The points that are there."""
        names = (PROMPT, CONVERSATION) if vectors else ()
        return {each: self._point(each, names) for each in ids if each in self._payloads}

    def pages(self) -> Iterator[list[Point]]:
        """All points, page by page."""
        ids = list(self._payloads)
        for start in range(0, len(ids), _PAGE):
            yield [self._point(each, (PROMPT, CONVERSATION)) for each in ids[start : start + _PAGE]]

    def find(self, any_of: Mapping[str, Collection[str | int]], *, vectors: bool) -> list[Point]:
        """The points with one of the values in one of the fields, with their conversation vectors."""
        found: dict[str, None] = {}
        for name, values in any_of.items():
            by_value = self._by_value[name]
            for value in values:
                if value in by_value:
                    found.update(dict.fromkeys(by_value[value]))
        return [self._point(each, (CONVERSATION,) if vectors else ()) for each in found]

    def tally(self, field_name: str, values: Collection[str]) -> dict[str, int]:
        """How many points have each of the values."""
        by_value = self._by_value[field_name]
        return {value: len(by_value[value]) if value in by_value else 0 for value in values}

    def count(self, field_name: str | None) -> int:
        """How many points there are, or how many that have the integer field."""
        return len(self._payloads) if field_name is None else self._having[field_name]

    def least(self, field_name: str) -> int | None:
        """The least value of an integer field."""
        return min((int(each[field_name]) for each in self._payloads.values() if field_name in each), default=None)

    def below(self, field_name: str, bound: int) -> list[str]:
        """The points whose integer field is there and below the bound."""
        if not self._having[field_name]:
            return []
        return [each for each, payload in self._payloads.items() if int(payload.get(field_name, bound)) < bound]

    def search(self, searches: Sequence[Search]) -> list[list[tuple[str, Hit]]]:
        """The hits of each search with their ids, best first."""
        found: list[list[tuple[str, Hit]]] = [[] for _ in searches]
        for name in self._vectors:
            for bounded in (False, True):
                asked = [n for n, each in enumerate(searches) if each.by == name and (each.cosine_min is not None) is bounded]
                if asked and self._ids:
                    for n, hits in zip(asked, self._best(name, [searches[n] for n in asked]), strict=True):
                        found[n] = hits
        return found

    def _best(self, name: str, asked: Sequence[Search]) -> list[list[tuple[str, Hit]]]:
        """The hits of searches by one vector, which all have a least cosine, or none of them has."""
        vectors = np.stack([each.vector for each in asked])
        least = np.array([-2.0 if each.cosine_min is None else each.cosine_min for each in asked], np.float32)
        below = np.array([_NO_ORDER if each.order_below is None else each.order_below for each in asked])
        pairs = None if name != CONVERSATION or asked[0].cosine_min is None else self._near(vectors, least)
        which, rows, cosines = pairs or self._compared(name, vectors, least, below, max(each.limit for each in asked))
        hits: list[list[tuple[str, Hit]]] = [[] for _ in asked]
        ranked = np.lexsort((-cosines, which))
        ranked = ranked[(self._orders[rows] < below[which])[ranked] | (below[which] == _NO_ORDER)[ranked]]
        for n, row, cosine in zip(which[ranked].tolist(), rows[ranked].tolist(), cosines[ranked].tolist(), strict=True):
            if len(hits[n]) < asked[n].limit:
                point_id = self._ids[row]
                hits[n].append((point_id, Hit(self._payloads[point_id], cosine)))
        return hits

    def _near(self, vectors: NDArray[np.float32], least: NDArray[np.float32]) -> Pairs | None:
        """The conversations that reach the least cosines; None where outlines leave too many to measure one by one."""
        bounds = _outlines(vectors, self._outlines.shape[1] - 1) @ self._outlines[: len(self._ids)].T
        which, rows = np.nonzero(bounds >= (least - np.float32(_SLACK))[:, None])
        if len(which) > _PAIRS_MAX:
            return None
        cosines = np.einsum("ij,ij->i", vectors[which], self._vectors[CONVERSATION][rows])
        near = cosines >= least[which]
        return which[near], rows[near], cosines[near]

    def _compared(
        self, name: str, vectors: NDArray[np.float32], least: NDArray[np.float32], below: NDArray[np.int64], limit: int
    ) -> Pairs:
        """All that reach the least cosines; of searches without any, the best `limit` and not many more."""
        cosines = vectors @ self._vectors[name][: len(self._ids)].T
        if below.min() < _NO_ORDER:
            cosines[self._orders[: len(self._ids)] >= below[:, None]] = -np.inf
        if least.max() < -1.0:
            least = np.maximum(least, _reached(cosines, limit))
        which, rows = np.nonzero(cosines >= least[:, None])
        return which, rows, cosines[which, rows]

    # Rows

    def _point(self, point_id: str, names: Collection[str]) -> Point:
        row = self._rows.get(point_id) if names else None
        vectors = {} if row is None else {name: self._vectors[name][row].copy() for name in names}
        return Point(point_id, self._payloads[point_id], vectors)

    def _forget(self, point_id: str) -> None:
        payload = self._payloads.pop(point_id, None)
        if payload is None:
            return
        for name, by_value in self._by_value.items():
            if name in payload:
                ids = by_value[payload[name]]
                ids.discard(point_id)
                if not ids:
                    del by_value[payload[name]]
        self._having.subtract(name for name in INTEGERS if name in payload)

    def _place(self, point: Point) -> None:
        row = self._rows.setdefault(point.id, len(self._ids))
        if row == len(self._ids):
            self._make_room(row)
            self._ids.append(point.id)
        self._orders[row] = point.payload.get(_ORDER, _NO_ORDER)
        for name, vector in point.vectors.items():
            self._vectors[name][row] = vector
        self._outlines[row] = _outlines(point.vectors[CONVERSATION][None], self._outlines.shape[1] - 1)

    def _free_row(self, point_id: str) -> None:
        row = self._rows.pop(point_id, None)
        if row is None:
            return
        last = self._ids.pop()
        if last != point_id:  # the last one moves into the gap
            end = len(self._ids)
            self._ids[row] = last
            self._rows[last] = row
            self._orders[row] = self._orders[end]
            for matrix in self._vectors.values():
                matrix[row] = matrix[end]
            self._outlines[row] = self._outlines[end]

    def _make_room(self, rows: int) -> None:
        if rows == len(self._orders):
            self._orders = _doubled(self._orders)
            self._outlines = _doubled(self._outlines)
            self._vectors = {name: _doubled(matrix) for name, matrix in self._vectors.items()}


def _doubled(rows: NDArray[Number]) -> NDArray[Number]:
    more = np.empty((2 * len(rows), *rows.shape[1:]), rows.dtype)
    more[: len(rows)] = rows  # not np.concatenate: the room that is not used yet takes no memory
    return more


def _outlines(vectors: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The first numbers of each vector and the length of the rest: products of outlines are never below those of the vectors."""
    rest = vectors[:, size:]
    return np.concatenate([vectors[:, :size], np.sqrt(np.einsum("ij,ij->i", rest, rest))[:, None]], axis=1)


def _reached(cosines: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """For each search a cosine that at least `limit` points reach: cheaper than to find the very best, and cuts nearly as much.

    Each run's best is one point; of these the one that is `limit`th is such a bound.
    """
    runs = max(_RUNS, 2 * limit)
    width = cosines.shape[1] // runs
    best = cosines[:, : runs * width].reshape(len(cosines), runs, width).max(axis=2) if width else cosines
    if best.shape[1] <= limit:
        return np.full(len(cosines), -np.inf, np.float32)
    bound: NDArray[np.float32] = np.partition(best, -limit, axis=1)[:, -limit]
    return bound
