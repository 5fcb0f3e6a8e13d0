"""Asking the controller for a version of a model, and waiting for its answer."""

import asyncio
from typing import TYPE_CHECKING

from headrace.cli.failures import CannotDo

if TYPE_CHECKING:
    from headrace.adapters.kafka.streams import RecordReader
    from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut
    from headrace.core.events import Event, Send


async def asked(kafka: str, request: "Send", request_id: str, timeout_s: float | None) -> "CheckpointRolledOut | None":
    """Publishes the request under this id; the announcement that answers it, None where it is not waited for.

    Raises:
        CannotDo: it was refused, or not answered in time.
    """
    from headrace.adapters.kafka.streams import EventPublisher, RecordReader  # noqa: PLC0415
    from headrace.core.checkpoints import CheckpointRefused  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT  # noqa: PLC0415

    topics = (CHECKPOINT_ROLLED_OUT, CHECKPOINT_REFUSED)
    async with (
        EventPublisher(kafka, "headrace/cli") as publisher,
        RecordReader.opened(kafka, [topic.name for topic in topics], start="end") as reader,
    ):
        await publisher.publish(request, event_id=request_id)
        if timeout_s is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                answer = await _answer(reader, request, request_id)
        except TimeoutError:
            raise CannotDo(f"no answer within {timeout_s:g} s: `headrace status` and `headrace dlq ls` say why") from None
    if isinstance(answer, CheckpointRefused):
        raise CannotDo(f"refused at step {answer.step}: {answer.reason}")
    return answer


async def _answer(reader: "RecordReader", request: "Send", request_id: str) -> "CheckpointRolledOut | CheckpointRefused":
    """The event that says what became of this request."""
    from headrace.adapters.kafka.streams import decoded  # noqa: PLC0415
    from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT  # noqa: PLC0415

    topics = {topic.name: topic for topic in (CHECKPOINT_ROLLED_OUT, CHECKPOINT_REFUSED)}
    async for record in reader:
        event = decoded(topics[record.topic], record)
        if event is None or not isinstance(event.body, CheckpointRolledOut | CheckpointRefused):
            continue
        if answers(event, request, request_id):
            return event.body
    raise AssertionError("a topic that is followed does not end")


def answers(event: "Event[CheckpointRolledOut] | Event[CheckpointRefused]", request: "Send", request_id: str) -> bool:
    """Whether the event is the controller's answer to this request, and to no other one about the same model or checkpoint.

    A checkpoint that is rolled out for somebody else meanwhile measures as well, and then the controller has nothing to add.
    """
    from headrace.adapters.wire.envelope import derived_id  # noqa: PLC0415
    from headrace.core.checkpoints import CheckpointPublished, CheckpointRolledOut  # noqa: PLC0415

    if event.id == derived_id(request_id, event.topic, 0):
        return True
    told, asked_for = event.body, request.body
    if not isinstance(told, CheckpointRolledOut) or not isinstance(asked_for, CheckpointPublished):
        return False
    return (told.model, told.checkpoint_id) == (asked_for.model, asked_for.checkpoint_id)
