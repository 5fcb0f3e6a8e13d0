"""What controller reads, and which function handles it."""

from functools import partial

from headrace.core.topics import CHECKPOINT_PUBLISHED, ROLLBACK_REQUESTED
from headrace.runtime.service import Subscription
from services.controller.handlers import Controller, roll_back, roll_out

NAME = "controller"
_ONE = 1
"""Each has the whole of HEADRACE_DELIVERY_HANDLER_S_MAX."""


def subscriptions(controller: Controller) -> tuple[Subscription, ...]:
    """Checkpoints, and requests to go back to earlier ones."""
    return (
        Subscription(CHECKPOINT_PUBLISHED, NAME, partial(roll_out, controller=controller), batch_records_max=_ONE),
        Subscription(ROLLBACK_REQUESTED, NAME, partial(roll_back, controller=controller), batch_records_max=_ONE),
    )
