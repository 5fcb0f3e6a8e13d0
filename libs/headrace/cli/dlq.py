"""`headrace dlq`: the records that services gave up, why, and the way back."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson

if TYPE_CHECKING:
    from headrace.runtime.delivery.redrive import DeadLetter, Which

app = typer.Typer(name="dlq", help="Look at dead letters, and send them back or discard them.", no_args_is_help=True)

_REASON_CHARS_MAX = 500

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="A dead-letter topic, as `headrace dlq ls` prints it.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many.")]
ErrorClass = Annotated[str, typer.Option(help="Only those with this error class, as `headrace dlq ls` prints them.")]
OfDataset = Annotated[str, typer.Option("--dataset", "-d", help="Only those of this dataset.")]
Offsets = Annotated[
    list[int] | None, typer.Option("--offset", min=0, help="Only the one at this offset, as `show` prints it; may be repeated.")
]


@app.command("ls")
def list_letters(*, as_json: AsJson = False) -> None:
    """List the dead-letter topics: how many letters, how many not redriven or discarded yet, and their errors."""
    rows = asyncio.run(_summaries())
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        errors = ", ".join(f"{name} {count}" for name, count in row["errors"].items())
        typer.echo(f"{row['topic']:<52} {row['letters']:>7} letters {row['pending']:>7} pending  {_printable(errors)}")
    if not rows:
        typer.echo("no dead letters")


@app.command()
def show(
    topic: Topic,
    *,
    offset: Annotated[int | None, typer.Option(min=0, help="Begin with the letter at this offset.")] = None,
    limit: Limit = 10,
    as_json: AsJson = False,
) -> None:
    """Show dead letters: where they came from, what went wrong, and what they hold."""
    for letter in asyncio.run(_letters(topic, offset, limit)):
        described = _described(letter)
        if as_json:
            typer.echo(json.dumps(described))
            continue
        for name, value in described.items():
            typer.echo(f"{name:<14} {_printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}")
        typer.echo("")


@app.command()
def redrive(
    topic: Topic,
    *,
    error_class: ErrorClass = "",
    dataset: OfDataset = "",
    offsets: Offsets = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Send the letters that were not answered yet back to the service that gave them up, oldest first: all, or those chosen.

    They keep their bytes, key, headers and first coordinates, and get all attempts again. Letters and the mark of which were
    answered move in one transaction: each goes back once, even when this is interrupted or run twice.
    """
    from headrace.runtime.delivery.redrive import redrive as send_back  # noqa: PLC0415

    sent = _answered(send_back, topic, limit, _chosen_by(error_class, dataset, offsets))
    typer.echo(json.dumps({"topic": topic, "redriven": sent}) if as_json else f"{sent} letters went back")


