"""What refinement reads, and which function handles it."""

from functools import partial

from headrace.core.topics import REFINEMENT_REQUESTED
from headrace.runtime.service import Subscription
from services.refinement.handlers import Refinement, refine

NAME = "refinement"


def subscriptions(refinement: Refinement, *, batch_records_max: int) -> tuple[Subscription, ...]:
    """Refinement reads one topic."""
    handler = partial(refine, refinement=refinement)
    return (Subscription(REFINEMENT_REQUESTED, NAME, handler, batch_records_max=batch_records_max),)
