"""What admission reads, and which function handles it."""

from functools import partial

from headrace.core.topics import PLACED, VALIDATED
from headrace.runtime.service import Subscription
from services.admission.handlers import Admission, decide_samples

NAME = "admission"


def subscriptions(admission: Admission, batch_records_max: int) -> tuple[Subscription, ...]:
    """A sample is decided when it has been placed, and again when the checks that were asked for have outcomes."""
    handler = partial(decide_samples, admission=admission)
    return tuple(Subscription(topic, NAME, handler, batch_records_max=batch_records_max) for topic in (PLACED, VALIDATED))
