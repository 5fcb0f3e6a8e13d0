"""Runs the checks that admission asked for and adds what they found."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from headrace import checks
from headrace.checks import WorkerLost, Workers, WorkersGone
from headrace.core.dossiers import CheckOutcome, CheckResult, Cost, Dossier
from headrace.core.events import Emit, Event, Result, Retry, Send, Stop, no_policy
from headrace.core.policies import CheckRequest, Policy
from headrace.core.rounds.acceptance import checks_of
from headrace.core.topics import VALIDATED

STAGE = "validation"

_log = logging.getLogger("headrace.validation")


@dataclass(frozen=True, slots=True)
class Validation:
    """What the handler needs: the standing policies, the workers, and how often a lost check is tried again.

    A check that has not ended `batch_s_max` seconds after its batch began is lost too. `took` is told each check's name and
    seconds.
    """

    policy_of: Callable[[str], Policy | None]
    workers: Workers
    attempts_max: int
    batch_s_max: float
    took: Callable[[str, float], None]
    clock: Callable[[], float] = time.monotonic


async def run_requested_checks(events: Sequence[Event[Dossier]], validation: Validation) -> list[Result]:
    """One VALIDATED event for each sample, whatever its checks found; Retry where a check may yet be made.

    Ends within `batch_s_max`, but for what is done here by the way. An error that nobody foresaw is its own sample's: were it
    raised, the others would be checked again.

    Raises:
        Stop: no worker can be started.
    """
    results = await asyncio.gather(*(_result(event, validation) for event in events), return_exceptions=True)
    return [_own(event, result) for event, result in zip(events, results, strict=True)]


def _own(event: Event[Dossier], result: Result | BaseException) -> Result:
    if isinstance(result, BaseException) and (isinstance(result, Stop) or not isinstance(result, Exception)):
        raise result
    if isinstance(result, Exception):
        _log.warning("the checks of event %s failed", event.id, exc_info=result)
        return Retry(type(result).__name__, str(result))
    return result


async def _result(event: Event[Dossier], validation: Validation) -> Result:
    dossier = event.body
    dataset_id = dossier.sample.dataset_id
    policy = validation.policy_of(dataset_id)
    if policy is None:
        return no_policy(dataset_id)
    began = validation.clock()
    is_last = event.attempt >= validation.attempts_max
    try:
        found = await _all(_made(request, dossier, validation, is_last=is_last) for request in _asked(dossier, policy))
    except WorkerLost as lost:
        return Retry("check_lost", str(lost))
    except WorkersGone as gone:
        raise Stop(str(gone)) from gone
    cost = Cost(STAGE, seconds=validation.clock() - began)
    return Emit((Send(VALIDATED, _with_results(dossier, [result for result in found if result is not None], cost)),))


async def _all(work: Iterable[Awaitable[CheckResult | None]]) -> list[CheckResult | None]:
    """What all come to. An error is raised only once all have ended: what is still running would belong to no batch."""
    ended = await asyncio.gather(*work, return_exceptions=True)
    for each in ended:
        if isinstance(each, BaseException):
            raise each
    return [each for each in ended if not isinstance(each, BaseException)]


def _asked(dossier: Dossier, policy: Policy) -> list[CheckRequest]:
    """What the last decision asks for, with the settings of the policy that stands now.

    A check that it no longer asks for is left out: admission will not miss it.
    """
    asked = dossier.decisions[-1].checks_requested if dossier.decisions else ()
    return [request for request in checks_of(dossier, policy) if request.check in asked]


async def _made(request: CheckRequest, dossier: Dossier, validation: Validation, *, is_last: bool) -> CheckResult | None:
    """The check's result; None where it does not apply. A check that is lost on the last attempt was not made."""
    if request.check not in checks.names():  # admission is of a newer release: this one's successor may know it
        if is_last:
            return CheckResult(request.check, CheckOutcome.NOT_MADE, "this release of validation has no such check", "")
        raise WorkerLost(f"no check is called {request.check!r} in this release of validation")
    check = checks.load(request.check)
    if not check.applies(dossier, check.settings_of(request)):
        return None
    began = validation.clock()
    try:
        return await _in_time(check.run(dossier, request, validation.workers), validation.batch_s_max)
    except WorkerLost as lost:
        if not is_last:
            raise
        evidence = f"could not be made in {validation.attempts_max} attempts: {lost}"
        return CheckResult(check.name, CheckOutcome.NOT_MADE, evidence, check.ruler_hash(request))
    finally:
        validation.took(check.name, validation.clock() - began)


async def _in_time(run: Awaitable[CheckResult], seconds_max: float) -> CheckResult:
    """The result; WorkerLost where there is none by then, and what a worker was doing for it is ended."""
    try:
        async with asyncio.timeout(seconds_max):
            return await run
    except TimeoutError as error:
        raise WorkerLost(f"had not ended {seconds_max:g} s after its batch began (HEADRACE_VALIDATION_BATCH_S_MAX)") from error


def _with_results(dossier: Dossier, found: Sequence[CheckResult], cost: Cost) -> Dossier:
    """The dossier with these results in place of earlier ones of the same checks."""
    made = {result.check for result in found}
    kept = tuple(result for result in dossier.checks if result.check not in made)
    return replace(dossier, checks=(*kept, *found), costs=(*dossier.costs, cost))
