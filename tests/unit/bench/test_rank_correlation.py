"""Spearman's rank correlation against its definition and against known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.rank_correlation import bootstrap_interval, rank_correlation

NUMBERS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20)


@given(NUMBERS)
def test_it_is_the_correlation_of_ranks_where_ties_share_theirs(pairs):
    """Spelled out: a value's rank is how many are smaller, and half of those that are equal."""
    first, second = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    ranks = [[np.sum(column < one) + np.sum(column == one) / 2 for one in column] for column in (first, second)]
    found = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-9)


def test_known_values():
    """The same order is 1, the reverse -1, whatever the distances; noise below a millionth is a tie."""
    first = np.array([1.0, 2.0, 3.0, 40.0])
    assert rank_correlation(first, np.exp(first)) == pytest.approx(1)
    assert rank_correlation(first, -first) == pytest.approx(-1)
    assert rank_correlation(first, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)
    assert np.isnan(rank_correlation(first, 3 + 1e-9 * first))


def test_the_interval_narrows_with_more_samples_and_holds_the_value():
    """The same seed draws the same; what says the same of everything has none."""
    rng = np.random.default_rng(4)
    widths = []
    for count in (20, 400):
        first = rng.normal(size=count)
        second = first + rng.normal(size=count)
        low, high = bootstrap_interval(first, second, draws=300)
        assert low < rank_correlation(first, second) < high
        assert (low, high) == bootstrap_interval(first, second, draws=300)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert np.isnan(bootstrap_interval(np.ones(20), rng.normal(size=20), draws=300)).all()
