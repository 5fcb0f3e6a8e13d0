"""Vectors kept in memory answer as a plain scan over what is there would."""

from functools import cache

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT, Point, Search
from headrace.adapters.vector_index.recent import RecentPoints

DIMENSIONS = 3
numbers = st.integers(0, 20)  # few, so that what is removed is often there
writes = st.lists(st.tuples(st.sampled_from(["put", "mark", "remove"]), numbers, st.integers(0, 50)), max_size=60)


@cache
def _vector(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _point(number: int, seed: int) -> Point:
    payload = {"order": number} if number % 2 else {}
    return Point(str(number), payload, {PROMPT: _vector(seed), CONVERSATION: _vector(seed + 1_000)})


@given(
    writes=writes,
    many=st.booleans(),
    by=st.sampled_from([PROMPT, CONVERSATION]),
    limit=st.integers(1, 8),
    cosine_min=st.sampled_from([None, 0.5]),
    order_below=st.sampled_from([None, 11]),
)
def test_searches_find_what_a_scan_finds(writes, many, by, limit, cosine_min, order_below):
    """Whatever was put, marked and removed, in whichever order; more points than there is room for at first included."""
    recent, there = RecentPoints(DIMENSIONS), {}
    for kind, number, seed in [*(("put", n, n) for n in range(300 if many else 0)), *writes]:
        if kind == "put":
            there[str(number)] = _point(number, seed)
            recent.put([there[str(number)]])
        elif kind == "mark":
            there.pop(str(number), None)
            recent.put([Point(str(number), {"settled_at": 1})])
        else:
            there.pop(str(number), None)
            recent.remove([str(number)])
    query = _vector(10_000)
    cosines = {
        point.id: float(point.vectors[by] @ query)
        for point in there.values()
        if order_below is None or point.payload.get("order", order_below) < order_below
    }
    best = sorted((c for c in cosines.values() if cosine_min is None or c >= cosine_min), reverse=True)[:limit]
    [hits] = recent.search([Search(by, query, limit, cosine_min, order_below)])
    np.testing.assert_allclose([hit.cosine for _, hit in hits], best, atol=1e-6)
    assert all(abs(hit.cosine - cosines[point_id]) < 1e-6 and hit.payload == there[point_id].payload for point_id, hit in hits)
