"""The decision: each bound, its order, and what holds for every dossier and policy."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.decide import REQUESTS_MAX, decide
from headrace.core.dossiers import CheckOutcome, Dossier, DuplicateKind, Verdict
from headrace.core.policies import Policy
from headrace.core.reasons import MEANING, Reason
from tests.fakes.evidence import asked_for, dossier, outcome, placement, signals

NEAR, EXACT = DuplicateKind.NEAR, DuplicateKind.EXACT
PASSED, FAILED, NOT_MADE = CheckOutcome.PASSED, CheckOutcome.FAILED, CheckOutcome.NOT_MADE
ASKED = (asked_for("math", "schema"),)


def policy(**sections):
    return Policy.model_validate(sections)


MATH = policy(checks=[{"check": "math"}])
BOTH = policy(checks=[{"check": "math"}, {"check": "schema", "required": False}])
LONG = policy(signals={"truncated": True})
LOSS = policy(signals={"loss_max": 3.0, "loss_min": 0.5})
DENSITY = policy(diversity={"density_max": 0.9, "density_min": 0.1})


@pytest.mark.parametrize(
    ("evidence", "under", "verdict", "reason"),
    [
        (dossier(), Policy(), "accepted", "accepted"),
        (dossier(placed=placement(EXACT, 1.0)), Policy(), "rejected", "exact_duplicate"),
        (dossier(placed=placement(DuplicateKind.ALREADY_ADMITTED)), Policy(), "rejected", "already_admitted"),
        (dossier(placed=placement(DuplicateKind.REVISION_CONFLICT)), Policy(), "rejected", "revision_conflict"),
        (dossier(placed=placement(DuplicateKind.STALE_REVISION)), Policy(), "rejected", "stale_revision"),
        (dossier(placed=placement(DuplicateKind.RETRACTED)), Policy(), "rejected", "retracted"),
        (dossier(placed=placement(NEAR, 0.999)), Policy(), "rejected", "near_duplicate"),
        (dossier(placed=placement(NEAR, 0.9989)), Policy(), "accepted", "accepted"),
        (dossier(placed=placement(NEAR, 1.0)), policy(diversity={"near_duplicate_cosine": None}), "accepted", "accepted"),
        (dossier(placed=placement(NEAR)), Policy(), "rejected", "near_duplicate"),
        (dossier(scored=signals(3.0)), LOSS, "accepted", "accepted"),
        (dossier(scored=signals(3.01)), LOSS, "rejected", "loss_too_high"),
        (dossier(scored=signals(0.49)), LOSS, "rejected", "loss_too_low"),
        (dossier(scored=signals(0.5)), LOSS, "accepted", "accepted"),
        (dossier(scored=signals(truncated=True)), Policy(), "rejected", "truncated"),
        (dossier(scored=signals(truncated=True)), policy(signals={"truncated": True}), "accepted", "accepted"),
        (dossier(scored=signals(None, error="server said no")), Policy(), "parked", "signals_not_made"),
        (dossier(scored=signals(None, error="no response token", truncated=True)), Policy(), "rejected", "truncated"),
        (dossier(scored=signals(None, error="no response token", truncated=True)), LONG, "parked", "signals_not_made"),
        (dossier(scored=signals(None)), Policy(), "parked", "signals_not_made"),
        (dossier(scored=signals(math.nan)), LOSS, "parked", "signals_not_made"),
        (dossier(scored=signals(math.inf)), LOSS, "parked", "signals_not_made"),
        (dossier(placed=placement(density=0.91)), DENSITY, "rejected", "too_dense"),
        (dossier(placed=placement(density=0.09)), DENSITY, "rejected", "too_sparse"),
        (dossier(placed=placement(density=0.5)), DENSITY, "accepted", "accepted"),
        (dossier(placed=placement(density=None)), DENSITY, "accepted", "accepted"),
        (dossier(placed=placement(density=math.nan)), DENSITY, "parked", "not_placed"),
        (dataclasses.replace(dossier(), placement=None), Policy(), "parked", "not_placed"),
        (dataclasses.replace(dossier(), signals=()), Policy(), "parked", "signals_not_made"),
        (dossier(), MATH, "validate", "checks_requested"),
        (dossier(decisions=ASKED), MATH, "accepted", "accepted"),
        (dossier(decisions=ASKED, checks=(outcome("math", PASSED),)), MATH, "accepted", "accepted"),
        (dossier(decisions=ASKED, checks=(outcome("math", FAILED),)), MATH, "rejected", "check_failed"),
        (dossier(decisions=ASKED, checks=(outcome("math", NOT_MADE),)), MATH, "parked", "check_not_made"),
        (dossier(decisions=ASKED, checks=(outcome("schema", FAILED),)), BOTH, "accepted", "accepted"),
        (dossier(decisions=ASKED, checks=(outcome("schema", NOT_MADE),)), BOTH, "accepted", "accepted"),
        (dossier(placed=placement(EXACT, 1.0), scored=signals(9.0)), LOSS, "rejected", "exact_duplicate"),
        (dossier(scored=signals(9.0)), policy(signals={"loss_max": 1}, checks=[{"check": "math"}]), "rejected", "loss_too_high"),
    ],
)
def test_each_bound_decides_with_its_reason(evidence: Dossier, under: Policy, verdict: str, reason: str):
    """Each piece of evidence leads to its verdict and reason, cheapest evidence first."""
    decision = decide(evidence, under)
    assert (decision.verdict, decision.reason) == (verdict, reason)
    assert decision.policy_version == under.version


def test_decision_names_the_numbers_it_compared():
    """A rejection carries every comparison up to and including the one that did not hold."""
    decision = decide(dossier(scored=signals(3.5)), policy(signals={"loss_max": 3.0}))
    [comparison] = decision.comparisons
    assert (comparison.quantity, comparison.value, comparison.operator, comparison.bound) == ("loss_mean", 3.5, "<=", 3.0)
    assert not comparison.held


def test_failed_check_says_which_and_why():
    """The evidence of the failed check is in the decision; a failure counts before a check that was not made."""
    both = policy(checks=[{"check": "math"}, {"check": "schema"}])
    results = (outcome("math", NOT_MADE), outcome("schema", FAILED))
    decision = decide(dossier(decisions=ASKED, checks=results), both)
    assert (decision.reason, decision.detail) == ("check_failed", "schema: schema failed")


def test_only_missing_checks_are_asked_for():
    """A check that a policy adds while the sample is on its way is asked for alone."""
    decision = decide(dossier(decisions=(asked_for("math"),), checks=(outcome("math", PASSED),)), BOTH)
    assert decision.checks_requested == ("schema",)


def test_result_of_another_ruler_is_not_believed():
    """A failure measured under other settings does not reject: the check is asked for again."""
    old = dossier(decisions=(asked_for("math"),), checks=(outcome("math", FAILED, "old ruler"),))
    assert decide(old, MATH).reason == Reason.CHECK_FAILED
    assert decide(old, MATH, {"math": "new ruler"}).checks_requested == ("math",)
    assert decide(old, MATH, {"math": "old ruler"}).reason == Reason.CHECK_FAILED


def test_check_that_never_comes_from_this_ruler_is_parked():
    """Admission and validation of different releases do not send a sample back and forth for ever."""
    asked = (asked_for("math"),) * REQUESTS_MAX
    decision = decide(dossier(decisions=asked, checks=(outcome("math", FAILED, "old"),)), MATH, {"math": "new"})
    assert (decision.verdict, decision.reason) == (Verdict.PARKED, Reason.CHECK_NOT_MADE)
    assert "asked for 3 times" in decision.detail


def test_overdue_optional_check_does_not_hide_one_that_was_never_asked_for():
    """Giving up on one check does not admit a sample past another."""
    both = policy(checks=[{"check": "schema", "required": False}, {"check": "math"}])
    asked = (asked_for("schema"),) * REQUESTS_MAX
    decision = decide(dossier(decisions=asked, checks=(outcome("schema", FAILED, "old"),)), both, {"schema": "new"})
    assert decision.checks_requested == ("math",)


numbers = st.floats(-2, 5, allow_nan=False) | st.sampled_from([math.nan, math.inf, 0.0, 1.0])
losses = st.none() | st.floats(0, 5)
cosines = st.none() | st.floats(-1, 1)
results = st.lists(st.builds(outcome, st.sampled_from(["math", "schema", "exact"]), st.sampled_from(CheckOutcome)), max_size=3)
dossiers = st.builds(
    dossier,
    scored=st.builds(signals, st.none() | numbers, truncated=st.booleans(), error=st.sampled_from(["", "no"])),
    placed=st.builds(placement, st.sampled_from(DuplicateKind), cosines, st.none() | numbers, st.integers(0, 3)),
    checks=results.map(tuple),
    decisions=st.lists(st.sampled_from([asked_for("math"), asked_for("schema", "math")]), max_size=4).map(tuple),
)


@st.composite
def policies(draw):
    low, high = sorted(draw(st.tuples(st.floats(0, 5), st.floats(0, 5))))
    sparse, dense = sorted(draw(st.tuples(st.floats(-1, 1), st.floats(-1, 1))))
    either = st.booleans()
    return policy(
        signals={
            "loss_min": low if draw(either) else None,
            "loss_max": high if draw(either) else None,
            "truncated": draw(either),
        },
        diversity={
            "near_duplicate_cosine": draw(st.none() | st.floats(0.01, 1)),
            "density_min": sparse if draw(either) else None,
            "density_max": dense if draw(either) else None,
        },
        checks=[
            {"check": name, "required": draw(either)} for name in draw(st.sets(st.sampled_from(["math", "schema", "exact"])))
        ],
    )


@given(dossiers, policies())
def test_every_decision_is_explained(evidence: Dossier, under: Policy):
    """Whatever the evidence: a known reason, a verdict that fits it, checks exactly with VALIDATE, and the same again."""
    decision = decide(evidence, under)
    assert decision.reason in MEANING
    assert (decision.verdict is Verdict.ACCEPTED) == (decision.reason == Reason.ACCEPTED)
    assert (decision.verdict is Verdict.VALIDATE) == bool(decision.checks_requested)
    assert decide(evidence, under) == decision


@given(dossiers, policies())
def test_comparisons_replay(evidence: Dossier, under: Policy):
    """Each comparison can be made again from its own numbers, and only the last one may not have held."""
    operators = {"<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b}
    comparisons = decide(evidence, under).comparisons
    assert all(c.held == operators[c.operator](c.value, c.bound) for c in comparisons)
    assert all(c.held for c in comparisons[:-1])


@given(dossiers, policies(), st.floats(0, 2))
def test_tightening_a_bound_never_admits_more(evidence: Dossier, under: Policy, step: float):
    """What a policy turns away, a stricter one does not accept."""

    def or_else(bound: float | None, default: float) -> float:
        return default if bound is None else bound

    strict, bounds = under.model_dump(), under.diversity
    strict["signals"]["loss_max"] = max(or_else(under.signals.loss_max, 5) - step, or_else(under.signals.loss_min, 0))
    strict["diversity"]["density_min"] = min(or_else(bounds.density_min, -1) + step, or_else(bounds.density_max, 1))
    strict["diversity"]["near_duplicate_cosine"] = or_else(bounds.near_duplicate_cosine, 1) * 0.9
    strict["signals"]["truncated"] = False
    for request in strict["checks"]:
        request["required"] = True
    if decide(evidence, policy(**strict)).verdict is Verdict.ACCEPTED:
        assert decide(evidence, under).verdict is Verdict.ACCEPTED
