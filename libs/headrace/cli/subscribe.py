"""`headrace subscribe`: what trainers see, in a terminal or a pipe."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.options import AsJson

if TYPE_CHECKING:  # the Kafka client costs most of a second that `headrace --help` need not pay
    from headrace.client import Item

app = typer.Typer()

_SHOWN_CHARS = 100


@app.command()
def subscribe(
    dataset: Annotated[str, typer.Argument(help="The dataset's id.")],
    *,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="beginning; latest, or a version's number, tag or id: its rows, then what came after; now; or a position.",
        ),
    ] = "beginning",
    follow: Annotated[bool, typer.Option(help="Wait for what is accepted later; else end where the stream ends now.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print accepted samples as trainers get them, and those that are taken back. Ctrl-C ends it.

    The last line, on standard error, is the position behind what was printed: `--from POSITION` goes on from there.
    """
    from headrace.client import subscribe as subscribed  # noqa: PLC0415

    with subscribed(dataset, start=start, follow=follow) as items:
        try:
            for count, item in enumerate(items, 1):
                typer.echo(json.dumps(_fields(item), ensure_ascii=False) if as_json else _line(item))
                if count == limit:
                    break
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:  # `| head` has seen enough
            sys.stderr.close()
            raise typer.Exit(0) from None
        if items.position is not None:
            typer.echo(f"position {items.position}", err=True)


def _fields(item: "Item") -> dict[str, Any]:
    from headrace.client import Accepted  # noqa: PLC0415

    if isinstance(item, Accepted):
        return {"change": "accepted", **item.row()}
    return {"change": "retracted", "sample_id": item.sample_id, "revision": item.revision, "reason": item.reason}


def _line(item: "Item") -> str:
    from headrace.client import Accepted  # noqa: PLC0415

    if isinstance(item, Accepted):
        text = " | ".join(f"{turn['role']}: {turn['content']}" for turn in item.messages)
        return f"{item.sample_id} r{item.revision}  {json.dumps(text[:_SHOWN_CHARS], ensure_ascii=False)}"
    return f"{item.sample_id} r{item.revision}  taken back: {item.reason}"
