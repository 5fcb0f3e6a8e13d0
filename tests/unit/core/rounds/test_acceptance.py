"""A rewrite must beat its parent on its axis and keep its meaning; which of the policy's bounds this takes the place of."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import checks
from headrace.core.decide import decide
from headrace.core.dossiers import CURRENT, CheckOutcome, DuplicateKind, EndpointJudgement, Signals
from headrace.core.policies import Policy
from headrace.core.replay import Replay
from headrace.core.rounds.acceptance import CHECKED, weighed
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.samples import Reference
from tests.fakes.evidence import asked_for, outcome, placement
from tests.fakes.rewrites import MODEL, evidence, judged, rewrite

RULES = RoundPolicy()
COMPAT = RoundPolicy(mode="middo_compat")
ASKS = RoundPolicy(judge_rewrites="endpoint")


def policy(**sections):
    return Policy.model_validate(sections)


def end(dossier, under=None):
    decision = decide(dossier, under or Policy())
    return str(decision.verdict), str(decision.reason)


@pytest.mark.parametrize("axis", ["hard", "low_quality", "sparse"])
def test_a_rewrite_that_beats_its_parent_is_accepted(axis):
    """With every number that was compared in the decision."""
    decision = decide(evidence(rewrite(axis)), Policy())
    assert decision.verdict == "accepted"
    compared = {(each.quantity, each.value, each.operator, each.bound) for each in decision.comparisons}
    assert (
        compared
        == {
            "hard": {("rewrite_loss_mean", 3.0, "<", 4.0), ("rewrite_meaning_cosine", 0.9, ">=", 0.8)},
            "low_quality": {("rewrite_quality", 6.0, ">", 4.0), ("rewrite_meaning_cosine", 0.9, ">=", 0.8)},
            "sparse": {("rewrite_parent_cosine", 0.9, ">", 0.6)},
        }[axis]
    )


@pytest.mark.parametrize(
    ("axis", "numbers", "expected"),
    [
        ("hard", {"loss": 4.0}, ("rejected", "not_better")),
        ("hard", {"loss": 4.1}, ("rejected", "not_better")),
        ("hard", {"loss": math.nextafter(4.0, 0.0)}, ("accepted", "accepted")),
        ("low_quality", {"quality": 4.0}, ("rejected", "not_better")),
        ("low_quality", {"quality": None}, ("parked", "signals_not_made")),
        ("sparse", {"cosine": 0.6}, ("rejected", "not_better")),
        ("sparse", {"cosine": None}, ("parked", "not_placed")),
        ("sparse", {"cosine": 0.7}, ("accepted", "accepted")),
        ("hard", {"cosine": 0.79}, ("rejected", "meaning_lost")),
        ("low_quality", {"cosine": 0.79}, ("rejected", "meaning_lost")),
        ("hard", {"cosine": 0.8}, ("accepted", "accepted")),
        ("hard", {"cosine": None}, ("parked", "not_placed")),
        ("hard", {"cosine": math.nan}, ("parked", "not_placed")),
        ("hard", {"loss": None}, ("parked", "signals_not_made")),
        ("hard", {"loss": math.nan}, ("parked", "signals_not_made")),
    ],
)
def test_equal_is_not_better_and_missing_is_not_worse(axis, numbers, expected):
    """Strictly better, or turned away; a number that was not made is no verdict on the sample."""
    assert end(evidence(rewrite(axis), **numbers)) == expected


@pytest.mark.parametrize(
    ("axis", "changes"),
    [
        ("hard", {"parent_loss": None}), ("low_quality", {"parent_quality": None}), ("sparse", {"parent_density": None}),
        ("hard", {"parent_loss": math.nan}), ("hard", {"model_version": "2"}), ("sparse", {"model": "another"}),
        ("witty", {}),
    ],
)  # fmt: skip
def test_a_parent_that_was_not_measured_alike_parks_its_rewrite(axis, changes):
    """Another model version in mid-round, a number that is missing, an axis of a newer release."""
    assert end(evidence(rewrite(axis, **changes))) == ("parked", "parent_not_measured")


def test_a_judgement_that_was_not_made_parks():
    """Even where some of its scores are there."""
    half = replace(judged(9.0), response_clarity=None)
    measured = Signals(CURRENT, MODEL, "1", 3.0, 0.1, 10, 5, judgement=half)
    assert end(replace(evidence(rewrite("low_quality")), signals=(measured,))) == ("parked", "signals_not_made")


@pytest.mark.parametrize(
    ("axis", "bounds", "expected"),
    [
        ("hard", {"signals": {"loss_max": 1.0}}, "accepted"),
        ("low_quality", {"signals": {"loss_max": 1.0}}, "loss_too_high"),
        ("sparse", {"signals": {"loss_max": 1.0}}, "loss_too_high"),
        ("hard", {"signals": {"loss_min": 3.5}}, "loss_too_low"),
        ("hard", {"diversity": {"density_max": 0.1}}, "accepted"),
        ("low_quality", {"diversity": {"density_min": 0.9}}, "accepted"),
        ("sparse", {"diversity": {"density_max": 0.1}}, "too_dense"),
        ("sparse", {"diversity": {"density_min": 0.9}}, "accepted"),
    ],
)
def test_the_bounds_that_the_gate_takes_the_place_of_do_not_count(axis, bounds, expected):
    """The others do."""
    dossier = evidence(rewrite(axis))
    placed = replace(placement(density=0.5), parent_cosine=0.9)
    assert end(replace(dossier, placement=placed), policy(**bounds))[1] == expected


def test_the_ordinary_way_stays_in_front_and_behind():
    """A duplicate is a duplicate however good it is; checks are asked for only once the parent is beaten, and decide as ever."""
    math_policy = policy(checks=[{"check": "math"}])
    good = evidence(rewrite())
    near = replace(good, placement=placement(DuplicateKind.EXACT, 1.0))
    assert end(near)[1] == "exact_duplicate"
    assert end(good, math_policy)[1] == "checks_requested"
    assert end(evidence(rewrite(), loss=9.0), math_policy)[1] == "not_better"
    failed = replace(good, decisions=(asked_for("math"),), checks=(outcome("math", CheckOutcome.FAILED),))
    assert end(failed, math_policy)[1] == "check_failed"


@pytest.mark.parametrize(
    "dossier", [evidence(rewrite(), loss=9.0), evidence(rewrite(parent_loss=None)), evidence(rewrite("sparse"), cosine=0)]
)
def test_the_authors_have_no_gate(dossier):
    """In their mode the numbers are recorded where they are there, and nothing follows from them."""
    assert end(dossier, Policy(rounds=COMPAT)) == ("accepted", "accepted")
    assert weighed(dossier, COMPAT).comparisons == weighed(dossier, RULES).comparisons
    assert end(evidence(rewrite("witty")), Policy(rounds=COMPAT)) == ("parked", "parent_not_measured")


@pytest.mark.parametrize("verifier", ["math", "exact", "schema"])
def test_a_rewrites_answer_is_checked_without_being_asked(verifier):
    """Where its reference names a verifier; a low loss says that an answer is easy, not that it is right."""
    good = evidence(rewrite())
    good = replace(good, sample=replace(good.sample, reference=Reference("42", verifier, json_schema="{}")))
    asked = decide(good, Policy())
    assert (asked.reason, asked.checks_requested) == ("checks_requested", (verifier,))
    for found, reason in (("failed", "check_failed"), ("passed", "accepted"), ("not_made", "check_not_made")):
        checked = replace(good, decisions=(asked_for(verifier),), checks=(outcome(verifier, CheckOutcome(found)),))
        assert end(checked)[1] == reason
        assert end(checked, policy(checks=[{"check": verifier, "required": False}]))[1] == "accepted"
    assert end(good, Policy(rounds=COMPAT))[1] == "accepted"
    assert end(replace(good, rewrite=None))[1] == "accepted"


@pytest.mark.parametrize("verifier", ["", "unit_tests", "rubric"])
def test_what_no_check_can_verify_is_not_asked_for(verifier):
    """Every check that is made without being asked is one that there is."""
    assert set(checks.names()) >= CHECKED
    good = evidence(rewrite())
    assert end(replace(good, sample=replace(good.sample, reference=Reference("42", verifier))))[1] == "accepted"


NUMBERS = st.none() | st.floats(-2, 12)


@given(st.sampled_from(["hard", "low_quality", "sparse"]), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_accepted_is_better_and_near_for_all_numbers(axis, own, parents, cosine, bound):
    """The gate agrees with the rule written down once more; what lacks a number is parked, and nothing else is."""
    numbers = {"hard": {"loss": own}, "low_quality": {"quality": own}, "sparse": {}}[axis]
    parent_number = {"hard": "parent_loss", "low_quality": "parent_quality", "sparse": "parent_density"}[axis]
    rules = RoundPolicy() if bound is None else RoundPolicy(meaning_cosine_min=max(-1.0, min(1.0, bound)))
    found = weighed(evidence(rewrite(axis, **{parent_number: parents}), cosine=cosine, **numbers), rules)
    own = {"hard": own, "low_quality": None if own is None else judged(own).quality, "sparse": cosine}[axis]
    if own is None or parents is None:
        assert found.reason in {"parent_not_measured", "signals_not_made", "not_placed"}
    elif not (own < parents if axis == "hard" else own > parents):
        assert found.reason == "not_better"
    elif axis != "sparse" and cosine is None:
        assert found.reason == "not_placed"
    elif axis != "sparse" and cosine < rules.meaning_cosine_min:
        assert found.reason == "meaning_lost"
    else:
        assert found.reason is None


def test_replay_decides_rewrites_again():
    """Under a policy that asks for more nearness a rewrite that was accepted would be turned away."""
    dossier = evidence(rewrite())
    decided = replace(dossier, decisions=(decide(dossier, Policy()),))
    strict = Replay(policy(rounds={"meaning_cosine_min": 0.95}), {})
    strict.add(decided)
    [(before, after)] = strict.moved
    assert (before.reason, after.reason) == ("accepted", "meaning_lost")


def test_a_parent_that_another_ruler_judged_is_no_measure():
    """After a change of the judge's prompts numbers are not compared: parked with the reason. Unknown rulers are believed."""
    for told, verdict in (("ruler", "accepted"), ("", "accepted"), ("another", "parked")):
        asked = rewrite("low_quality", ruler_hash=told)
        decision = decide(evidence(asked), Policy())
        assert decision.verdict == verdict
        assert (decision.reason == "ruler_changed") == (verdict == "parked")
    assert end(evidence(rewrite("hard", ruler_hash="another")))[0] == "accepted"
    assert decide(evidence(rewrite("low_quality", ruler_hash="another")), Policy(rounds=COMPAT)).verdict == "accepted"


