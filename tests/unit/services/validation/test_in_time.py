"""A batch of validation's ends in its time, whatever its checks take, and what has not ended by then harms nobody."""

import asyncio
import json
import os
from dataclasses import replace

import pytest
from pydantic import ValidationError

from headrace.checks import PoolLimits, WorkerPool
from headrace.core.dossiers import CheckOutcome, Dossier
from headrace.core.events import Emit, Retry
from headrace.core.policies import Policy
from headrace.core.samples import Reference
from headrace.runtime.app import CannotStart, Runtime
from headrace.runtime.settings import DeliverySettings, RuntimeSettings
from services.validation.app import open_service
from services.validation.handlers import Validation, run_requested_checks
from services.validation.settings import ValidationSettings
from services.validation.subscribers import subscriptions
from tests.fakes.evidence import asked_for, dossier, event
from tests.fakes.workers import FakeWorkers

POLICY = Policy.model_validate({"checks": [{"check": "math"}, {"check": "schema", "json_schema": {}, "cpu_s_max": 5}]})
OVERDUE = r"had not ended 0.1 s after its batch began (HEADRACE_VALIDATION_BATCH_S_MAX)"


def validation(workers, policy_of=lambda _: POLICY, batch_s_max: float = 0.1) -> Validation:
    return Validation(policy_of, workers, 3, batch_s_max, lambda _, __: None)


def asked(response: str, *names: str, attempt: int = 1, reference: Reference | None = None, sample_id: str = "one"):
    evidence = dossier(response, reference=reference, decisions=(asked_for(*names),), sample_id=sample_id)
    return event(evidence, attempt)


def outcomes(result) -> list[CheckOutcome]:
    assert isinstance(result, Emit)
    body = result.sends[0].body
    assert isinstance(body, Dossier)
    return [found.outcome for found in body.checks]


async def test_a_check_that_does_not_end_is_tried_again_and_then_not_made():
    """The others of its batch end as if it were not there, and nothing of it is left running."""
    workers = FakeWorkers()
    for attempt in (1, 2, 3):
        batch = [asked('"a"', "schema"), asked('"STALLED"', "schema", attempt=attempt), asked("1", "schema")]
        async with asyncio.timeout(10):
            first, second, third = await run_requested_checks(batch, validation(workers))
        assert [outcomes(first), outcomes(third)] == [[CheckOutcome.PASSED], [CheckOutcome.PASSED]]
        if attempt < 3:
            assert second == Retry("check_lost", OVERDUE)
        assert workers.stalled == 0
    assert outcomes(second) == [CheckOutcome.NOT_MADE]


async def test_no_check_outlasts_its_batch_where_another_of_its_sample_is_lost():
    """What still ran would hold a worker that the next batch counts on."""
    workers = FakeWorkers()
    sample = asked('"STALLED"', "math", "schema", reference=Reference("LOST", "math"))
    async with asyncio.timeout(10):
        [result] = await run_requested_checks([sample], validation(workers))
    assert result == Retry("check_lost", "the worker ended with status -9")
    assert workers.stalled == 0


async def test_an_error_that_nobody_foresaw_is_its_own_samples():
    """Such as settings that this release cannot read: the batch is not made again in halves for it."""
    unreadable = Policy.model_validate({"checks": [{"check": "schema", "of_tomorrow": 1}]})
    workers = FakeWorkers()
    batch = [asked("1", "schema", sample_id="good"), asked("1", "schema", sample_id="bad")]
    batch[1] = replace(batch[1], body=replace(batch[1].body, sample=replace(batch[1].body.sample, dataset_id="newer")))
    good, bad = await run_requested_checks(batch, validation(workers, lambda name: unreadable if name == "newer" else POLICY))
    assert outcomes(good) == [CheckOutcome.PASSED]
    assert isinstance(bad, Retry)
    assert (bad.error_class, "of_tomorrow" in bad.error) == ("ValidationError", True)


async def test_a_worker_that_is_late_is_ended_and_the_next_batch_gets_its_own_verdicts():
    """The processor time that the policy gives is more than is left of the batch."""
    slow = asked('"' + "a" * 60 + '!"', "schema", reference=Reference(json_schema=json.dumps({"pattern": "^(a+)+$"})))
    async with WorkerPool(PoolLimits(workers=1)) as workers:
        [late] = await run_requested_checks([slow], validation(workers))
        assert late == Retry("check_lost", OVERDUE)
        next_ones = [asked(response, "schema") for response in ("1", "no JSON", "2")]
        results = await run_requested_checks(next_ones, validation(workers, batch_s_max=30))
    assert [outcomes(result) for result in results] == [[CheckOutcome.PASSED], [CheckOutcome.FAILED], [CheckOutcome.PASSED]]


async def test_a_batch_that_may_lose_its_partition_is_refused(monkeypatch):
    """The service does not start, and names both settings."""
    monkeypatch.setenv("HEADRACE_VALIDATION_BATCH_S_MAX", "151")
    runtime = Runtime(RuntimeSettings(), DeliverySettings(handler_s_max=300))
    with pytest.raises(CannotStart, match=r"HEADRACE_VALIDATION_BATCH_S_MAX \(151\) .* HEADRACE_DELIVERY_HANDLER_S_MAX \(300\)"):
        async with open_service(runtime):
            pass


def test_a_batch_has_time_for_its_slowest_check():
    """What is refused names the settings."""
    with pytest.raises(ValidationError, match=r"HEADRACE_VALIDATION_WORKER_STALL_S_MAX .* HEADRACE_VALIDATION_BATCH_S_MAX"):
        ValidationSettings(batch_s_max=35, worker_stall_s_max=30)
    assert ValidationSettings(batch_s_max=36, worker_stall_s_max=30).batch_s_max == 36


def test_workers_are_as_many_as_the_processors_that_may_be_used(monkeypatch):
    """The machine may have more than this process is let have."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5})
    assert ValidationSettings().workers == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert ValidationSettings().workers == 8


def test_slow_batches_become_smaller():
    """Down to a sample for each worker."""
    [subscription] = subscriptions(validation(FakeWorkers()), 3, 48)
    assert (subscription.batch_records_min, subscription.batch_records_max) == (3, 144)
