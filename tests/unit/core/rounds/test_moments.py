"""Moments are exact: of any numbers, in any order, however they are divided."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.core.rounds.moments import Moments, moments_of
from tests.fakes.certain import certain
from tests.fakes.selection_oracle import exceeds

ANY = st.floats(allow_nan=False, allow_infinity=False)
TAME = st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 0.1, 0.3, 1e-300, 5e-324])
COLUMNS = st.lists(TAME, min_size=1, max_size=30) | st.builds(lambda value, n: [value] * n, ANY, st.integers(1, 9))


def exact(values: list[float], ddof: int) -> tuple[Fraction, Fraction]:
    numbers = [Fraction(value) for value in values]
    mean = sum(numbers, Fraction(0)) / len(numbers)
    return mean, sum(((number - mean) ** 2 for number in numbers), Fraction(0)) / (len(numbers) - ddof)


@given(st.lists(ANY, min_size=1, max_size=20))
@example([5e-324, 5e-324, 0.0])
@example([1.7e308, 1.7e308, -1e-308])
def test_the_mean_is_the_true_one_rounded_once(values):
    """Whatever the sizes of the numbers, the mean is the double nearest to the true mean."""
    assert moments_of(np.array(values)).mean == float(exact(values, 0)[0])


@given(COLUMNS, st.sampled_from([0, 1]))
def test_the_deviation_is_the_true_one_rounded_once(values, ddof):
    """No double lies nearer to the true deviation, and too few values have none."""
    std = moments_of(np.array(values)).std(ddof)
    if len(values) <= ddof:
        assert std is None
        return
    variance = exact(values, ddof)[1]
    std = certain(std)
    half_steps = [(Fraction(std) + Fraction(math.nextafter(std, to))) / 2 for to in (0.0, math.inf)]
    assert half_steps[0] ** 2 <= variance <= half_steps[1] ** 2 or std == variance == 0


@given(COLUMNS, st.sampled_from([0, 1]))
def test_numpy_says_the_same(values, ddof):
    """NumPy's mean and deviation are these, within its own rounding."""
    column = np.array(values)
    moments = moments_of(column)
    scale = np.abs(column).max()
    with np.errstate(over="ignore", invalid="ignore"):
        if scale < 1e150:
            assert moments.mean == pytest.approx(column.mean(), rel=1e-12, abs=1e-13 * scale)
        if len(values) > ddof and scale < 1e150:
            assert moments.std(ddof) == pytest.approx(
                column.std(ddof=ddof), rel=1e-9, abs=1e-12 * scale + 1e-150
            )  # its squares underflow


def test_a_huge_offset_costs_nothing():
    """Deviations of a few units around ten to the fifteenth: a naive sum of squares has no digit left of them."""
    steps = np.random.default_rng(1).integers(0, 5, 10_000).astype(float)
    far, near = moments_of(steps + 1e15), moments_of(steps)
    assert far.std(0) == near.std(0) == pytest.approx(steps.std(), rel=1e-12)
    assert (np.square(steps + 1e15).mean() - (steps + 1e15).mean() ** 2) != pytest.approx(steps.var(), rel=0.5)


@given(st.lists(ANY, max_size=40), st.lists(st.integers(0, 40), max_size=6), st.randoms(use_true_random=False))
def test_moments_do_not_depend_on_order_or_division(values, cuts, chance):
    """Shuffled and cut anywhere, parts add up to the same moments, bit for bit."""
    shuffled = list(values)
    chance.shuffle(shuffled)
    edges = [0, *sorted(cuts), len(values)]
    parts = [moments_of(np.array(shuffled[start:end], dtype=float)) for start, end in pairwise(edges)]
    assert sum(parts, Moments()) == moments_of(np.array(values, dtype=float))


def test_more_values_than_a_block():
    """Many values of heavy tails come out as their fractions do."""
    column = np.random.default_rng(2).standard_cauchy(70_000)
    moments = moments_of(column)
    assert moments.total == sum(int(Fraction(value) * 2**1126) for value in column.tolist())
    assert moments.squares == sum(int(Fraction(value) ** 2 * 2**2252) for value in column.tolist())


def test_the_fullest_digits_are_counted_without_loss():
    """Half a million values whose every digit is set: sums are whole numbers, however long they get."""
    value, rows = math.nextafter(2.0, 0.0), 1 << 19
    moments = moments_of(np.full(rows, value))
    assert moments.total == rows * int(Fraction(value) * 2**1126)
    assert (moments.mean, moments.std(0), moments.bound(1.0, 0)) == (value, 0.0, value)


@given(COLUMNS, st.floats(-3, 3) | st.sampled_from([0.0, 1.0, -1.0, 2.0]), st.sampled_from([0, 1]))
@example([0.1, 0.1, 0.3, 0.3], 1.0, 0)
@example([0.1] * 3, 1.0, 0)
@example([0.0, 10.0], 1.0, 0)
def test_a_double_exceeds_the_bound_exactly_when_it_exceeds_the_true_one(values, m, ddof):
    """The values themselves and the doubles around the bound fall to the side where exact arithmetic puts them."""
    bound = moments_of(np.array(values)).bound(m, ddof)
    if len(values) <= ddof:
        assert bound is None
        return
    bound = certain(bound)
    mean, variance = exact(values, ddof)
    for value in [*values, bound, math.nextafter(bound, math.inf), math.nextafter(bound, -math.inf)]:
        if math.isfinite(value):
            assert (value > bound) == exceeds(Fraction(value) - mean, m, variance)


def test_nothing_is_made_of_nothing():
    """No values have no mean, no deviation and no bound; what is not finite is refused."""
    none = moments_of(np.array([]))
    assert (none, none.mean, none.std(0), none.bound(1.0, 0)) == (Moments(), None, None, None)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            moments_of(np.array([1.0, bad]))


def test_a_deviation_beyond_all_doubles_is_infinite():
    """The largest doubles on both sides deviate by more than a double can say."""
    assert moments_of(np.array([1.7e308, -1.7e308])).std(1) == math.inf
