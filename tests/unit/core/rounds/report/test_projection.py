"""The map's plane: it is the one of the largest variance, and the same on every run."""

import numpy as np
import pytest

from headrace.core.rounds.report.projection import plane_of


def test_the_two_widest_directions_are_found():
    """Of points that spread along two axes those are found, widest first, with their shares of the variance."""
    chance = np.random.default_rng(1)
    vectors = np.zeros((500, 6), dtype=np.float32)
    vectors[:, 4] = chance.normal(0, 3, 500)
    vectors[:, 1] = chance.normal(0, 1, 500)
    plane = plane_of(vectors)
    assert np.abs(plane.directions[0]).argmax() == 4
    assert np.abs(plane.directions[1]).argmax() == 1
    assert plane.explained[0] == pytest.approx(0.9, abs=0.05)
    assert sum(plane.explained) == pytest.approx(1.0)
    np.testing.assert_allclose(plane.of(vectors).mean(axis=0), 0, atol=1e-6)


def test_signs_do_not_depend_on_the_order_of_rows():
    """Shuffled rows have the same plane, signs included: two reports of one round look alike."""
    chance = np.random.default_rng(2)
    vectors = chance.normal(size=(80, 5)).astype(np.float32) * np.array([5, 3, 1, 1, 1], dtype=np.float32)
    first, second = plane_of(vectors), plane_of(vectors[chance.permutation(80)])
    np.testing.assert_allclose(first.directions, second.directions, atol=1e-5)
    assert (first.directions[np.arange(2), np.abs(first.directions).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("vectors", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((3, 4)), np.full((2, 1), 0.5)])
def test_without_variance_everything_lies_in_the_origin(vectors):
    """No vector, one, or equal ones: nothing is explained, and nothing is not a number."""
    plane = plane_of(vectors.astype(np.float32))
    assert plane.explained == (0.0, 0.0)
    assert not plane.of(vectors.astype(np.float32)).any()


def test_two_vectors_make_a_line():
    """Two points differ in one direction, which explains everything."""
    plane = plane_of(np.array([[0, 0, 1], [0, 1, 0]], dtype=np.float32))
    assert plane.explained == pytest.approx((1.0, 0.0))
