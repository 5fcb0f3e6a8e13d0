"""What diversity reads, and which function handles it."""

from dataclasses import replace

from headrace.core.topics import (
    DECIDED,
    HELD,
    PLACED,
    RETRACTION_REQUESTED,
    SCORED,
    VALIDATED,
    VALIDATION_REQUESTED,
    Topic,
    dlq_topic_name,
)
from headrace.runtime.service import Subscription
from services.diversity.handlers import Diversity
from services.diversity.retractions import Retracting

NAME = "diversity"


def subscriptions(diversity: Diversity, retracting: Retracting, batch_records_max: int) -> tuple[Subscription, ...]:
    """Samples as they are scored, those on hold, what became of them, and which of them are taken back."""
    return (
        Subscription(SCORED, NAME, diversity.place, batch_records_max=batch_records_max),
        Subscription(HELD, NAME, diversity.recheck, batch_records_max=batch_records_max),
        Subscription(DECIDED, NAME, diversity.settle, batch_records_max=batch_records_max),
        Subscription(RETRACTION_REQUESTED, NAME, retracting.retract, batch_records_max=batch_records_max),
    )


def dead_letters() -> tuple[Topic, ...]:
    """The dead letters of samples that may have a pending point: those of every service from here to the decision.

    They are followed, not subscribed to: to release a point twice does nothing, so neither offsets nor transactions are needed.
    """
    given_up = (
        (SCORED, NAME),
        (HELD, NAME),
        (PLACED, "admission"),
        (VALIDATION_REQUESTED, "validation"),
        (VALIDATED, "admission"),
    )
    return tuple(replace(topic, name=dlq_topic_name(topic.name, group)) for topic, group in given_up)
