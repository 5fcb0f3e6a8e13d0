"""`headrace checkpoint`: what trainers published, what became of it, and which samples it has seen."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import checkpoint_rollback
from headrace.cli.checkpoint_answers import asked
from headrace.cli.checkpoint_reading import kafka, read_collected, read_roll_outs
from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Container

    from headrace.core.checkpoints import CheckpointPublished, CheckpointRolledOut
    from headrace.core.roll_out import RollOuts

app = typer.Typer(
    name="checkpoint", help="Look at the checkpoints that trainers published, and what became of them.", no_args_is_help=True
)
app.add_typer(checkpoint_rollback.app)

Checkpoint = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint's id, or the beginning of it.")]
_PREFIX_MIN = 6


@app.command("ls")
def list_checkpoints(*, as_json: AsJson = False) -> None:
    """List all checkpoints, oldest first: data, held-out loss before and after, and whether scoring measures with them.

    One whose weights were collected (`headrace dataset gc --keep-checkpoints`) stays listed, and says so.
    """
    models, collected = asyncio.run(_read_all())
    rows = [(published, _fate(outs, published, collected)) for outs in models.values() for published in outs.published.values()]
    rows.sort(key=lambda row: row[0].published_at)
    if as_json:
        typer.echo(json.dumps([_record(published) | {"fate": fate} for published, fate in rows]))
        return
    for published, fate in rows:
        before, after = (published.metrics.get(f"held_out_loss_{name}") for name in ("before", "after"))
        loss = "" if before is None or after is None else f"  held-out loss {before:.3f} to {after:.3f}"
        data = f"{published.data.dataset_id} {_taken(published)}"
        typer.echo(f"{published.checkpoint_id[:12]}  {published.model} {published.kind:<7}  {data}{loss}  {fate}")
    if not rows:
        typer.echo("no checkpoint was published yet: `headrace train DATASET` makes one")


@app.command()
def show(checkpoint: Checkpoint, *, as_json: AsJson = False) -> None:
    """Show all that a trainer said of a checkpoint: base model, data, hyper-parameters, metrics, files."""

    async def read() -> "tuple[CheckpointPublished, RollOuts, frozenset[str]]":
        return *await _found(checkpoint), await read_collected()

    published, outs, collected = asyncio.run(read())
    record = _record(published) | {"fate": _fate(outs, published, collected)}
    if as_json:
        typer.echo(json.dumps(record))
        return
    for name, value in record.items():
        if isinstance(value, dict):
            typer.echo(f"{name}:")
            for key, each in value.items():
                typer.echo(f"  {key}: {each}")
        elif name == "files":
            typer.echo("files:")
            for file in published.files:
                typer.echo(f"  {file.sha256[:12]}  {file.size_bytes:>12} bytes  {file.name}")
        else:
            typer.echo(f"{name}: {value}")


@app.command()
def rollout(
    checkpoint: Checkpoint,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it measures, and tell.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Longest wait, in seconds.")] = 600,
    as_json: AsJson = False,
) -> None:
    """Ask for a checkpoint that was refused to be rolled out after all, once the cause has passed.

    Store too slow, model repository not set or full, memory that a round held: a refusal is final until somebody asks again.
    It is announced once more as it was published, and goes through all steps again.
    """
    answer = asyncio.run(_rolled_out(checkpoint, timeout_s if wait else None))
    if as_json:
        typer.echo(json.dumps(asdict(answer) if answer else {"checkpoint": checkpoint, "requested": True}))
    elif answer is None:
        typer.echo(f"the roll-out of {checkpoint} is asked for: `headrace checkpoint ls` tells what becomes of it")
    else:
        typer.echo(
            f"model {answer.model} measures with version {answer.model_version}, in the place of {answer.previous_version}"
        )


@app.command()
def samples(
    checkpoint: Checkpoint,
    *,
    held_out: Annotated[bool, typer.Option("--held-out", help="Those that were kept back instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the samples a checkpoint has seen, one a line: id and revision.

    Where the trainer stored the list with the weights (headrace_seen_samples.txt), as `headrace train` does, that is what is
    printed. Else it follows from what the checkpoint says: the rows it read of its version, then its ranges of the topic,
    without the samples held out. Of a trainer that read all before it trained that is what stood at the end, with revisions and
    retractions applied. Of one that trained on samples as they came (`streamed`, as `show` says) it is all of them, marked
    "retracted since" or "revision 1 of 3" where that is no longer so.

    What can no longer be listed, since records were deleted or rows forgotten, is stated on standard error, with --json also as a
    line {"gap": ...}.
    """
    from headrace.client.seen_samples import seen_rows  # noqa: PLC0415

    def tell(gap: str) -> None:
        typer.echo(f"gap: {gap}", err=True)
        if as_json:
            typer.echo(json.dumps({"gap": gap}))

    async def list_them() -> None:
        published, _ = await _found(checkpoint)
        async for row in seen_rows(published, kafka=kafka(), held_out=held_out, tell=tell):
            marked = row if row.since else row[:2]
            typer.echo(json.dumps(marked) if as_json else " ".join(map(str, marked)))

    asyncio.run(list_them())


