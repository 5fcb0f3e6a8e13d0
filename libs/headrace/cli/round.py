"""`headrace round`: begin rounds, watch them, halt them, and look back at them."""

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson, VersionName
from headrace.cli.version_reading import DatasetName

if TYPE_CHECKING:  # clients cost most of a second that `headrace --help` need not pay
    from collections.abc import AsyncIterator, Sequence

    from headrace.core.rounds.facts import Action
    from headrace.core.rounds.state import RoundState

app = typer.Typer(
    name="round",
    help="Survey a dataset with its model, have what the model cannot learn from mended, and keep what is better for it.",
    no_args_is_help=True,
)

RoundName = Annotated[
    str, typer.Option("--round", metavar="ROUND", help="A round's id or its beginning; left out: the running one, or the latest.")
]
Every = Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it stays with the round.")]
_ANSWER_S = 60.0


@app.command()
def start(
    dataset: DatasetName,
    *,
    version: VersionName = "",
    model: Annotated[
        str, typer.Option(envvar="HEADRACE_SCORING_MODEL", help="The model, as the model server names it.")
    ] = "signals",
    triton: Annotated[
        str, typer.Option(envvar="HEADRACE_SCORING_TRITON", help="The model server's gRPC address.")
    ] = "127.0.0.1:8001",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the round has ended, or froze.")] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not ask the chat endpoints (HEADRACE_CHAT_*) for a token each before.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Begin, too, where what measures was not trained on the version; the round says so.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Begin a round on the dataset's latest version, with the model version that measures now, under the policy's `rounds`.

    What measures must have been trained on that very version, without what the policy holds out: `headrace train DATASET`, or
    `headrace train DATASET --versions`, which stays and trains what rounds wait for. Otherwise the survey asks what an untrained
    model does not know, and the verdict compares it with a trained one.

    The round goes on by itself: survey, thresholds, rewrites, a new version, and where the policy says `train`, the wait for a
    checkpoint trained on that version and the verdict by its held-out loss. One round of a dataset at a time. With --wait the
    exit code is 0 for a round that was kept, else 1.

    What mends its rows is asked only after the survey, so each role's endpoint is asked for one token now, under this command's
    HEADRACE_CHAT_* settings, which should be those of refinement: a wrong address, key or model name ends the command.
    """
    from headrace.cli.round_reading import record_of_state  # noqa: PLC0415
    from headrace.cli.round_start import Asked, begin  # noqa: PLC0415

    state = asyncio.run(begin(Asked(dataset, version, model, triton, check=not no_check, anyway=anyway), _ANSWER_S))
    if wait:
        if not as_json:
            typer.echo(f"round {state.round_id} has begun")
        state = asyncio.run(_until_halted(dataset, state.round_id))
    if as_json:
        typer.echo(json.dumps(record_of_state(state)))
    else:
        _tell(state)
    if wait and state.phase != "kept":
        raise typer.Exit(1)


@app.command()
def watch(dataset: DatasetName, *, round_id: RoundName = "", every: Every = 1.0, as_json: AsJson = False) -> None:
    """Watch a round until it ends or freezes: phase, counts with rates, and the signals' histograms with their thresholds.

    While it is surveyed the histograms are of some of the rows measured so far, looked at every few seconds; from the selection
    on of all. Ctrl-C ends the watching and nothing else. With --json one line for every change.
    """
    try:
        asyncio.run(_watch(dataset, round_id, every, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def status(dataset: DatasetName, *, round_id: RoundName = "", as_json: AsJson = False) -> None:
    """Show a round as it stands: phase, reason, counts, thresholds, versions. The latest one where none is named."""
    from rich.console import Console  # noqa: PLC0415

    from headrace.cli.round_reading import bounds_of, chosen, read_states, record_of_state  # noqa: PLC0415
    from headrace.cli.round_view import RoundView  # noqa: PLC0415

    state = chosen(asyncio.run(read_states()), dataset, round_id)
    if as_json:
        typer.echo(json.dumps(record_of_state(state)))
        return
    view = RoundView()
    view.take(state)
    Console().print(view.render({}, {}))
    for column, bound in bounds_of(state).items():
        typer.echo(f"threshold of {column}: {bound:.6g}")


@app.command("ls")
def list_rounds(dataset: Annotated[str, typer.Argument(metavar="[DATASET]", help="One dataset; all where none is named.")] = "",
                *, as_json: AsJson = False) -> None:  # fmt: skip
    """List rounds, oldest first: what each measured, what it made, and how it ended."""
    from headrace.cli.round_reading import read_states, record_of_state  # noqa: PLC0415
    from headrace.cli.round_view import line_of  # noqa: PLC0415

    states = asyncio.run(read_states())
    found = states.of_dataset(dataset) if dataset else states.known()
    if as_json:
        typer.echo(json.dumps([record_of_state(state) for state in found]))
        return
    for state in found:
        typer.echo(line_of(state) if dataset else f"{state.dataset_id}  {line_of(state)}")
    if not found:
        typer.echo(f"no rounds yet: `headrace round start {dataset or 'DATASET'}` begins one")


@app.command()
def report(
    dataset: DatasetName,
    *,
    round_id: RoundName = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where a copy goes; else round-ROUND.html here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a round's report anew, as it stands, and fetch a copy: one HTML page that needs nothing else, for a browser.

    Distributions and thresholds, losses, a map of the embeddings, rewrites beside their parents, gains, costs, the held-out loss
    by round. The controller writes it too, whenever a round ends or freezes.
    """
    from headrace.cli.round_reading import write_report  # noqa: PLC0415

    key, path = asyncio.run(write_report(dataset, round_id, out))
    if as_json:
        typer.echo(json.dumps({"key": key, "file": str(path)}))
    else:
        typer.echo(f"{path}\nin the object store: {key}")


@app.command()
def freeze(dataset: DatasetName, *, reason: Why = "", as_json: AsJson = False) -> None:
    """Halt the running round where it is: what is under way goes on and is counted, and nothing new is asked for."""
    _ask(dataset, "freeze", reason, as_json=as_json)


@app.command()
def resume(dataset: DatasetName, *, reason: Why = "", as_json: AsJson = False) -> None:
    """Let a frozen round go on. Of a guard that froze it this is the waiver: it holds for the rest of the round.

    A round that froze because a step ended among the dead letters needs that letter sent back first: `headrace dlq ls` finds
    it, `headrace dlq redrive` sends it back.
    """
    _ask(dataset, "resume", reason, as_json=as_json)


@app.command()
def abort(
    dataset: DatasetName,
    *,
    reason: Why = "",
    revert: Annotated[bool, typer.Option("--revert", help="Take back what the round changed in the dataset.")] = False,
    as_json: AsJson = False,
) -> None:
    """End the running round here. What was accepted stays in the dataset, and rewrites under way go on to their decision.

    With --revert the round is undone first: rewrites under way end, then rows that were rewritten, evicted or dropped come back
    as revisions of their own, rows that were added leave, and a version is cut; what others sent meanwhile stands. It goes on by
    itself; `headrace round watch` shows it. Also of a round that has stopped or was rolled back already, while no other one runs.
    """
    _ask(dataset, "revert" if revert else "abort", reason, as_json=as_json)


def _ask(dataset: str, action: str, reason: str, *, as_json: bool) -> None:
    from headrace.cli.round_reading import record_of_state  # noqa: PLC0415
    from headrace.core.rounds.facts import Action  # noqa: PLC0415

    state = asyncio.run(_asked(dataset, Action(action), reason))
    if as_json:
        typer.echo(json.dumps(record_of_state(state)))
    else:
        _tell(state)


def _tell(state: "RoundState") -> None:
    from headrace.cli.round_view import line_of, meaning_of, training_of, undone_of, why_of  # noqa: PLC0415

    typer.echo(line_of(state))
    if state.reason:
        typer.echo(f"  {meaning_of(state)}")
    if state.detail:
        typer.echo(f"  {state.detail}")
    for line in (*training_of(state), *undone_of(state), *why_of(state)):
        typer.echo(f"  {line}")


async def _asked(dataset: str, action: "Action", reason: str) -> "RoundState":
    """The round's state after the request was taken in."""
    from headrace.adapters.kafka.streams import EventPublisher  # noqa: PLC0415
    from headrace.cli.round_reading import chosen, open_states  # noqa: PLC0415
    from headrace.core.events import Send  # noqa: PLC0415
    from headrace.core.rounds.facts import Action, RoundAsked, RoundProgressed  # noqa: PLC0415
    from headrace.core.rounds.state import Phase  # noqa: PLC0415
    from headrace.core.topics import ROUND_PROGRESSED  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    async with open_states() as states, EventPublisher(RuntimeSettings().kafka, "headrace/cli") as publisher:
        before = chosen(states, dataset)
        if action is Action.REVERT:
            _require_revertible(before)
        elif not before.running:
            raise CannotDo(f"no round of {dataset} runs: the latest, {before.round_id}, is {before.phase}")
        elif (action is Action.RESUME) != (before.phase is Phase.FROZEN) and action is not Action.ABORT:
            raise CannotDo(f"round {before.round_id} is {before.phase}: it cannot {action}")
        fact = RoundAsked(action, reason or "no reason given", "headrace round")
        send = Send(ROUND_PROGRESSED, RoundProgressed(dataset, before.round_id, fact))
        await publisher.publish(send, event_id=f"{action}/{uuid4()}")
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline:
            await states.refresh()
            if (answer := answered(states.of_dataset(dataset), action, before)) is not None:
                return answer
            await asyncio.sleep(0.1)
    raise CannotDo(f"nobody answers within {_ANSWER_S:g} s: `headrace status` says whether the controller runs")


def answered(known: "Sequence[RoundState]", action: "Action", before: "RoundState") -> "RoundState | None":
    """The state that answers a request, None while none does.

    Raises:
        CannotDo: the round moved on before the request came, by itself or for somebody else, and cannot be moved so any more.
    """
    from headrace.core.rounds.answers import Answer, answer_in  # noqa: PLC0415

    state = next(each for each in known if each.round_id == before.round_id)
    answer = answer_in(state, action, before)
    if answer is Answer.DONE:
        return state
    told = f"round {state.round_id} could not {action}: it was {state.phase} before it was asked"
    if answer is Answer.TOO_LATE:
        raise CannotDo(f"{told}{f' ({state.reason})' if state.reason else ''}")
    other = next((each for each in known if each.running and each.round_id != before.round_id), None)
    if not state.running and other is not None:
        raise CannotDo(f"{told}, and round {other.round_id} runs since")
    return None


def _require_revertible(state: "RoundState") -> None:
    from headrace.core.rounds.reverting import REVERTIBLE  # noqa: PLC0415
    from headrace.core.rounds.state import Phase  # noqa: PLC0415

    if state.working_in is Phase.REVERTING:
        raise CannotDo(f"round {state.round_id} is being undone: `headrace round watch {state.dataset_id}`, or resume it")
    if not state.running and state.phase not in REVERTIBLE:
        raise CannotDo(f"round {state.round_id} was {state.phase}: its rows are the dataset's, and it cannot be undone")
    if not state.running and not state.rewrites.rows_asked:
        raise CannotDo(f"round {state.round_id} ended before it changed anything: there is nothing to undo")


async def _until_halted(dataset: str, round_id: str) -> "RoundState":
    from headrace.cli.round_reading import open_states  # noqa: PLC0415

    async with open_states() as states:
        while True:
            state = states.state_of(dataset, round_id)
            if state is not None and _is_halted(state):
                return state
            await asyncio.sleep(0.5)
            await states.refresh()


def _is_halted(state: "RoundState") -> bool:
    from headrace.core.rounds.state import Phase  # noqa: PLC0415

    return not state.running or state.phase is Phase.FROZEN


async def _watch(dataset: str, name: str, every: float, *, as_json: bool) -> None:
    from headrace.cli.round_reading import chosen, open_states  # noqa: PLC0415

    async with open_states() as states:
        round_id = chosen(states, dataset, name).round_id

        async def looks() -> "AsyncIterator[RoundState]":
            while True:
                state = chosen(states, dataset, round_id)
                yield state
                if _is_halted(state):
                    return
                await asyncio.sleep(every)
                await states.refresh()

        await (_print_changes(looks()) if as_json else _show(looks()))


async def _print_changes(looks: "AsyncIterator[RoundState]") -> None:
    from headrace.cli.round_reading import record_of_state  # noqa: PLC0415

    shown = None
    async for state in looks:
        if state != shown:
            typer.echo(json.dumps(record_of_state(state)))
        shown = state


async def _show(looks: "AsyncIterator[RoundState]") -> None:
    from rich.live import Live  # noqa: PLC0415

    from headrace.cli.round_reading import Histograms, bounds_of  # noqa: PLC0415
    from headrace.cli.round_view import RoundView  # noqa: PLC0415

    view = RoundView()
    histograms = Histograms()
    with Live(auto_refresh=False) as live:
        async for state in looks:
            view.take(state)
            live.update(view.render(await histograms.of(state, time.monotonic()), bounds_of(state)), refresh=True)
