"""What scoring reads, and which function handles it."""

from functools import partial

from headrace.core.topics import SUBMITTED, SURVEYED
from headrace.runtime.service import Subscription
from services.scoring.handlers import Scoring, score
from services.scoring.surveying import survey

NAME = "scoring"


def subscriptions(scoring: Scoring, batch_records_min: int, batch_records_max: int) -> tuple[Subscription, ...]:
    """New samples, and the rows of surveys: batches of the two are measured side by side."""
    reading = ((SUBMITTED, partial(score, scoring=scoring)), (SURVEYED, partial(survey, scoring=scoring)))
    return tuple(
        Subscription(topic, NAME, handler, batch_records_max=batch_records_max, batch_records_min=batch_records_min)
        for topic, handler in reading
    )
