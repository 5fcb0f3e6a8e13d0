"""Neighbourhood density: exact, whatever the blocks, against a product of everything with everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.rounds import densities
from headrace.core.rounds.densities import nearest


def unit(rows: int, dimensions: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions))
    found: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def naive(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and cosines of the k nearest others, by the whole matrix in double precision."""
    products = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    np.fill_diagonal(products, -np.inf)
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(products, order, axis=1)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(densities, "_SET_ROWS", 16)
    monkeypatch.setattr(densities, "_HITS_MAX", 2)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rows", [3, 15, 16, 17, 100])
@pytest.mark.parametrize("k", [1, 2])
def test_the_nearest_are_those_of_the_whole_matrix(rows, k):
    """Neighbours and densities are exact when the set comes in many blocks, and when it comes in one."""
    vectors = unit(rows, seed=rows)
    found = nearest(vectors, 0, rows, k)
    assert found is not None
    expected_rows, expected = naive(vectors, k)
    assert found.rows.tolist() == expected_rows.tolist()
    np.testing.assert_allclose(found.cosines, expected, atol=1e-12)
    np.testing.assert_allclose(found.densities, expected.mean(axis=1), atol=1e-12)


@settings(max_examples=40)
@given(st.integers(2, 80), st.integers(1, 4), st.integers(0, 2**32 - 1), st.data())
def test_a_block_of_queries_says_what_the_whole_set_says(rows, k, seed, data):
    """The answer for a row does not depend on the block in which it is asked, to the last bit."""
    vectors = unit(rows, dimensions=5, seed=seed)
    whole = nearest(vectors, 0, rows, k)
    first = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(1, rows - first))
    part = nearest(vectors, first, count, k)
    if rows <= k:
        assert (whole, part) == (None, None)
        return
    assert whole is not None
    assert part is not None
    assert part.cosines.tolist() == whole.cosines[first : first + count].tolist()
    assert part.rows.tolist() == whole.rows[first : first + count].tolist()


def test_copies_are_each_others_neighbours_and_nobody_is_his_own():
    """Exact duplicates have density 1; a row's own vector does not count, its copy's does."""
    vectors = np.repeat(unit(2, seed=4), 3, axis=0)
    found = nearest(vectors, 0, 6, 2)
    assert found is not None
    np.testing.assert_allclose(found.densities, 1.0, atol=1e-6)
    assert found.rows.tolist() == [[1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4]]


@pytest.mark.usefixtures("small_blocks")
def test_a_block_that_is_all_nearer_than_what_came_before_is_merged_too():
    """Where each block of the set beats the one before, the best of all blocks is found."""
    angles = np.linspace(1.5, 0.0, 64)
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    found = nearest(vectors, 63, 1, 3)
    assert found is not None
    assert found.rows.tolist() == [[62, 61, 60]]


def test_too_few_others_have_no_density():
    """With k neighbours asked for, k rows are too few and k + 1 are enough."""
    assert nearest(unit(2), 0, 2, 2) is None
    assert nearest(np.empty((0, 4), dtype=np.float32), 0, 0, 1) is None
    found = nearest(unit(3), 0, 3, 2)
    assert found is not None
    assert found.rows.shape == (3, 2)
