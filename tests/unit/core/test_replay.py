"""Replay: what another policy would have decided."""

import dataclasses

from hypothesis import given

from headrace.core.decide import decide
from headrace.core.dossiers import CheckOutcome, Verdict
from headrace.core.policies import Policy
from headrace.core.replay import Ending, Replay, accepted_in
from tests.fakes.evidence import asked_for, dossier, outcome, signals
from tests.unit.core.test_decide import dossiers, policies

LOOSE = Policy.model_validate({"signals": {"loss_max": 4.0}})
STRICT = Policy.model_validate({"signals": {"loss_max": 2.0}})


def decided(evidence, policy):
    return dataclasses.replace(evidence, decisions=(*evidence.decisions, decide(evidence, policy)))


def replayed(policy, *stored, rulers=None):
    tally = Replay(policy, rulers or {})
    for each in stored:
        tally.add(each)
    return tally


def test_stricter_bound_shows_what_it_would_turn_away():
    """Counts by ending and the first ids are what a person needs to judge a threshold."""
    stored = [decided(dossier(scored=signals(loss), sample_id=f"s{loss}"), LOOSE) for loss in (1.0, 2.5, 3.0, 3.5, 3.9, 4.5)]
    tally = replayed(STRICT, *stored)
    assert (tally.decided, tally.unchanged) == (6, 2)
    [((before, after), moved)] = tally.moved.items()
    assert (str(before), str(after)) == ("accepted", "rejected: loss_too_high")
    assert (moved.count, moved.examples) == (4, ["s2.5", "s3.0", "s3.5"])
    assert (accepted_in(tally.before), accepted_in(tally.after)) == (5, 1)


def test_sample_that_needs_a_check_never_run_says_so():
    """A check is not made up: the sample would wait for it."""
    tally = replayed(Policy.model_validate({"checks": [{"check": "math"}]}), decided(dossier(), LOOSE))
    assert tally.checks_needed == {"math": 1}
    assert list(tally.moved) == [(Ending("accepted", "accepted"), Ending("validate", "checks_requested"))]


def test_result_under_other_settings_is_a_check_never_run():
    """A changed check is asked for again instead of trusting the old outcome."""
    math = Policy.model_validate({"checks": [{"check": "math"}]})
    stored = decided(dossier(decisions=(asked_for("math"),), checks=(outcome("math", CheckOutcome.PASSED, "old"),)), math)
    assert replayed(math, stored, rulers={"math": "old"}).unchanged == 1
    assert replayed(math, stored, rulers={"math": "new"}).checks_needed == {"math": 1}


@given(dossiers, policies())
def test_same_policy_changes_nothing(evidence, policy):
    """Deciding a finished dataset again under its own policy is the identity."""
    stored = decided(evidence, policy)
    if stored.decisions[-1].verdict in {Verdict.ACCEPTED, Verdict.REJECTED}:
        assert replayed(policy, stored).unchanged == 1
