"""What follows from the decision on a rewrite."""

from dataclasses import replace

import pytest

from headrace.core.budgets import Spend
from headrace.core.dossiers import Comparison, Cost, Decision, EndpointJudgement, Verdict
from headrace.core.policies import Policy
from headrace.core.rounds.attempts import FAILURE_CHARS_MAX, Consequences, consequences_of, ended, not_begun
from headrace.core.rounds.facts import Ending, RewriteEnded
from tests.fakes.evidence import dossier
from tests.fakes.rewrites import evidence, rewrite

KEEP = Policy()
DROP = Policy.model_validate({"rounds": {"unmended": "drop"}})
PAID = (Cost("refinement", 1.0, 100, 20, 0.5, "EUR"), Cost("scoring", 9.0, 900, 0))
BEFORE = (Cost("refinement", 2.0, 200, 30, 0.25, "EUR"),)
ROLES = (Spend(250, 0.5, "answerer"), Spend(100, 0.25, "refiner"))
BROKEN = (Comparison("rewrite_loss_mean", 4.25, "<", 4.0, held=False), Comparison("density", 0.5, "<=", 0.9, held=True))


def decided(verdict, reason, asked=None, *, comparisons=BROKEN, detail="", costs=PAID):
    decision = Decision(verdict, reason, "policy", comparisons, detail)
    return replace(evidence(asked or rewrite()), decisions=(decision,), costs=costs)


def follows(*args, under=KEEP, **kwargs):
    return consequences_of(decided(*args, **kwargs), under, "headrace/test")


def test_an_accepted_rewrite_ends_with_the_cost_of_all_its_attempts():
    """Costs of other stages are not refinement's; what nobody knows is not a zero."""
    end = follows(Verdict.ACCEPTED, "accepted", rewrite(attempt=2, spent=BEFORE, roles_spent=ROLES))
    assert (end.again, end.retraction) == (None, None)
    assert (end.ended.dataset_id, end.ended.round_id) == ("arithmetic", "round-1")
    fact = end.ended.fact
    assert (fact.axis, fact.parent_id, fact.ending, fact.attempts) == ("hard", "train", Ending.ACCEPTED, 2)
    assert (fact.tokens, fact.money, fact.roles_spent) == (350, 0.75, ROLES)
    unknown = follows(Verdict.ACCEPTED, "accepted", rewrite(spent=(Cost("refinement", 1.0),))).ended.fact
    assert (unknown.tokens, unknown.money) == (None, None)


def test_a_rejected_rewrite_is_tried_again_and_told_why():
    """The next attempt knows the numbers that did not hold, what was spent, and what its predecessor left of the allowance."""
    asked = rewrite(
        tokens_allowed=777, money_allowed=0.5, spent=BEFORE, roles_allowed=(Spend(7, None, "judge"),), roles_spent=ROLES
    )
    end = follows(Verdict.REJECTED, "not_better", asked, detail="so it is")
    assert (end.ended, end.retraction) == (None, None)
    again = end.again.rewrite
    assert again.attempt == 2
    assert again.previous_failure == "not_better; rewrite_loss_mean is 4.25, and should be < 4; so it is"
    assert (again.spent, again.tokens_allowed, again.money_allowed) == ((*BEFORE, PAID[0]), 777, 0.5)
    assert replace(again, attempt=1, previous_failure="", spent=BEFORE) == asked


def test_a_rewrite_that_was_sent_back_says_so_at_its_end_whatever_attempt_ends_it():
    """It is tried again and is the one that came back still; its round may have counted it as lost."""
    back = rewrite(sent_back=True)
    again = follows(Verdict.REJECTED, "not_better", back).again.rewrite
    assert again.sent_back
    ends = [
        follows(Verdict.ACCEPTED, "accepted", again).ended,
        ended(back, Ending.NOT_MADE, "refused", ()),
        not_begun(back, (Spend(10, None),), ""),
        ended(rewrite(), Ending.NOT_MADE, "refused", ()),
    ]
    assert [isinstance(end.fact, RewriteEnded) and end.fact.sent_back for end in ends] == [True, True, True, False]


def test_the_next_attempt_knows_how_its_parent_was_judged():
    """And nothing of how the attempt before was: it is another text."""
    asked = rewrite(judged=EndpointJudgement(6.0, 5.0, "judge-1", "judge.v1"))
    broken = (Comparison("rewrite_judged_quality", 5.0, ">=", 6.0, held=False),)
    again = follows(Verdict.REJECTED, "judged_worse", asked, comparisons=broken).again.rewrite
    assert again.judged == EndpointJudgement(6.0, None, "judge-1", "judge.v1")
    assert again.previous_failure == "judged_worse; rewrite_judged_quality is 5, and should be >= 6"


def test_what_is_told_stays_short():
    """A check's evidence may be long."""
    again = follows(Verdict.REJECTED, "check_failed", detail="x" * 10_000).again.rewrite
    assert len(again.previous_failure) == FAILURE_CHARS_MAX


@pytest.mark.parametrize("axis", ["hard", "low_quality", "sparse"])
def test_after_the_last_attempt_the_parent_stays_or_leaves_by_policy(axis):
    """A sparse parent was never to be replaced, so it never leaves."""
    last = rewrite(axis, attempt=2)
    kept, dropped = (follows(Verdict.REJECTED, "not_better", last, under=policy) for policy in (KEEP, DROP))
    assert kept.ended == dropped.ended
    assert (kept.ended.fact.ending, kept.ended.fact.reason, kept.again) == (Ending.REJECTED, "not_better", None)
    assert kept.retraction is None
    if axis == "sparse":
        assert dropped.retraction is None
    else:
        retraction = dropped.retraction
        assert (retraction.sample_id, retraction.revision, retraction.reason) == ("train", 0, "unmended")
        assert (retraction.request_id, retraction.requested_by) == (f"round-1/{axis}/train", "headrace/test")


@pytest.mark.parametrize("reason", ["stale_revision", "retracted", "revision_conflict"])
def test_a_rewrite_that_was_overtaken_is_not_tried_again(reason):
    """And its parent is not taken back for it: somebody has decided about it already."""
    end = follows(Verdict.REJECTED, reason, under=DROP)
    assert (end.again, end.retraction, end.ended.fact.ending) == (None, None, Ending.REJECTED)


@pytest.mark.parametrize(
    "nothing",
    [
        decided(Verdict.REJECTED, "already_admitted"), decided(Verdict.VALIDATE, "checks_requested"), dossier(),
        evidence(rewrite()), replace(decided(Verdict.ACCEPTED, "accepted"), rewrite=None),
    ],
)  # fmt: skip
def test_nothing_follows_from_what_ends_nothing(nothing):
    """A repetition of what was admitted, a request for checks, a sample that is no rewrite."""
    assert consequences_of(nothing, DROP, "headrace/test") == Consequences()


def test_a_parent_leaves_by_the_rules_of_its_round():
    """Not by those of a policy that was applied meanwhile."""
    for begun, live in ((KEEP, DROP), (DROP, KEEP)):
        last = rewrite(attempt=2, gate=begun.rounds.gate())
        left = follows(Verdict.REJECTED, "not_better", last, under=live).retraction
        assert (left is not None) == (begun is DROP)
