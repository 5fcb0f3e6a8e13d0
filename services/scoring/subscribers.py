"""What scoring reads, and which function handles it."""

from functools import partial

from headrace.core.topics import SUBMITTED, SURVEYED
from headrace.runtime.service import Subscription
from services.scoring.handlers import Scoring, score
from services.scoring.surveying import survey

NAME = "scoring"


def subscriptions(scoring: Scoring, *, batch_records_max: int) -> tuple[Subscription, ...]:
    """New samples, and the rows of surveys: batches of the two are measured side by side."""
    return (
        Subscription(SUBMITTED, NAME, partial(score, scoring=scoring), batch_records_max=batch_records_max),
        Subscription(SURVEYED, NAME, partial(survey, scoring=scoring), batch_records_max=batch_records_max),
    )
