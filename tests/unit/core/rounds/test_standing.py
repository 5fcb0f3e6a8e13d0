"""Standing thresholds: the policy's section, and the numbers that fill it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.core.policies import Policy
from headrace.core.rounds.calibrating import calibrated, of_round
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.rules import Mode, SelectionRules
from headrace.core.rounds.signal_rows import SignalRows
from headrace.core.rounds.standing import StandingPolicy, StandingThresholds
from headrace.core.rounds.surveys import Judge
from headrace.core.rounds.tally import Tally
from headrace.core.rounds.thresholds import surveys_of
from tests.fakes.round_parts import SURVEY

BOTH = StandingPolicy(rows=4, low_quality=True)
THRESHOLDS = StandingThresholds(model="smol", model_version="3", rows=4, source="calibration", loss_max=2.0, quality_min=5.0)
FLAT = RoundPolicy()


def over(standing, losses, qualities=(), rounds=FLAT):
    losses = np.array(losses, dtype=float)
    found = np.array(qualities, dtype=float) if len(qualities) else np.full(len(losses), np.nan)
    return calibrated(standing, rounds, "smol", "3", losses, found)


def test_older_policies_keep_their_names():
    """A section that says nothing is left out of the text that names the policy; thresholds are part of it."""
    assert "standing" not in json.loads(Policy().canonical_json())
    on = Policy(standing=BOTH)
    filled = on.with_thresholds(THRESHOLDS)
    assert len({Policy().version, on.version, filled.version}) == 3
    again = Policy.model_validate_json(filled.canonical_json())
    assert again == filled
    assert again.version == filled.version
    assert on.with_thresholds(THRESHOLDS).version == filled.version  # though the name of `on` is known already
    assert "ruler_hash" not in filled.canonical_json()
    assert on.with_thresholds(THRESHOLDS.model_copy(update={"ruler_hash": "ruler"})).version != filled.version


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"rows": -1}, "greater than or equal to 0"),
        ({"rows": 100_001}, "less than or equal to 100000"),
        ({"rows": True}, "valid integer"),
        ({"rows": 10, "hard": False}, "both standing.hard and standing.low_quality are off"),
        ({"rows": 10, "sparse": True}, "Extra inputs"),
        ({"rows": 10, "thresholds": {"model": "smol"}}, "Field required"),
        ({"rows": 10, "thresholds": THRESHOLDS.model_dump() | {"loss_max": math.nan}}, "finite number"),
    ],
)
def test_what_cannot_stand_is_refused(document, message):
    """By the key that is wrong."""
    with pytest.raises(ValidationError, match=message):
        Policy.model_validate({"standing": document})


def test_thresholds_hold_for_their_own_version_alone():
    """Of another model or version, on an axis that is off, or with the section off, nothing stands."""
    standing = BOTH.model_copy(update={"thresholds": THRESHOLDS})
    assert (standing.loss_max_of("smol", "3"), standing.quality_min_of("smol", "3")) == (2.0, 5.0)
    for other in (("smol", "4"), ("other", "3")):
        assert (standing.loss_max_of(*other), standing.quality_min_of(*other)) == (None, None)
    assert standing.model_copy(update={"hard": False}).loss_max_of("smol", "3") is None
    assert standing.model_copy(update={"low_quality": False}).quality_min_of("smol", "3") is None
    assert standing.model_copy(update={"rows": 0}).loss_max_of("smol", "3") is None


def test_bounds_are_mean_and_deviations():
    """Population deviation for the loss, sample deviation for the quality, as on the axes of rounds."""
    found = over(BOTH, [1, 2, 3, 6], [4, 6, 8, 6])
    assert (found.loss_mean, found.loss_m, found.rows, found.source) == (3.0, 1.0, 4, "calibration")
    assert found.loss_std == pytest.approx(np.std([1, 2, 3, 6]))
    assert found.loss_max == pytest.approx(3.0 + np.std([1, 2, 3, 6]))
    assert found.quality_std == pytest.approx(np.std([4, 6, 8, 6], ddof=1))
    assert found.quality_min == pytest.approx(6.0 - np.std([4, 6, 8, 6], ddof=1))


def test_coefficients_are_those_of_rounds():
    """A fixed m, a target share, the fixed m of the authors' mode, and an axis that rounds leave out."""
    losses = [1.0] * 8 + [5.0, 9.0]
    two = over(BOTH, losses, rounds=RoundPolicy.model_validate({"hard": {"m": 2.0}}))
    assert two.loss_max == pytest.approx(np.mean(losses) + 2 * np.std(losses))
    tenth = over(BOTH, losses, rounds=RoundPolicy.model_validate({"hard": {"target_share": 0.1}}))
    assert tenth.loss_max is not None
    assert 5.0 <= tenth.loss_max < 9.0
    compat = over(BOTH, losses, rounds=RoundPolicy.model_validate({"mode": "middo_compat", "hard": {"m": 2.0}}))
    assert compat.loss_m == 1.0
    none = over(BOTH, losses, rounds=RoundPolicy.model_validate({"hard": {"enabled": False}}))
    assert (none.loss_max, none.loss_mean) == (None, None)


