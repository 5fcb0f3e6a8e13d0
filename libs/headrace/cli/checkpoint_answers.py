"""Asking the controller for a version of a model, and waiting for its answer."""

import asyncio
from typing import TYPE_CHECKING

from headrace.cli.failures import CannotDo

if TYPE_CHECKING:
    from headrace.adapters.kafka.streams import RecordReader
    from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut
    from headrace.core.events import Send


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
                answer = await _answer(reader, request_id)
        except TimeoutError:
            raise CannotDo(f"no answer within {timeout_s:g} s: `headrace status` and `headrace dlq ls` say why") from None
    if isinstance(answer, CheckpointRefused):
        raise CannotDo(f"refused at step {answer.step}: {answer.reason}")
    return answer


async def _answer(reader: "RecordReader", request_id: str) -> "CheckpointRolledOut | CheckpointRefused":
    """The event that the controller answers this request with."""
    from headrace.adapters.kafka.streams import decoded  # noqa: PLC0415
    from headrace.adapters.wire.envelope import derived_id  # noqa: PLC0415
    from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT  # noqa: PLC0415

    topics = {topic.name: topic for topic in (CHECKPOINT_ROLLED_OUT, CHECKPOINT_REFUSED)}
    wanted = {derived_id(request_id, name, 0) for name in topics}
    async for record in reader:
        event = decoded(topics[record.topic], record)
        if event is not None and event.id in wanted and isinstance(event.body, CheckpointRolledOut | CheckpointRefused):
            return event.body
    raise AssertionError("a topic that is followed does not end")
