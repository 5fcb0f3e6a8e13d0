"""Puts admission together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace import checks
from headrace.runtime.app import Runtime
from headrace.runtime.service import Service
from services.admission.handlers import Admission
from services.admission.settings import AdmissionSettings
from services.admission.subscribers import NAME, subscriptions


@asynccontextmanager
async def open_service(runtime: Runtime) -> AsyncIterator[Service]:
    """Admission, ready to run."""
    settings = AdmissionSettings()
    admission = Admission(runtime.policies.policy_of, checks.rulers)
    yield Service(NAME, subscriptions(admission, settings.batch_records_max), {"policies": runtime.policies.ping})