@pytest.mark.parametrize("losses", [[2.0], [2.0, 2.0, 2.0]])
def test_ties_pass(losses):
    """Of equal losses none lies above the bound: it is their value."""
    assert over(BOTH, losses).loss_max == 2.0


def test_a_share_of_equal_numbers_has_no_bound():
    """There is no m that would part them, and nothing is held to it."""
    found = over(BOTH, [2.0, 2.0], rounds=RoundPolicy.model_validate({"hard": {"target_share": 0.5}}))
    assert (found.loss_max, found.loss_m, found.bounds_anything) == (None, None, False)


def test_numbers_that_were_not_made_are_left_out():
    """They are no zeros, and poison nothing; of one quality alone there is no sample deviation."""
    assert over(BOTH, [1, 3, math.nan]).loss_mean == 2.0
    assert over(BOTH, [1, 3], [5, math.nan]).quality_min is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.randoms())
def test_order_is_of_no_account(losses, chance):
    """The same rows in another order give the same thresholds, to the bit."""
    other = list(losses)
    chance.shuffle(other)
    assert over(BOTH, other) == over(BOTH, losses)


def summary(rules, losses, qualities):
    size = len(losses)
    nothing, never = np.full(size, np.nan), np.zeros(size, dtype=bool)
    rows = SignalRows(np.array(losses, float), np.array(losses, float) + 1, nothing, np.array(qualities, float), never, never)
    surveys = surveys_of(rules, 100)
    for each in surveys:
        each.add(rows)
    tally = Tally(rules, [each.threshold() for each in surveys], 100)
    tally.add(rows, None)
    return json.loads(tally.summary().canonical_json())


def test_a_rounds_thresholds_are_taken_over():
    """Loss of the current model and quality, as a calibration of the same rows has them; the base model's bound is not."""
    losses, qualities = [1, 2, 3, 6], [4, 6, 8, 6]
    found = of_round(BOTH, SURVEY, summary(SelectionRules(), losses, qualities))
    expected = over(BOTH, losses, qualities)
    assert found == expected.model_copy(update={"model": "signals", "model_version": "2", "source": "round r1"})


def test_what_a_round_cannot_say_does_not_stand():
    """Axes that are off here or there, a quality by another judge, poisoned moments, no rows: no bounds, no thresholds."""
    told = summary(SelectionRules(), [1, 2, 3, 6], [4, 6, 8, 6])
    by_text = of_round(BOTH, replace(SURVEY, judge=Judge.GENERATED), told)
    assert by_text is not None
    assert (by_text.quality_min, by_text.loss_max is None) == (None, False)
    assert of_round(BOTH.model_copy(update={"hard": False}), replace(SURVEY, judge=Judge.NONE), told) is None
    assert of_round(BOTH, SURVEY, summary(SelectionRules(hard=None, low_quality=None), [1], [1])) is None
    poisoned = summary(SelectionRules(mode=Mode.MIDDO_COMPAT, low_quality=None, sparse=None), [1, math.nan], [1, 1])
    assert of_round(BOTH, SURVEY, poisoned) is None
    assert of_round(BOTH, SURVEY, summary(SelectionRules(), [], [])) is None
    assert of_round(BOTH, SURVEY, {}) is None
