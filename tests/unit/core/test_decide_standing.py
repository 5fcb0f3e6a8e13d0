"""The decision under standing thresholds: whom they hold, with which reason, and whom they say nothing of."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.decide import decide
from headrace.core.dossiers import JUDGED, Judgement
from headrace.core.policies import Policy
from headrace.core.replay import Replay
from headrace.core.rounds.standing import StandingThresholds
from tests.fakes.evidence import dossier, placement, signals
from tests.fakes.rewrites import rewrite

THRESHOLDS = StandingThresholds(model="model", model_version="1", rows=100, source="round r1", loss_max=2.0, quality_min=5.0)


def policy(thresholds=THRESHOLDS, **standing):
    section = {"rows": 100, "low_quality": True, **standing, "thresholds": thresholds and thresholds.model_dump()}
    return Policy.model_validate({"standing": section})


def judged(loss=1.0, quality=6.0, error=""):
    scores = {} if error else dict.fromkeys(JUDGED, quality)
    return replace(signals(loss), judgement=Judgement("logits", "ruler", error=error, **scores))


@pytest.mark.parametrize(
    ("scored", "under", "verdict", "reason"),
    [
        (judged(2.0), policy(), "accepted", "accepted"),
        (judged(2.01), policy(), "rejected", "loss_too_high"),
        (judged(1.0, 5.0), policy(), "accepted", "accepted"),
        (judged(1.0, 4.99), policy(), "rejected", "quality_too_low"),
        (judged(9.0, 1.0), policy(), "rejected", "loss_too_high"),
        (judged(9.0), policy(hard=False), "accepted", "accepted"),
        (judged(1.0, 1.0), policy(low_quality=False), "accepted", "accepted"),
        (judged(9.0, 1.0), policy(rows=0), "accepted", "accepted"),
        (judged(9.0, 1.0), policy(None), "accepted", "accepted"),
        (replace(judged(9.0, 1.0), model_version="2"), policy(), "accepted", "accepted"),
        (replace(judged(9.0, 1.0), model="other"), policy(), "accepted", "accepted"),
        (signals(1.0), policy(), "parked", "signals_not_made"),
        (signals(9.0), policy(), "rejected", "loss_too_high"),
        (judged(1.0, float("nan")), policy(), "parked", "signals_not_made"),
        (judged(1.0, error="no number"), policy(), "parked", "signals_not_made"),
        (signals(1.0), policy(THRESHOLDS.model_copy(update={"quality_min": None})), "accepted", "accepted"),
        (judged(9.0), policy(THRESHOLDS.model_copy(update={"loss_max": None})), "accepted", "accepted"),
    ],
)
def test_thresholds_hold_what_their_version_measured(scored, under, verdict, reason):
    """Each bound by itself; what the judge could not make is no bad quality; other versions' samples are not held."""
    decision = decide(dossier(scored=scored), under)
    assert (decision.verdict, decision.reason) == (verdict, reason)


def test_another_ruler_is_compared_with_nothing_and_says_so():
    """Until the threshold is calibrated anew; the loss is held to its bound all the same."""
    under = policy(THRESHOLDS.model_copy(update={"ruler_hash": "ruler"}))
    assert decide(dossier(scored=judged(1.0, 1.0)), under).reason == "quality_too_low"
    scored = judged(1.0, 1.0)
    assert scored.judgement is not None
    other = replace(scored, judgement=replace(scored.judgement, ruler_hash="another"))
    decision = decide(dossier(scored=other), under)
    assert (decision.verdict, decision.detail.partition(":")[0]) == ("accepted", "ruler_changed")
    assert [each.quantity for each in decision.comparisons if each.quantity == "quality"] == []
    assert decide(dossier(scored=replace(other, loss_mean=9.0)), under).reason == "loss_too_high"


def test_the_numbers_compared_and_their_origin_are_told():
    """Every comparison is there, and where the bound that did not hold comes from."""
    decision = decide(dossier(scored=judged(1.5, 4.0)), policy())
    told = [(each.quantity, each.value, each.operator, each.bound, each.held) for each in decision.comparisons]
    assert told == [("loss_mean", 1.5, "<=", 2.0, True), ("quality", 4.0, ">=", 5.0, False)]
    assert decision.detail == "standing threshold of model 1, round r1 of 100 rows"
    error = decide(dossier(scored=judged(error="no number")), policy())
    assert error.detail == "quality: no number"


def test_rewrites_are_held_to_their_parents_alone():
    """A rewrite far above the standing threshold that beats its parent is accepted."""
    asked = rewrite("hard", model="model", model_version="1", parent_loss=8.0)
    found = dossier(scored=judged(7.0, 1.0), placed=replace(placement(), parent_cosine=0.95))
    assert decide(replace(found, rewrite=asked), policy()).verdict == "accepted"
    assert decide(found, policy()).reason == "loss_too_high"


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10), st.floats(0, 10))
def test_what_is_beyond_no_threshold_is_held_by_none(loss, quality, loss_max, quality_min):
    """The gate is the complement of the rounds' strict comparison, on both axes."""
    bounds = THRESHOLDS.model_copy(update={"loss_max": loss_max, "quality_min": quality_min})
    found = judged(loss, quality)
    assert found.judgement is not None
    beyond = loss > loss_max or found.judgement.quality < quality_min
    assert (decide(dossier(scored=found), policy(bounds)).verdict == "rejected") is beyond


def test_a_replay_needs_nothing_but_dossier_and_policy():
    """What was admitted is decided again under the published text of a policy with thresholds."""
    under = Policy.model_validate_json(json.dumps(json.loads(policy().canonical_json())))
    replay = Replay(under, {})
    for loss in (1.0, 3.0):
        found = dossier(scored=judged(loss))
        replay.add(replace(found, decisions=(decide(found, Policy()),)))
    assert (replay.decided, replay.unchanged) == (2, 1)
    assert [str(after) for _, after in replay.moved] == ["rejected: loss_too_high"]
