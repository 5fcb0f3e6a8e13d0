"""`headrace dataset retract`: take accepted samples back."""

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson
from headrace.cli.version_reading import DatasetName, open_versions
from headrace.core.retractions import (
    BY_ROUNDS,
    NOTE_CHARS_MAX,
    RETRACTION_MEANING,
    RetractionReason,
    RetractionRequested,
    is_retracted,
)

if TYPE_CHECKING:  # the Kafka client costs most of a second that `headrace --help` need not pay
    from headrace.core.events import Send

app = typer.Typer()

SAMPLES_MAX = 100_000
"""Most samples of one command: they are held in memory."""

_SHOWN = 10
_REASONS = ", ".join(f"{reason.value} ({meaning})" for reason, meaning in RETRACTION_MEANING.items() if reason not in BY_ROUNDS)


@dataclass(frozen=True, slots=True)
class Known:
    """What the object store knows of the samples named: revisions to retract, and those for which there is nothing to do."""

    requested: dict[str, int]
    already: tuple[str, ...]
    unknown: tuple[str, ...]


def _by_a_person(reason: RetractionReason) -> RetractionReason:
    """The reason, where a person may give it."""
    if reason in BY_ROUNDS:
        raise typer.BadParameter(f"only a round may say that a sample is {reason.value}: choose among {_REASONS}")
    return reason


@app.command()
def retract(
    name: DatasetName,
    samples: Annotated[list[str] | None, typer.Argument(metavar="SAMPLE...", help="Ids of samples.")] = None,
    *,
    reason: Annotated[RetractionReason, typer.Option(metavar="REASON", callback=_by_a_person, help=f"Why: {_REASONS}.")],
    file: Annotated[Path | None, typer.Option("--file", "-f", help="More ids, one a line; - reads standard input.")] = None,
    note: Annotated[str, typer.Option(help="A sentence for whoever asks later; it is kept with every version.")] = "",
    revision: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="Retract up to this revision, also of samples still on their way.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take accepted samples back: gone from the next version, told to subscribers, forgotten by the vector index.

    What is accepted now is taken back up to its present revision, for good: the same id and revision, sent again, is turned away
    as `retracted`. A later revision may be accepted. Old versions keep the rows until `headrace dataset gc --forget`.
    """
    if len(note) > NOTE_CHARS_MAX:
        raise CannotDo(f"the note has {len(note)} characters, at most {NOTE_CHARS_MAX} are kept")
    ids = _named(samples or [], file)
    known = asyncio.run(_retract(name, ids, revision, reason, note))
    if as_json:
        said = {"dataset": name, "reason": reason.value, "requested": known.requested}
        typer.echo(json.dumps({**said, "already_retracted": known.already, "unknown": known.unknown}))
    else:
        _tell(name, reason, known)
    if not known.requested and not known.already:
        raise typer.Exit(1)


async def _retract(name: str, ids: list[str], revision: int | None, reason: RetractionReason, note: str) -> Known:
    from headrace.adapters.kafka.streams import EventPublisher  # noqa: PLC0415
    from headrace.adapters.policies.published import PolicyTopics, standing_policies  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    topics = PolicyTopics(settings.kafka, settings.partitions, settings.replication_factor, settings.kafka_start_s)
    if name not in await standing_policies(topics):
        raise CannotDo(f"there is no dataset {name}: `headrace dataset ls` lists them")
    known = await _known(name, ids, revision)
    async with EventPublisher(settings.kafka, "headrace/cli", start_s=settings.kafka_start_s) as publisher:
        await publisher.publish_many(_requests(name, known.requested, reason, note))
    return known


async def _known(name: str, ids: list[str], revision: int | None) -> Known:
    from headrace.adapters.versions.accepted_revisions import accepted_revisions  # noqa: PLC0415
    from headrace.adapters.versions.retracted_samples import retracted_samples  # noqa: PLC0415

    async with open_versions() as versions:
        accepted = await accepted_revisions(versions, name, ids)
        before = await retracted_samples(versions.objects, name)
        by_people = await retracted_samples(versions.objects, name, but=BY_ROUNDS)
    return known_of(ids, revision, accepted, before, by_people)


def known_of(
    ids: list[str], revision: int | None, accepted: Mapping[str, int], before: Mapping[str, int], by_people: Mapping[str, int]
) -> Known:
    """What is to be retracted. What only a round took out is retracted again: a round that is undone brings it back otherwise."""
    there = {each: before[each] for each in ids if each in before and each not in by_people} | dict(accepted)
    wanted = {each: there[each] if revision is None else revision for each in ids if revision is not None or each in there}
    requested = {each: upto for each, upto in wanted.items() if not is_retracted(by_people, each, upto)}
    already = tuple(each for each in ids if each not in requested and each in before)
    unknown = tuple(each for each in ids if each not in accepted and each not in before)
    return Known(requested, already, unknown)


def _requests(name: str, revisions: dict[str, int], reason: RetractionReason, note: str) -> "Iterable[tuple[str, Send]]":
    from headrace.core.events import Send  # noqa: PLC0415
    from headrace.core.topics import RETRACTION_REQUESTED  # noqa: PLC0415

    for sample_id, revision in revisions.items():
        request_id = str(uuid4())
        asked = RetractionRequested(name, sample_id, revision, reason.value, request_id, "headrace dataset retract", note)
        yield request_id, Send(RETRACTION_REQUESTED, asked)


def _named(samples: list[str], file: Path | None) -> list[str]:
    """The ids named, each once, in their order."""
    lines: list[str] = []
    if file is not None:
        with sys.stdin if str(file) == "-" else file.open(encoding="utf-8") as source:
            lines = [line.strip() for line in islice(source, SAMPLES_MAX + 1)]
    ids = [each for each in dict.fromkeys([*samples, *lines]) if each]
    if not ids:
        raise CannotDo("name samples to retract, or a file of them (--file)")
    if len(ids) > SAMPLES_MAX:
        raise CannotDo(f"more than {SAMPLES_MAX} samples: split the file")
    return ids


def _tell(name: str, reason: RetractionReason, known: Known) -> None:
    if known.requested:
        typer.echo(f"asked to retract from {name} ({reason.value}): {_some(known.requested)}")
        typer.echo(f"the next version leaves them out: `headrace dataset cut {name}`; earlier versions keep them until")
        typer.echo(f"`headrace dataset gc --forget {name} SAMPLE`")
    if known.already:
        typer.echo(f"retracted before: {_some(known.already)}")
    if known.unknown:
        typer.echo(f"not accepted, in the latest version or since, as far as datasets has staged: {_some(known.unknown)}")
        typer.echo("one that is still on its way (`headrace lag`) is retracted in advance by --revision N")


def _some(ids: Iterable[str]) -> str:
    every = [ascii(each)[1:-1] for each in ids]
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return f"{len(every)}: {', '.join(every[:_SHOWN])}{more}"
