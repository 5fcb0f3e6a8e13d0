"""`headrace sample`: what became of one sample, and why."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from headrace.cli.options import AsJson, Dataset
from headrace.cli.version_reading import require_dataset

if TYPE_CHECKING:  # Arrow and the Kafka client cost most of a second that `headrace --help` need not pay
    from headrace.adapters.claim_check import LargeBodies
    from headrace.adapters.versions.sample_history import Ending, SampleHistory

app = typer.Typer(name="sample", help="See what became of one sample, and why.", no_args_is_help=True)

LETTERS_MAX = 100_000
"""Dead letters looked through in each topic."""


@app.callback()
def group() -> None:
    """Keeps `show` a command of its own while it is the only one."""


@app.command()
def show(
    sample_id: Annotated[str, typer.Argument(metavar="ID", help="The sample's id.")], dataset: Dataset, *, as_json: AsJson = False
) -> None:
    """Tell a sample's story: what it says, its signals, neighbours, checks, and the decision with the numbers compared.

    What a round rewrote stands beside its parent: both texts, both numbers, the attempts, and what they cost.

    Looks through the dataset's latest version, through earlier ones for revisions that were replaced or taken back, and through
    what is staged for the next version; where there is nothing, through the dead letters. Each ending says where it stands. Ends
    with 1 where the sample is in none of them: it is still on its way, or never came.
    """
    told = asyncio.run(_history(dataset, sample_id))
    found = told.endings
    retracted = asyncio.run(_retracted(dataset, sample_id))
    if as_json:
        plain = {"endings": [_plain(ending) for ending in found], "notes": told.notes}
        typer.echo(json.dumps({"dataset": dataset, "sample_id": sample_id, "retracted": retracted, **plain}))
        if not found and retracted is None:
            asyncio.run(require_dataset(dataset))
    elif found or retracted is not None:
        _print(found)
        for note in told.notes:
            typer.echo(note)
        if retracted is not None:
            typer.echo(f"retracted up to revision {retracted}: no such revision belongs to {dataset} any more")
    else:
        asyncio.run(require_dataset(dataset))
        typer.echo(
            f"dataset {dataset} has no decision on a sample {sample_id!a}: it is on its way (`headrace lag`), or it never came",
            err=True,
        )
    if not found and retracted is None:
        raise typer.Exit(1)


async def _retracted(dataset: str, sample_id: str) -> int | None:
    """The highest retracted revision, None where there is none."""
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.adapters.versions.retracted_samples import retracted_samples  # noqa: PLC0415

    async with open_object_store(ObjectStoreSettings()) as objects:
        return (await retracted_samples(objects, dataset)).get(sample_id)


async def _history(dataset: str, sample_id: str) -> "SampleHistory":
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.adapters.versions.sample_history import SampleHistory, history  # noqa: PLC0415
    from headrace.adapters.versions.store import VersionStore  # noqa: PLC0415
    from headrace.runtime.large_bodies import large_bodies  # noqa: PLC0415
    from headrace.runtime.settings import DeliverySettings  # noqa: PLC0415

    async with open_object_store(ObjectStoreSettings()) as objects:
        found = await history(VersionStore(objects), dataset, sample_id)
    if found.endings:
        return found
    async with aclosing(large_bodies(DeliverySettings())) as bodies:
        return SampleHistory(tuple(await _dead_letters(dataset, sample_id, bodies)), found.notes)


async def _dead_letters(dataset: str, sample_id: str, bodies: "LargeBodies") -> "list[Ending]":
    from headrace.adapters.versions.sample_history import Ending  # noqa: PLC0415
    from headrace.adapters.wire import events as wire  # noqa: PLC0415
    from headrace.core.dossiers import Dossier, ScoredSample  # noqa: PLC0415
    from headrace.core.topics import CONSUMERS, TOPICS, dlq_topic_name  # noqa: PLC0415
    from headrace.runtime.delivery.redrive import dead_letters  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    found = []
    for topic in TOPICS:
        for group_name in CONSUMERS.get(topic.name, ()) if topic.body in {Dossier, ScoredSample} else ():
            seen = 0
            dlq_topic = dlq_topic_name(topic.name, group_name)
            async for letter in dead_letters(RuntimeSettings().kafka, dlq_topic, large_bodies=bodies):
                seen += 1
                if seen > LETTERS_MAX:
                    break
                dossier = wire.dossier_in(topic.body, letter.value)
                if dossier is not None and (dossier.sample.dataset_id, dossier.sample.id) == (dataset, sample_id):
                    where = f"{letter.position.topic}, offset {letter.position.offset}: given up by {letter.service}"
                    where += f", discarded: {letter.discarded}" if letter.discarded else ""
                    found.append(Ending(where, dossier, None, f"{letter.error_class}: {letter.error}"))
    return found


def _print(found: "tuple[Ending, ...]") -> None:
    from headrace.cli.story import story  # noqa: PLC0415

    for ending in found:
        Console().print(story(ending))


def _plain(ending: "Ending") -> dict[str, Any]:
    plain = asdict(replace(ending, dossier=replace(ending.dossier, wire=None)))
    if plain["dossier"]["rewrite"] is not None:
        del plain["dossier"]["rewrite"]["parent_embedding"]  # bytes, and nothing to read
    return plain
