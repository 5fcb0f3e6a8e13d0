"""The area under the ROC curve, and its interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.separation import auroc, separation

SCORES = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


def test_auroc_of_a_perfect_order_is_one_and_of_its_reverse_zero():
    """A score that puts every right answer above every wrong one has area 1; the reverse has 0."""
    assert auroc([3, 2, 1, 0], [True, True, False, False]) == 1.0
    assert auroc([0, 1, 2, 3], [True, True, False, False]) == 0.0


def test_ties_count_half():
    """A constant score is chance."""
    assert auroc([1, 1, 1], [True, False, True]) == 0.5


def test_without_both_kinds_there_is_no_figure():
    """One kind alone cannot be separated from anything."""
    assert auroc([1, 2], [True, True]) is None
    assert separation(np.array([1.0]), np.array([]), seed=0) is None


@given(SCORES, SCORES)
def test_both_functions_agree_and_the_interval_is_the_same_every_time(positive, negative):
    """The area is that of `auroc`; its interval lies within 0 and 1 and follows from the seed."""
    found = separation(np.array(positive, dtype=float), np.array(negative, dtype=float), seed=1)
    assert found is not None
    assert found.area == pytest.approx(auroc([*positive, *negative], [True] * len(positive) + [False] * len(negative)))
    assert 0 <= found.low <= found.high <= 1 + 1e-9
    assert found == separation(np.array(positive, dtype=float), np.array(negative, dtype=float), seed=1)


def test_more_samples_make_a_narrower_interval():
    """The interval says how sure the area is."""
    chance = np.random.default_rng(0)
    few, many = (separation(chance.normal(1, 1, size), chance.normal(0, 1, size), seed=0) for size in (10, 1000))
    assert few is not None
    assert many is not None
    assert many.high - many.low < (few.high - few.low) / 4
    assert many.low < 0.76 < many.high
