"""Puts validation together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.checks import WorkerPool
from headrace.runtime.app import CannotStart, Runtime
from headrace.runtime.service import Service
from headrace.runtime.telemetry import Attribute, Metric, Telemetry
from services.validation.handlers import Validation
from services.validation.settings import ValidationSettings
from services.validation.subscribers import NAME, subscriptions


@asynccontextmanager
async def open_service(runtime: Runtime) -> AsyncIterator[Service]:
    """Validation, ready to run, its workers warm."""
    settings = ValidationSettings()
    if 2 * settings.batch_s_max > runtime.delivery.handler_s_max:
        raise CannotStart(
            f"HEADRACE_VALIDATION_BATCH_S_MAX ({settings.batch_s_max:g}) must be at most half of "
            f"HEADRACE_DELIVERY_HANDLER_S_MAX ({runtime.delivery.handler_s_max:g}): else a slow batch loses its partition"
        )
    async with WorkerPool(settings.pool_limits()) as workers:
        validation = Validation(
            policy_of=runtime.policies.policy_of,
            workers=workers,
            attempts_max=min(settings.attempts_max, runtime.delivery.attempts_max),
            batch_s_max=settings.batch_s_max,
            took=_Took(runtime.telemetry),
        )
        pings = {"policies": runtime.policies.ping, "workers": workers.ping}
        yield Service(NAME, subscriptions(validation, settings.workers, settings.batch_records_per_worker), pings)


class _Took:
    """Tells telemetry how long a check took."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __call__(self, check: str, seconds: float) -> None:
        self._telemetry.record(Metric.VALIDATION_CHECK_DURATION, seconds, {Attribute.CHECK: check})
