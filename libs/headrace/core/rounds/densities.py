"""Neighbourhood density over a closed set, exact: no index, no graph, and no matrix of all pairs.

A block of queries meets the set block by block: single-precision products, and of each query the best so far. The few that are
left are measured once more in double precision and ranked by that, so cosines do not depend on how blocks were cut. Memory is
that of two blocks, whatever the size of the set; N vectors of d dimensions take N^2 d multiplications.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

QUERY_ROWS = 1_024
"""Queries of a block. Fixed: blocks begin at multiples of it, so that work done twice is the same work."""

_SET_ROWS = 8_192
_SPARE = 8
"""Candidates kept beside the k: single precision may confuse neighbours whose cosines differ by less than its rounding."""

_HITS_MAX = 64
"""Hits per query that are merged as a list; with more of them the block is reduced to its own best first."""

_EXACT_ROWS = 64


@dataclass(frozen=True, slots=True)
class Neighbourhoods:
    """Of each query the k nearest others, nearest first: their rows in the set and their cosines, -1 to 1."""

    rows: Rows
    cosines: Floats

    @property
    def densities(self) -> Floats:
        """The mean of each query's k cosines."""
        means: Floats = self.cosines.mean(axis=1)
        return means


def nearest(vectors: Vectors, first: int, count: int, k: int) -> Neighbourhoods | None:
    """The k nearest others of the rows `first` to `first + count` of the set; None where there are fewer than k others.

    Vectors are of unit length. A row is never its own neighbour, but one with the same vector is its nearest; of equal cosines
    the lower row comes first.
    """
    others = len(vectors) - 1
    if others < k:
        return None
    queries = np.asarray(vectors[first : first + count])
    kept = min(k + _SPARE, others)
    best = _Best(count, kept)
    for start in range(0, len(vectors), _SET_ROWS):
        products = queries @ np.asarray(vectors[start : start + _SET_ROWS]).T
        own = np.arange(max(first, start), min(first + count, start + products.shape[1]))
        products[own - first, own - start] = -np.inf
        best.add(products, start)
    return _ranked(vectors, queries, best.rows, k)


class _Best:
    """The best products so far of each query, in falling order, and the rows they belong to."""

    def __init__(self, queries: int, kept: int) -> None:
        self._kept = kept
        self._products = np.full((queries, kept), -np.inf, dtype=np.float32)
        self.rows: Rows = np.full((queries, kept), -1, dtype=np.int64)

    def add(self, products: npt.NDArray[np.float32], start: int) -> None:
        """Take a block's products with the rows from `start` on."""
        queries = len(products)
        hits = products > self._products[:, -1:]
        if np.count_nonzero(hits) > _HITS_MAX * queries and products.shape[1] > self._kept:
            columns = np.argpartition(products, -self._kept, axis=1)[:, -self._kept :]
            places = np.repeat(np.arange(queries), self._kept)
            columns = columns.ravel()
        else:
            places, columns = np.nonzero(hits)
        self._merge(places, products[places, columns], columns + start)

    def _merge(self, places: Rows, products: npt.NDArray[np.float32], rows: Rows) -> None:
        queries = len(self.rows)
        every_place = np.concatenate([np.repeat(np.arange(queries), self._kept), places])
        every_product = np.concatenate([self._products.ravel(), products])
        every_row = np.concatenate([self.rows.ravel(), rows])
        order = np.lexsort((every_row, -every_product, every_place))
        starts = np.searchsorted(every_place[order], np.arange(queries))
        chosen = order[starts[:, None] + np.arange(self._kept)]
        self._products, self.rows = every_product[chosen], every_row[chosen]


def _ranked(vectors: Vectors, queries: Vectors, candidates: Rows, k: int) -> Neighbourhoods:
    """The candidates by their cosines in double precision, the k best of each query."""
    cosines = np.empty(candidates.shape, dtype=np.float64)
    for start in range(0, len(queries), _EXACT_ROWS):
        part = slice(start, start + _EXACT_ROWS)
        near = np.asarray(vectors[candidates[part].ravel()]).astype(np.float64)
        near = near.reshape(*candidates[part].shape, -1)
        cosines[part] = np.einsum("qd,qcd->qc", queries[part].astype(np.float64), near)
    np.clip(cosines, -1.0, 1.0, out=cosines)
    order = np.lexsort((candidates, -cosines), axis=1)[:, :k]
    return Neighbourhoods(np.take_along_axis(candidates, order, axis=1), np.take_along_axis(cosines, order, axis=1))
