"""`headrace checkpoint rollback`: an earlier version measures again."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.checkpoint_answers import asked
from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson

if TYPE_CHECKING:
    from headrace.core.checkpoints import CheckpointRolledOut

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

    from headrace.core.checkpoints import RollbackRequested  # noqa: PLC0415
    from headrace.core.events import Send  # noqa: PLC0415
    from headrace.core.topics import ROLLBACK_REQUESTED  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    kafka, request_id = RuntimeSettings().kafka, str(uuid4())
    checkpoint_id = await _whole(kafka, model, to) if to else ""
    request = Send(ROLLBACK_REQUESTED, RollbackRequested(model, request_id, checkpoint_id, "headrace checkpoint rollback"))
    return await asked(kafka, request, request_id, timeout_s)


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