def test_the_gate_is_that_of_the_round():
    """A policy that is applied in mid-round, or another one in a replay, is for the next one; without a gate it is asked."""
    strict, lenient = RoundPolicy(meaning_cosine_min=0.95), RoundPolicy(meaning_cosine_min=0.5)
    for rules, expected in ((strict, "meaning_lost"), (lenient, "accepted"), (COMPAT, "accepted")):
        for live in (strict, lenient, COMPAT):
            assert end(evidence(rewrite(gate=rules.gate())), Policy(rounds=live))[1] == expected
        assert end(evidence(rewrite()), Policy(rounds=rules))[1] == expected


def second(quality, parent_quality=6.0):
    return EndpointJudgement(parent_quality, quality, "judge-1", "judge.v1")


@pytest.mark.parametrize("axis", ["hard", "low_quality", "sparse"])
@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        (second(6.0), ("accepted", "accepted")),
        (second(math.nextafter(6.0, 0.0)), ("rejected", "judged_worse")),
        (second(None), ("parked", "signals_not_made")),
        (second(math.nan), ("parked", "signals_not_made")),
        (None, ("parked", "parent_not_measured")),
    ],
)
def test_a_rewrite_must_not_be_judged_worse_where_the_round_asks(axis, judged, expected):
    """On every axis, behind what it has to beat; equal is not worse; nothing follows unasked, or in the authors' mode."""
    made = evidence(rewrite(axis, judged=judged, gate=ASKS.gate()))
    decision = decide(made, Policy())
    assert (decision.verdict, decision.reason) == expected
    if decision.reason in {"accepted", "judged_worse"}:
        last = decision.comparisons[-1]
        assert (last.quantity, last.value, last.operator, last.bound) == ("rewrite_judged_quality", judged.quality, ">=", 6.0)
    unasked = evidence(rewrite(axis, judged=judged, gate=RULES.gate()))
    assert end(unasked, Policy(rounds=ASKS)) == ("accepted", "accepted")
    compat = RoundPolicy(mode="middo_compat", judge_rewrites="endpoint")
    assert end(evidence(rewrite(axis, judged=judged, gate=compat.gate()))) == ("accepted", "accepted")


def test_what_does_not_beat_its_parent_is_not_better_however_it_is_judged():
    """The model's own numbers come first."""
    asked = rewrite(judged=second(1.0), gate=ASKS.gate())
    assert end(evidence(asked, loss=9.0))[1] == "not_better"
    assert end(evidence(asked, cosine=0.1))[1] == "meaning_lost"