async def _rolled_out(name: str, timeout_s: float | None) -> "CheckpointRolledOut | None":
    from uuid import uuid4  # noqa: PLC0415

    from headrace.core.events import Send  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_PUBLISHED  # noqa: PLC0415

    published, outs = await _found(name)
    version = outs.version_of(published.checkpoint_id)
    if version == outs.present and version is not None:
        raise CannotDo(f"{name}: it measures already, as version {version}")
    if version is not None:
        raise CannotDo(f"{name}: it was rolled out as version {version}: `headrace checkpoint rollback --to {name}`")
    request_id = str(uuid4())  # a new event, hence a new version number: those of refused ones are never used again
    return await asked(kafka(), Send(CHECKPOINT_PUBLISHED, published), request_id, timeout_s)


async def _found(name: str) -> "tuple[CheckpointPublished, RollOuts]":
    if len(name) < _PREFIX_MIN:
        raise CannotDo(f"{name}: give {_PREFIX_MIN} or more digits of the checkpoint's id")
    models = await read_roll_outs()
    found = [(each, outs) for outs in models.values() for key, each in outs.published.items() if key.startswith(name)]
    if len(found) != 1:
        raise CannotDo(
            f"{'several checkpoints begin' if found else 'no checkpoint begins'} with {name}: `headrace checkpoint ls`"
        )
    return found[0]


async def _read_all() -> "tuple[dict[str, RollOuts], frozenset[str]]":
    return await read_roll_outs(), await read_collected()


def _fate(outs: "RollOuts", published: "CheckpointPublished", collected: "Container[str]" = ()) -> str:
    version = outs.version_of(published.checkpoint_id)
    refused, stayed = (each.get(published.checkpoint_id) for each in (outs.refused, outs.not_gone_back))
    if version is not None:
        fate = f"measures, as version {version}" if version == outs.present else f"was rolled out as version {version}"
    else:
        fate = "not rolled out yet" if refused is None else f"refused at {refused.step}: {refused.reason}"
    back = "" if stayed is None else f"; a rollback to it was refused at {stayed.step}: {stayed.reason}"
    return f"{fate}{back}{'; its weights were collected' if published.checkpoint_id in collected else ''}"


def _taken(published: "CheckpointPublished") -> str:
    data = published.data
    records = sum(each.until_offset - each.from_offset for each in data.positions)
    parts = ([f"version {data.version[:12]}"] if data.version else []) + ([f"{records} records"] if data.positions else [])
    return f"{' and '.join(parts)}, {data.rows_trained} samples"


def _record(published: "CheckpointPublished") -> dict[str, Any]:
    record = asdict(published)
    record["hyperparameters"] = json.loads(record.pop("hyperparameters_json"))
    return record
