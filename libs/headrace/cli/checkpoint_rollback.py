"""`headrace checkpoint rollback`: an earlier version measures again."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson

if TYPE_CHECKING:
    from headrace.adapters.kafka.streams import RecordReader
    from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut

app = typer.Typer()

_PREFIX_MIN = 6


@app.command()
def rollback(
    *,
    model: Annotated[str, typer.Option(help="The model, as the model server names it.")] = "signals",
    to: Annotated[
        str,
        typer.Option("--to", metavar="CHECKPOINT", help="A checkpoint's id, or the beginning of it; left out: the one before."),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it measures, and tell.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Longest wait, in seconds.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Ask for an earlier version to measure again: the one before the present one, or that of a checkpoint.

    The controller loads it if need be, checks it and announces it; scoring moves with its next batch. Samples that were scored
    meanwhile keep the signals they have, with the version that measured them.
    """
    answer = asyncio.run(_asked(model, to, timeout_s if wait else None))
    if answer is None:
        typer.echo(json.dumps({"model": model, "requested": True}) if as_json else f"a rollback of {model} is asked for")
        return
    if as_json:
        typer.echo(json.dumps(asdict(answer)))
        return
    typer.echo(
        f"model {model} measures with version {answer.model_version} again, in the place of {answer.previous_version}: "
        f"loss {answer.golden_loss:.3f} on the golden samples"
    )


async def _asked(model: str, to: str, timeout_s: float | None) -> "CheckpointRolledOut | None":
    """The answer where it is waited for."""
    from uuid import uuid4  # noqa: PLC0415

    from headrace.adapters.kafka.streams import EventPublisher, RecordReader  # noqa: PLC0415
    from headrace.core.checkpoints import CheckpointRefused, RollbackRequested  # noqa: PLC0415
    from headrace.core.events import Send  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT, ROLLBACK_REQUESTED  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    kafka, request_id = RuntimeSettings().kafka, str(uuid4())
    checkpoint_id = await _whole(kafka, model, to) if to else ""
    request = Send(ROLLBACK_REQUESTED, RollbackRequested(model, request_id, checkpoint_id, "headrace checkpoint rollback"))
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


async def _whole(kafka: str, model: str, beginning: str) -> str:
    """The id of the model's checkpoint that begins so."""
    from headrace.adapters.kafka.streams import read_topic  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_PUBLISHED  # noqa: PLC0415

    if len(beginning) < _PREFIX_MIN:
        raise CannotDo(f"{beginning}: give {_PREFIX_MIN} or more digits of the checkpoint's id")
    found: set[str] = {
        event.body.checkpoint_id
        async for event in read_topic(CHECKPOINT_PUBLISHED, kafka, until_now=True)
        if event.body.model == model and event.body.checkpoint_id.startswith(beginning)
    }
    if len(found) != 1:
        many = "several checkpoints" if found else "no checkpoint"
        raise CannotDo(f"{many} of {model} begin with {beginning}: `headrace checkpoint ls`")
    return found.pop()
