"""What datasets reads, and which function handles it."""

from functools import partial

from headrace.core.topics import CUT_REQUESTED, DECIDED, INDEXED, MEASURED, RETRACTION_REQUESTED, ROUND_STEP_REQUESTED
from headrace.runtime.service import Subscription
from services.datasets.handlers import Datasets, cut_versions, stage_decided, stage_indexed, stage_retracted
from services.datasets.surveying import Surveying, stage_measured, take_step

NAME = "datasets"
_REQUESTS_MAX = 16
_STEPS_MAX = 1
"""A step is a page of rows, held in memory until they are sent."""


def subscriptions(datasets: Datasets, surveying: Surveying, batch_records_max: int) -> tuple[Subscription, ...]:
    """Decisions, embeddings, retractions and measured rows are staged, requests answered, steps of rounds taken.

    A dataset has one partition of each topic. What is staged lies there by ranges of offsets, in which nothing is missing.
    """
    return (
        Subscription(DECIDED, NAME, partial(stage_decided, datasets=datasets), batch_records_max=batch_records_max, gapless=True),
        Subscription(INDEXED, NAME, partial(stage_indexed, datasets=datasets), batch_records_max=batch_records_max, gapless=True),
        Subscription(
            RETRACTION_REQUESTED,
            NAME,
            partial(stage_retracted, datasets=datasets),
            batch_records_max=batch_records_max,
            gapless=True,
        ),
        Subscription(CUT_REQUESTED, NAME, partial(cut_versions, datasets=datasets), batch_records_max=_REQUESTS_MAX),
        Subscription(ROUND_STEP_REQUESTED, NAME, partial(take_step, surveying=surveying), batch_records_max=_STEPS_MAX),
        Subscription(
            MEASURED, NAME, partial(stage_measured, surveying=surveying), batch_records_max=batch_records_max, gapless=True
        ),
    )
