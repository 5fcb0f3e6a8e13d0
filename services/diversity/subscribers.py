"""What diversity reads, and which function handles it."""

from dataclasses import replace

from headrace.core.topics import (
    DECIDED,
    HELD,
    MEASURED,
    PLACED,
    RETRACTION_REQUESTED,
    ROUND_STEP_REQUESTED,
    SCORED,
    VALIDATED,
    VALIDATION_REQUESTED,
    Topic,
    dlq_topic_name,
)
from headrace.runtime.service import Subscription
from services.diversity.handlers import Diversity
from services.diversity.retractions import Retracting
from services.diversity.surveying import Surveying

NAME = "diversity"


_STEPS_MAX = 1
"""A step takes a slice of time: one for each batch."""


def subscriptions(
    diversity: Diversity, retracting: Retracting, surveying: Surveying, batch_records_max: int
) -> tuple[Subscription, ...]:
    """Samples as they are scored, those on hold, what became of them, which of them are taken back; and steps of rounds."""
    return (
        Subscription(SCORED, NAME, diversity.place, batch_records_max=batch_records_max),
        Subscription(
            HELD,
            NAME,
            diversity.recheck,
            batch_records_max=batch_records_max,
            delay_s_max=diversity.delay_s(batch_records_max),
        ),
        Subscription(DECIDED, NAME, diversity.settle, batch_records_max=batch_records_max),
        Subscription(RETRACTION_REQUESTED, NAME, retracting.retract, batch_records_max=batch_records_max),
        Subscription(ROUND_STEP_REQUESTED, NAME, surveying.take_step, batch_records_max=_STEPS_MAX),
        Subscription(MEASURED, NAME, surveying.enter_measured, batch_records_max=batch_records_max),
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
