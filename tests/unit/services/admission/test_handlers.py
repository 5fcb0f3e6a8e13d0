"""Admission's handler: where each verdict goes."""

import pytest

from headrace import checks
from headrace.core.dossiers import AcceptedSample, CheckOutcome, DuplicateKind, Verdict
from headrace.core.events import Emit, Reject, Retry
from headrace.core.policies import Policy
from headrace.core.topics import DECIDED, REFINEMENT_REQUESTED, RETRACTION_REQUESTED, ROUND_PROGRESSED, VALIDATION_REQUESTED
from services.admission.handlers import Admission, decide_samples
from tests.fakes.evidence import DATASET, asked_for, dossier, event, outcome, placement, signals
from tests.fakes.rewrites import evidence, rewrite


def admission(policy: Policy | None) -> Admission:
    return Admission({DATASET: policy}.get, checks.rulers)


MATH = Policy.model_validate({"checks": [{"check": "math"}]})
RULER = checks.rulers(MATH)["math"]


async def one(evidence, policy):
    [result] = await decide_samples([event(evidence)], admission(policy))
    return result


async def test_accepted_sample_goes_to_the_decided_and_to_the_datasets_own_topic():
    """Trainers and datasets see the same dossier, decision included, in one transaction."""
    result = await one(dossier(), Policy())
    decided, accepted = result.sends
    assert (decided.topic, accepted.topic.name) == (DECIDED, f"headrace.accepted.{DATASET}")
    assert accepted.body == AcceptedSample(decided.body)
    assert accepted.topic.key_of(accepted.body) == "one"
    assert decided.body.decisions[-1].verdict is Verdict.ACCEPTED
    assert decided.body.decisions[-1].policy_version == Policy().version


async def test_rejected_sample_is_decided_and_nothing_else():
    """A rejection keeps its whole dossier and never reaches trainers."""
    result = await one(dossier(placed=placement(DuplicateKind.EXACT, 1.0)), Policy())
    [decided] = result.sends
    assert decided.topic is DECIDED
    assert decided.body.decisions[-1].reason == "exact_duplicate"


async def test_checks_are_asked_for_and_then_decided_upon():
    """First the request, then, with the results in the dossier, the decision."""
    first = await one(dossier(), MATH)
    [asked] = first.sends
    assert asked.topic is VALIDATION_REQUESTED
    assert asked.body.decisions[-1].checks_requested == ("math",)
    checked = dossier(decisions=asked.body.decisions, checks=(outcome("math", CheckOutcome.FAILED, RULER),))
    second = await one(checked, MATH)
    assert [decision.reason for decision in second.sends[0].body.decisions] == ["checks_requested", "check_failed"]


async def test_results_of_another_policy_are_asked_for_again():
    """The policy changed while the sample was being checked."""
    stale = dossier(decisions=(asked_for("math"),), checks=(outcome("math", CheckOutcome.FAILED, "of before"),))
    result = await one(stale, MATH)
    assert result.sends[0].topic is VALIDATION_REQUESTED


@pytest.mark.parametrize(
    ("evidence", "error_class", "error"),
    [
        (dossier(scored=signals(None, error="no tokens")), "signals_not_made", "signals could not be made: no tokens"),
        (
            dossier(decisions=(asked_for("math"),), checks=(outcome("math", CheckOutcome.NOT_MADE, RULER),)),
            "check_not_made",
            "a required check could not be made: math: math not_made",
        ),
    ],
)
async def test_sample_that_cannot_be_decided_is_parked(evidence, error_class, error):
    """Evidence that could not be made leads to the dead letters under its reason, never to a rejection."""
    result = await one(evidence, MATH)
    assert isinstance(result, Reject)
    assert result.parked
    assert result.error_class == error_class
    assert error in result.error


async def test_dataset_without_policy_waits_and_says_what_to_do():
    """It may be about to get one."""
    result = await one(dossier(), None)
    assert isinstance(result, Retry)
    assert "headrace dataset create arithmetic" in result.error


async def test_results_come_in_order_and_the_same_again():
    """A redelivered batch is decided the same way; the events of a batch do not mix."""
    batch = [event(dossier(sample_id="a")), event(dossier(scored=signals(9.0), sample_id="b")), event(dossier(sample_id="c"))]
    policy = Policy.model_validate({"signals": {"loss_max": 5}})
    results = await decide_samples(batch, admission(policy))
    emitted = [result for result in results if isinstance(result, Emit)]
    assert [send.topic.key_of(send.body) for result in emitted for send in result.sends[1:]] == ["a", "c"]
    assert [len(result.sends) for result in emitted] == [2, 1, 2]
    assert await decide_samples(batch, admission(policy)) == results


async def test_an_accepted_rewrite_tells_its_round():
    """In the same transaction as the acceptance."""
    result = await one(evidence(rewrite()), Policy())
    assert [send.topic.name for send in result.sends] == [DECIDED.name, f"headrace.accepted.{DATASET}", ROUND_PROGRESSED.name]
    assert result.sends[2].body.fact.ending == "accepted"


async def test_a_rejected_rewrite_is_tried_again_and_then_ends():
    """The second attempt is the last: its parent leaves, where the policy does not keep the unmended."""
    first = await one(evidence(rewrite(), loss=9.0), Policy())
    decided, again = first.sends
    assert (decided.topic, again.topic) == (DECIDED, REFINEMENT_REQUESTED)
    assert again.topic.key_of(again.body) == f"{DATASET}/train"
    dropping = Policy.model_validate({"rounds": {"unmended": "drop"}})
    last = await one(evidence(again.body.rewrite, loss=9.0), dropping)
    assert [send.topic for send in last.sends] == [DECIDED, ROUND_PROGRESSED, RETRACTION_REQUESTED]
    assert last.sends[2].body.sample_id == "train"


async def test_a_rewrite_that_waits_for_checks_has_not_ended():
    """Its round is told once it is decided for good, and never of one that parks."""
    waiting = await one(evidence(rewrite()), MATH)
    assert [send.topic for send in waiting.sends] == [VALIDATION_REQUESTED]
    assert isinstance(await one(evidence(rewrite(parent_loss=None)), Policy()), Reject)
