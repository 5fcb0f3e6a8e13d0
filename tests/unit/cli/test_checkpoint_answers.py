"""What a command takes for the controller's answer to its request for a version of a model."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.adapters.wire.envelope import derived_id
from headrace.cli.checkpoint_answers import answers
from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut, RollbackRequested
from headrace.core.events import Event, Position, Send
from headrace.core.topics import CHECKPOINT_PUBLISHED, CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT, ROLLBACK_REQUESTED
from tests.fakes.bodies import BODIES

PUBLISHED = BODIES["CheckpointPublished"]
ROLL_OUT = Send(CHECKPOINT_PUBLISHED, PUBLISHED)
ROLLBACK = Send(ROLLBACK_REQUESTED, RollbackRequested(PUBLISHED.model, "mine", PUBLISHED.checkpoint_id, "ada"))
MEASURES = replace(BODIES["CheckpointRolledOut"], model=PUBLISHED.model, checkpoint_id=PUBLISHED.checkpoint_id)
REFUSED = replace(BODIES["CheckpointRefused"], model=PUBLISHED.model, checkpoint_id=PUBLISHED.checkpoint_id)


def told(body: CheckpointRolledOut | CheckpointRefused, asked_by: str) -> Event[Any]:
    """The event that the controller makes of somebody's request."""
    topic = CHECKPOINT_ROLLED_OUT if isinstance(body, CheckpointRolledOut) else CHECKPOINT_REFUSED
    return Event(derived_id(asked_by, topic.name, 0), topic.name, "", body, 1.0, Position(topic.name, 0, 1))


@pytest.mark.parametrize("request_", [ROLL_OUT, ROLLBACK], ids=["rollout", "rollback"])
@pytest.mark.parametrize("body", [MEASURES, REFUSED], ids=["measures", "refused"])
def test_the_answer_is_what_was_made_of_this_very_request(request_: Send, body: CheckpointRolledOut | CheckpointRefused):
    """Whichever of the two it is."""
    assert answers(told(body, "mine"), request_, "mine")


def test_what_became_of_somebody_else_s_request_is_no_answer():
    """Of the same checkpoint neither: another rollback, another refusal."""
    assert not answers(told(MEASURES, "theirs"), ROLLBACK, "mine")
    assert not answers(told(REFUSED, "theirs"), ROLLBACK, "mine")
    assert not answers(told(REFUSED, "theirs"), ROLL_OUT, "mine")
    assert not answers(told(replace(MEASURES, checkpoint_id="ee" * 32), "theirs"), ROLL_OUT, "mine")
    assert not answers(told(replace(MEASURES, model="another"), "theirs"), ROLL_OUT, "mine")


def test_a_checkpoint_that_was_rolled_out_for_somebody_else_measures_all_the_same():
    """The controller says nothing more to the second who asks, and he would wait for nothing."""
    assert answers(told(MEASURES, "theirs"), ROLL_OUT, "mine")
