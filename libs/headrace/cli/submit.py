"""`headrace submit`: files of JSON Lines into a dataset."""

import asyncio
import gzip
import json
import sys
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:  # gRPC costs a quarter of a second that `headrace --help` need not pay
    from headrace.client import Answer

app = typer.Typer()

LINE_BYTES_MAX = 8 * 1024 * 1024
"""A longer line is skipped here; what a gateway takes is its own setting, HEADRACE_GATEWAY_LINE_BYTES_MAX."""
_REFUSALS_SHOWN = 20
_QUIET_S = 3.0
"""A gateway that has not answered for so long is spoken of."""


@app.command()
def submit(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="JSON Lines, also .gz; - reads standard input.")],
    *,
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="The dataset's id.")],
    gateway: Annotated[
        str,
        typer.Option(
            envvar=["HEADRACE_GATEWAY", "HEADRACE_GATEWAY_GRPC_PORT"],
            help="The gateway's gRPC address, host:port; a port alone is on this machine.",
        ),
    ] = "8091",
    token: Annotated[str, typer.Option(envvar="HEADRACE_TOKEN", help="Bearer token, where the gateway asks for one.")] = "",
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for a gateway that is away.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print refusals and the summary as JSON Lines.")] = False,
) -> None:
    """Send samples to a dataset, one JSON object a line: messages, Alpaca, ShareGPT, prompt and completion, or chat logs.

    Every line is answered once Kafka has it. Bad lines are refused one by one, with file, line and reason, and the good ones go
    in. Sending a file again is safe: the same id and revision with the same content is never admitted twice, and a line without
    an id is known by its content. Once an id and revision was decided, other content under it is rejected (revision_conflict):
    count the revision up. One that was rejected may be sent again as it is, and is decided again. Ends with 1 when a line was
    refused.
    """
    from headrace.client import NotSubmitted  # noqa: PLC0415

    report = _Report(as_json=as_json)
    target = gateway if ":" in gateway else f"127.0.0.1:{gateway}"
    try:
        asyncio.run(_send(files, dataset, target, token, patience, report))
    except (OSError, EOFError, zlib.error) as error:
        report.fail(str(error))
    except NotSubmitted as error:
        hint = _hint(str(error), token=token) if error.unanswered else ""
        report.fail(f"{target}: {error}; {error.unanswered} samples have no answer, and may be sent again. {hint}".strip())
    report.finish()
    if report.refused or report.failed:
        raise typer.Exit(1)


def _hint(told: str, *, token: str) -> str:
    if told.startswith(("UNAUTHENTICATED", "PERMISSION_DENIED")):
        return "Is the token right (--token, HEADRACE_TOKEN)?" if token else "Give a token: --token, or HEADRACE_TOKEN."
    return "is HEADRACE_GATEWAY right, and does the gateway run?"


@dataclass
class _Report:
    """What became of the lines; refusals are told as they come."""

    as_json: bool
    received: int = 0
    refused: int = 0
    failed: str = ""
    codes: Counter[str] = field(default_factory=Counter)
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def refuse(self, place: "_Place", code: str, error: str) -> None:
        self.refused += 1
        self.codes[code] += 1
        if self.as_json:
            typer.echo(json.dumps({"file": place.file, "line": place.line, "code": code, "error": error}))
        elif self.refused <= _REFUSALS_SHOWN:
            self.console.print(f"{escape(str(place))}: [red]{code}[/red]: {escape(error)}", soft_wrap=True)

    def fail(self, message: str) -> None:
        self.failed = message

    def finish(self) -> None:
        if self.as_json:
            summary = {"received": self.received, "refused": self.refused, "codes": dict(self.codes), "failed": self.failed}
            typer.echo(json.dumps({"summary": summary}))
            return
        if self.refused > _REFUSALS_SHOWN:
            self.console.print(f"... and {self.refused - _REFUSALS_SHOWN} more; --json prints them all")
        if self.failed:
            self.console.print(f"[red]error:[/red] {escape(self.failed)}", soft_wrap=True)
        reasons = f" ({', '.join(f'{code} {count}' for code, count in self.codes.most_common())})" if self.codes else ""
        self.console.print(f"{self.received} received, {self.refused} refused{reasons}", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Place:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


async def _send(files: list[str], dataset: str, target: str, token: str, patience: float, report: _Report) -> None:
    from headrace.client import submit  # noqa: PLC0415

    places: dict[int, _Place] = {}
    samples = _samples(files, places, report)
    told = f"no answer from the gateway at {target} yet; it is waited for, at most {patience:g} s (--patience)"
    quiet = asyncio.get_running_loop().call_later(_QUIET_S, lambda: typer.echo(told, err=True))
    with closing(samples), _progress(report) as progress, ExitStack() as leaving:
        leaving.callback(quiet.cancel)
        task = progress.add_task("", total=None)
        async for answer in submit(dataset, samples, gateway=target, token=token, patience_s=patience):
            quiet.cancel()
            _take(answer, places.pop(answer.ref), report)
            progress.update(task, completed=report.received, description=f"{report.received} received, {report.refused} refused")


def _take(answer: "Answer", place: _Place, report: _Report) -> None:
    from headrace.client import Refused  # noqa: PLC0415

    if isinstance(answer, Refused):
        report.refuse(place, answer.code, answer.error)
    else:
        report.received += 1


def _samples(files: list[str], places: dict[int, _Place], report: _Report) -> Generator[bytes, None, None]:
    """The lines of all files, each remembered under its number until it is answered."""
    ref = 0
    for name in files:
        with _opened(name) as file:
            for number, line in _lines(file):
                place = _Place(name, number)
                if line is None:
                    report.refuse(place, "too_large", f"the line has more than {LINE_BYTES_MAX} bytes")
                elif line.strip():
                    places[ref] = place
                    ref += 1
                    yield line.rstrip(b"\r\n")


def _lines(file: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None for one that is too long, of which no more than the limit is ever held."""
    number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) <= LINE_BYTES_MAX:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES_MAX)
        yield number, None


def _opened(name: str) -> IO[bytes] | gzip.GzipFile:
    if name == "-":
        return sys.stdin.buffer
    if name.endswith(".gz"):
        return gzip.open(name, "rb")
    return Path(name).open("rb")


def _progress(report: _Report) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    shown = report.console.is_terminal and not report.as_json
    return Progress(*columns, console=report.console, transient=True, disable=not shown)
