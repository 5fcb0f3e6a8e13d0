"""What scoring reads, and which function handles it."""

from functools import partial

from headrace.core.topics import SUBMITTED
from headrace.runtime.service import Subscription
from services.scoring.handlers import Scoring, score

NAME = "scoring"


def subscriptions(scoring: Scoring, *, batch_records_max: int, batch_wait_ms: int) -> tuple[Subscription, ...]:
    """Scoring reads one topic."""
    handler = partial(score, scoring=scoring)
    return (Subscription(SUBMITTED, NAME, handler, batch_records_max=batch_records_max, batch_wait_ms=batch_wait_ms),)
