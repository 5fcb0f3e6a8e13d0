"""Gains: signs by axis, intervals that cover, and the same numbers each time."""

import numpy as np
import pytest

from headrace.core.rounds.report.gains import gain_of, gains_on
from headrace.core.rounds.rules import Axis


@pytest.mark.parametrize(("axis", "gain"), [(Axis.HARD, -1.0), (Axis.SPARSE, 1.0), (Axis.LOW_QUALITY, 1.0)])
def test_a_gain_is_positive_for_the_better(axis, gain):
    """A loss should fall, a density and a quality should rise."""
    assert gain_of(axis, 2.0, 3.0) == gain
    assert gain_of(axis, None, 3.0) is None
    assert gain_of(axis, 2.0, None) is None


def test_intervals_cover_the_mean_and_repeat():
    """The interval lies around the mean, is as wide as theory says, and is the same for the same gains in any order."""
    chance = np.random.default_rng(3)
    accepted, rejected = chance.normal(1, 1, 400), chance.normal(0, 1, 400)
    found = gains_on(Axis.HARD, accepted, rejected)
    assert found == gains_on(Axis.HARD, chance.permutation(accepted), rejected)
    for estimate, error in ((found.accepted, 1 / 20), (found.rejected, 1 / 20), (found.difference, 2**0.5 / 20)):
        assert estimate is not None
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.mean < estimate.high
        assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_too_few_to_tell():
    """Of a single gain there is a mean and no interval; of none there is nothing."""
    found = gains_on(Axis.SPARSE, [0.5], [])
    assert found.accepted is not None
    assert (found.accepted.mean, found.accepted.low) == (0.5, None)
    assert found.rejected is None
    assert found.difference is None
    both = gains_on(Axis.SPARSE, [0.5], [0.1, 0.2]).difference
    assert both is not None
    assert both.mean == pytest.approx(0.35)
    assert both.low is None
