"""Puts scoring together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.adapters.triton.signals import TritonSignalModels
from headrace.runtime.app import Runtime
from headrace.runtime.service import Service
from headrace.runtime.telemetry import Attribute, Metric, Telemetry
from services.scoring.handlers import Scoring
from services.scoring.settings import ScoringSettings
from services.scoring.subscribers import NAME, subscriptions


@asynccontextmanager
async def open_service(runtime: Runtime) -> AsyncIterator[Service]:
    """Scoring, ready to run; the model server may come later."""
    settings = ScoringSettings()
    async with TritonSignalModels.opened(
        settings.triton,
        model=settings.model,
        version=settings.model_version,
        limits=settings.limits(),
        took=_Took(runtime.telemetry),
        announced=runtime.roll_outs.version_of,
    ) as models:
        scoring = Scoring(runtime.policies.policy_of, models)
        pings = {"policies": runtime.policies.ping, "roll-outs": runtime.roll_outs.ping, "triton": models.ping}
        yield Service(NAME, subscriptions(scoring, settings.batch_records_min, settings.batch_records_max), pings)


class _Took:
    """Tells telemetry how long a request to the model server took."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __call__(self, role: str, outcome: str, seconds: float) -> None:
        attributes = {Attribute.MODEL_ROLE: role, Attribute.OUTCOME: outcome}
        self._telemetry.record(Metric.SCORING_CALL_DURATION, seconds, attributes)
        self._telemetry.called("infer signals", seconds, attributes)
