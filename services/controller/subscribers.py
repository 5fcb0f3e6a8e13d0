"""What controller reads, and which function handles it."""

from functools import partial

from headrace.core.topics import (
    CHECKPOINT_PUBLISHED,
    CHECKPOINT_REFUSED,
    CHECKPOINT_ROLLED_OUT,
    COMMITTED,
    ROLLBACK_REQUESTED,
    ROUND_PROGRESSED,
    ROUND_STATE,
    ROUND_STEP_REQUESTED,
    ROUND_TIMER,
)
from headrace.runtime.service import Subscription
from services.controller.handlers import Controller, roll_back, roll_out
from services.controller.reporting import Reporting, report_rounds
from services.controller.rounds import Rounds, take_checkpoints, take_facts, wake
from services.controller.standing import Standing, take_committed, take_selections

NAME = "controller"
_ONE = 1
"""Each has the whole of HEADRACE_DELIVERY_HANDLER_S_MAX."""


def subscriptions(controller: Controller, rounds: Rounds, standing: Standing, reporting: Reporting) -> tuple[Subscription, ...]:
    """Checkpoints and ways back to earlier ones; rounds, all they depend on, their reports, and what stands between them."""
    return (
        Subscription(CHECKPOINT_PUBLISHED, NAME, partial(roll_out, controller=controller), batch_records_max=_ONE),
        Subscription(ROLLBACK_REQUESTED, NAME, partial(roll_back, controller=controller), batch_records_max=_ONE),
        Subscription(ROUND_PROGRESSED, NAME, partial(take_facts, rounds=rounds)),
        Subscription(ROUND_TIMER, NAME, partial(wake, rounds=rounds), clock=rounds.clock, delay_s_max=rounds.limits.tick_s),
        Subscription(
            ROUND_STEP_REQUESTED, NAME, partial(take_selections, rounds=rounds, standing=standing), batch_records_max=_ONE
        ),
        Subscription(ROUND_STATE, NAME, partial(report_rounds, reporting=reporting)),
        Subscription(COMMITTED, NAME, partial(take_committed, standing=standing), batch_records_max=_ONE),
        Subscription(CHECKPOINT_ROLLED_OUT, NAME, partial(take_checkpoints, rounds=rounds), batch_records_max=_ONE),
        Subscription(CHECKPOINT_REFUSED, NAME, partial(take_checkpoints, rounds=rounds), batch_records_max=_ONE),
    )
