"""Validation's handler: the checks asked for, under the policy that stands, and nothing made up."""

import itertools
from dataclasses import replace

import pytest

from headrace import checks
from headrace.core.dossiers import CheckOutcome, Cost
from headrace.core.events import Emit, Retry, Stop, no_policy
from headrace.core.policies import Policy
from headrace.core.samples import Reference
from headrace.core.topics import VALIDATED
from services.validation.handlers import Validation, run_requested_checks
from tests.fakes.evidence import DATASET, asked_for, dossier, event, outcome
from tests.fakes.rewrites import rewrite
from tests.fakes.workers import FakeWorkers

PASSED, FAILED, NOT_MADE = CheckOutcome.PASSED, CheckOutcome.FAILED, CheckOutcome.NOT_MADE
POLICY = Policy.model_validate({"checks": [{"check": "math"}, {"check": "constraints", "characters_max": 40}]})


class Book:
    """What a handler is given, and what it told."""

    def __init__(self, policy: Policy | None = POLICY) -> None:
        self.workers = FakeWorkers()
        self.took: list[str] = []
        ticks = itertools.count()
        self.validation = Validation(
            {DATASET: policy}.get, self.workers, 3, 0.1, lambda check, _: self.took.append(check), lambda: float(next(ticks))
        )

    async def run(self, *events):
        return await run_requested_checks(events, self.validation)


def asked(response: str = "It is 42.", *names: str, attempt: int = 1, **kwargs):
    evidence = dossier(
        response, reference=Reference("42", "math"), decisions=(asked_for(*names or ("math", "constraints")),), **kwargs
    )
    return event(evidence, attempt)


def checked(result):
    [send] = result.sends
    assert send.topic is VALIDATED
    return send.body


async def test_results_and_cost_are_added():
    """One event out for one in, with a result for each check under the policy's ruler, and what it cost."""
    book = Book()
    [result] = await book.run(asked())
    body = checked(result)
    assert {r.check: r.outcome for r in body.checks} == {"math": PASSED, "constraints": PASSED}
    assert {r.check: r.ruler_hash for r in body.checks} == checks.rulers(POLICY)
    [cost] = body.costs
    assert (cost.stage, cost.prompt_tokens) == ("validation", None)
    assert cost.seconds > 0
    assert sorted(book.took) == ["constraints", "math"]


async def test_failed_check_is_a_result():
    """It is admission that decides what a failure means."""
    [result] = await Book().run(asked("It is 41, and here is a long explanation of why that must be so."))
    assert {r.outcome for r in checked(result).checks} == {FAILED}


async def test_only_what_was_asked_for_is_run():
    """Checks of the policy that admission did not ask for, and asked ones that the policy has dropped, are left alone."""
    [result] = await Book().run(asked("It is 42.", "math", "schema"))
    assert [r.check for r in checked(result).checks] == ["math"]


async def test_check_that_does_not_apply_has_no_result():
    """A sample without a reference answer is no failure of mathematics."""
    [result] = await Book().run(event(dossier(decisions=(asked_for("math"),))))
    assert checked(result).checks == ()


async def test_new_result_replaces_the_old_one():
    """Checked again after the policy changed, a sample has one result a check; others stay, costs add up."""
    before = (outcome("math", FAILED, "old"), outcome("exact", PASSED))
    [result] = await Book().run(asked("It is 42.", "math", checks=before))
    body = checked(result)
    assert [(r.check, r.outcome) for r in body.checks] == [("exact", PASSED), ("math", PASSED)]
    [again] = await Book().run(event(body))
    assert [cost.stage for cost in checked(again).costs] == ["validation", "validation"]
    assert isinstance(checked(again).costs[0], Cost)


async def test_runaway_check_is_not_made_at_once():
    """A limit reached would be reached again: no retry."""
    [result] = await Book().run(asked("RUNAWAY 42", "math"))
    [found] = checked(result).checks
    assert found.outcome is NOT_MADE
    assert "processor time" in found.evidence


async def test_lost_worker_is_retried_and_then_not_made():
    """The infrastructure's trouble is tried again, and never becomes a failure of the sample."""
    for attempt in (1, 2):
        [result] = await Book().run(asked("LOST 42", "math", attempt=attempt))
        assert result == Retry("check_lost", "the worker ended with status -9")
    [result] = await Book().run(asked("LOST 42", "math", attempt=3))
    [found] = checked(result).checks
    assert (found.outcome, found.evidence) == (NOT_MADE, "could not be made in 3 attempts: the worker ended with status -9")
    assert found.ruler_hash == checks.rulers(POLICY)["math"]


async def test_one_bad_sample_does_not_harm_its_batch():
    """The others of its batch end as if it were not there, in their order."""
    batch = [asked("It is 42.", sample_id="a"), asked("LOST 42", "math", sample_id="b"), asked("It is 41.", sample_id="c")]
    first, second, third = await Book().run(*batch)
    assert isinstance(second, Retry)
    assert [checked(first).sample.id, checked(third).sample.id] == ["a", "c"]


async def test_no_workers_at_all_stops_the_service():
    """Nothing is known about any sample: the consumer keeps its place."""
    with pytest.raises(Stop, match="no worker"):
        await Book().run(asked(), asked("GONE 42", "math"))


async def test_dataset_without_policy_waits():
    """There is no ruler to measure with."""
    [result] = await Book(None).run(asked())
    assert result == no_policy(DATASET)


async def test_check_of_a_newer_release_waits_for_it():
    """During a rolling update another instance may know the check; in the end it was not made."""
    newer = Policy.model_validate({"checks": [{"check": "of_tomorrow"}]})
    [result] = await Book(newer).run(asked("It is 42.", "of_tomorrow"))
    assert isinstance(result, Retry)
    [result] = await Book(newer).run(asked("It is 42.", "of_tomorrow", attempt=3))
    [found] = checked(result).checks
    assert found.outcome is NOT_MADE


async def test_running_twice_gives_the_same_results():
    """A redelivered record is checked again to the same end."""
    assert isinstance((await Book().run(asked()))[0], Emit)
    assert await Book().run(asked()) == await Book().run(asked())


async def test_the_check_of_a_rewrites_reference_is_made_though_no_policy_lists_it():
    """With its default settings; of other samples only what the policy lists."""
    book = Book(Policy())
    given = asked("It is 41.", "math")
    results = await book.run(replace(given, body=replace(given.body, rewrite=rewrite())), given)
    found = [checked(result).checks for result in results]
    assert [[(each.check, each.outcome) for each in one] for one in found] == [[("math", FAILED)], []]
