"""What datasets reads, and which function handles it."""

from functools import partial

from headrace.core.topics import CUT_REQUESTED, DECIDED, INDEXED, RETRACTION_REQUESTED
from headrace.runtime.service import Subscription
from services.datasets.handlers import Datasets, cut_versions, stage_decided, stage_indexed, stage_retracted

NAME = "datasets"
_REQUESTS_MAX = 16


def subscriptions(datasets: Datasets, batch_records_max: int) -> tuple[Subscription, ...]:
    """Decisions, embeddings and retractions are staged, requests answered. A dataset has one partition of each topic."""
    return (
        Subscription(DECIDED, NAME, partial(stage_decided, datasets=datasets), batch_records_max=batch_records_max),
        Subscription(INDEXED, NAME, partial(stage_indexed, datasets=datasets), batch_records_max=batch_records_max),
        Subscription(
            RETRACTION_REQUESTED, NAME, partial(stage_retracted, datasets=datasets), batch_records_max=batch_records_max
        ),
        Subscription(CUT_REQUESTED, NAME, partial(cut_versions, datasets=datasets), batch_records_max=_REQUESTS_MAX),
    )
