"""What validation reads, and which function handles it."""

from functools import partial

from headrace.core.topics import VALIDATION_REQUESTED
from headrace.runtime.service import Subscription
from services.validation.handlers import Validation, run_requested_checks

NAME = "validation"


def subscriptions(validation: Validation, workers: int, records_per_worker_max: int) -> tuple[Subscription, ...]:
    """Validation reads one topic, at least a sample for each worker at a time."""
    handler = partial(run_requested_checks, validation=validation)
    records_max = records_per_worker_max * workers
    return (Subscription(VALIDATION_REQUESTED, NAME, handler, batch_records_max=records_max, batch_records_min=workers),)
