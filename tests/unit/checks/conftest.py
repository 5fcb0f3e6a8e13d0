"""Real workers for the tests of checks: started once a module."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from headrace import checks
from headrace.checks import PoolLimits, WorkerPool, Workers
from headrace.core.dossiers import CheckResult, Dossier
from headrace.core.policies import CheckRequest
from tests.fakes.workers import FakeWorkers

Run = Callable[..., Awaitable[CheckResult | None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[WorkerPool]:
    """Two real worker processes."""
    async with WorkerPool(PoolLimits(workers=2, restart_s=0.1)) as pool:
        yield pool


@pytest.fixture
def run() -> Run:
    """Runs a check on a dossier under a policy's request, in this process unless workers are given; None: does not apply."""

    async def run_check(evidence: Dossier, workers: Workers | None = None, **request: Any) -> CheckResult | None:
        asked = CheckRequest.model_validate(request)
        check = checks.load(asked.check)
        settings = check.settings_of(asked)
        check.validate(settings)
        if not check.applies(evidence, settings):
            return None
        return await check.run(evidence, asked, workers or FakeWorkers())

    return run_check
