"""Rules that cannot be carried out are refused where they are written."""

import json
import math

import pytest

from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.rules import OWNERS, Axis, AxisRule, Mode, SelectionRules


@pytest.mark.parametrize(
    "wrong", [{}, {"m": 1.0, "target_share": 0.1}, {"m": math.nan}, {"m": 1e6}, {"target_share": 1.5}, {"target_share": math.nan}]
)
def test_an_axis_has_a_coefficient_or_a_share(wrong):
    """Neither, both, or what is no number is refused."""
    with pytest.raises(ValueError, match=r"^an axis has|^m is|^target_share is"):
        AxisRule(**wrong)


def test_the_authors_compare_two_models():
    """Mode middo_compat without a base model is refused unless the hard axis is off; our mode goes on without."""
    with pytest.raises(ValueError, match="base model"):
        SelectionRules(mode=Mode.MIDDO_COMPAT, has_base=False)
    assert SelectionRules(mode=Mode.MIDDO_COMPAT, has_base=False, hard=None).rule_of(Axis.HARD) is None
    assert SelectionRules(has_base=False).rule_of(Axis.HARD) == AxisRule(m=1.0)


def test_the_authors_hard_axis_takes_one_whatever_is_asked():
    """Only there, and only in their mode."""
    asked = AxisRule(m=2.0)
    theirs = SelectionRules(mode=Mode.MIDDO_COMPAT, hard=asked, sparse=asked)
    assert (theirs.rule_of(Axis.HARD), theirs.rule_of(Axis.SPARSE)) == (AxisRule(m=1.0), asked)
    assert SelectionRules(hard=asked).rule_of(Axis.HARD) == asked


def test_a_density_has_a_neighbour():
    """No neighbours make no density; and every axis has a place among the owners."""
    with pytest.raises(ValueError, match="k is 0"):
        SelectionRules(k=0)
    assert set(OWNERS) == set(Axis)


def test_the_mode_sets_the_papers_values_where_none_are_given():
    """What is given stands, and so does a policy that was stored with all its values."""
    paper = RoundPolicy.model_validate({"mode": "middo_compat"})
    assert (paper.judge, paper.attempts_max, paper.scale, paper.neighbours, paper.unmended) == (
        "generated",
        1,
        "paper",
        2,
        "keep",
    )
    given = RoundPolicy.model_validate({"mode": "middo_compat", "judge": "logits", "attempts_max": 3})
    assert (given.judge, given.attempts_max, given.scale) == ("logits", 3, "paper")
    ours = RoundPolicy()
    assert (ours.judge, ours.attempts_max, ours.scale) == ("logits", 2, "held")
    stored = json.loads(ours.canonical_json()) | {"mode": "middo_compat"}
    assert json.loads(RoundPolicy.model_validate(stored).canonical_json()) == stored
    assert RoundPolicy.model_validate_json(paper.canonical_json()) == paper
    assert RoundPolicy(mode=Mode.MIDDO_COMPAT).judge == "generated"