@app.command()
def discard(
    topic: Topic,
    *,
    reason: Annotated[str, typer.Option(help="Why; `show` tells it.")],
    error_class: ErrorClass = "",
    dataset: OfDataset = "",
    offsets: Offsets = None,
    limit: Limit = None,
    every: Annotated[bool, typer.Option("--all", help="All that were not answered yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mark letters as discarded, for good: redrive leaves them out, and they are no longer pending.

    They stay where they are, written once more with the reason, and stay dead letters in `headrace account`. Name which:
    --error-class, --dataset, --offset, or --all.
    """
    from headrace.runtime.delivery.redrive import discard as give_up  # noqa: PLC0415

    if not (every or error_class or dataset or offsets):
        raise typer.BadParameter("say which letters: --error-class, --dataset, --offset, or --all")
    answer = partial(give_up, reason=reason[:_REASON_CHARS_MAX])
    gone = _answered(answer, topic, limit, _chosen_by(error_class, dataset, offsets))
    typer.echo(json.dumps({"topic": topic, "discarded": gone}) if as_json else f"{gone} letters are discarded")


def _answered(answer: Callable[..., Coroutine[Any, Any, int]], topic: str, limit: int | None, which: "Which") -> int:
    from headrace.runtime.delivery.answered import TooScattered  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    try:
        return asyncio.run(answer(RuntimeSettings().kafka, _checked(topic), limit=limit, which=which))
    except TooScattered as error:
        raise CannotDo(str(error)) from error


def _chosen_by(error_class: str, dataset: str, offsets: list[int] | None) -> "Which":
    def is_chosen(letter: "DeadLetter") -> bool:
        return (
            (not error_class or letter.error_class == error_class)
            and (not offsets or letter.position.offset in offsets)
            and (not dataset or _dataset_of(letter) == dataset)
        )

    return is_chosen


def _dataset_of(letter: "DeadLetter") -> str:
    """Of which dataset it is: as its event says, or, at the door, as whoever sent it said in a header."""
    from headrace.adapters.wire import events as wire  # noqa: PLC0415
    from headrace.core.topics import TOPICS, KeyedBy  # noqa: PLC0415

    topic = next((topic for topic in TOPICS if letter.origin is not None and topic.name == letter.origin.topic), None)
    dossier = wire.dossier_in(topic.body, letter.value) if topic is not None and topic.body is not bytes else None
    if dossier is not None:
        return dossier.sample.dataset_id
    if topic is not None and topic.keyed_by is KeyedBy.DATASET:
        return (letter.key or b"").decode(errors="replace")
    return letter.headers.get("ce_dataset", "") or letter.headers.get("dataset", "")


async def _summaries() -> list[dict[str, Any]]:
    from headrace.adapters.kafka.admin import KafkaAdmin  # noqa: PLC0415
    from headrace.core.topics import DLQ_SUFFIX  # noqa: PLC0415
    from headrace.runtime.delivery.redrive import answered, dead_letters  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    bootstrap = settings.kafka
    with KafkaAdmin(bootstrap, start_s=settings.kafka_start_s) as admin:
        topics = [name for name in admin.topics() if name.endswith(DLQ_SUFFIX)]
    rows = []
    for topic in topics:
        done = await answered(bootstrap, topic)
        errors: Counter[str] = Counter()
        pending = 0
        async for letter in dead_letters(bootstrap, topic):
            if letter.discarded:  # the letter of before once more
                continue
            errors[letter.error_class] += 1
            pending += letter.position.offset not in done
        if errors:
            rows.append({"topic": topic, "letters": errors.total(), "pending": pending, "errors": dict(errors.most_common())})
    return rows


async def _letters(topic: str, offset: int | None, limit: int | None) -> "list[DeadLetter]":
    from headrace.runtime.delivery.redrive import dead_letters  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    letters = []
    async with aclosing(dead_letters(RuntimeSettings().kafka, _checked(topic), offset=offset)) as found:
        async for letter in found:
            letters.append(letter)
            if limit is not None and len(letters) >= limit:
                break
    return letters


def _checked(topic: str) -> str:
    from headrace.core.topics import DLQ_SUFFIX  # noqa: PLC0415

    if not topic.endswith(DLQ_SUFFIX):
        raise typer.BadParameter(f"{topic} is no dead-letter topic: they end in {DLQ_SUFFIX}, and `headrace dlq ls` prints them")
    return topic


def _described(letter: "DeadLetter") -> dict[str, Any]:
    return {
        "position": f"{letter.position.topic}[{letter.position.partition}]@{letter.position.offset}",
        "service": letter.service,
        "origin": None if letter.origin is None else asdict(letter.origin),
        "timestamp_ms": letter.origin_timestamp_ms,
        "attempts": letter.attempts,
        "error_class": letter.error_class,
        "error": letter.error,
        **({"discarded": letter.discarded} if letter.discarded else {}),
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "headers": dict(letter.headers),
        "bytes": len(letter.value or b""),
        "body": _body_of(letter),
    }


def _body_of(letter: "DeadLetter") -> Any:
    """The decoded body as JSON would have it, or the bytes as escaped text where they are no such event."""
    from headrace.adapters.wire import events as wire  # noqa: PLC0415
    from headrace.adapters.wire.envelope import DATA_REFERENCE  # noqa: PLC0415
    from headrace.core.topics import TOPICS  # noqa: PLC0415

    value = letter.value or b""
    if not value and DATA_REFERENCE in letter.headers:
        return f"in the object store: {letter.headers[DATA_REFERENCE]}"
    topic = next((topic for topic in TOPICS if letter.origin is not None and topic.name == letter.origin.topic), None)
    if topic is not None and topic.body is not bytes:
        try:
            return _plain(wire.decode(topic.body, value))
        except wire.Undecodable:
            pass
    return value.decode(errors="backslashreplace")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__ if name != "wire"}
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return f"{len(value)} bytes" if isinstance(value, bytes) else value


def _printable(text: str) -> str:
    """A letter holds whatever someone sent; it must not drive the terminal."""
    return "".join(_escaped(text))


def _escaped(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isprintable() else character.encode("unicode_escape").decode()
