"""`headrace up`, `down`, `status` and `env`: the stack on this machine."""

import json
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson
from headrace.local.state import ProcessState, StackState, environment, home_folder, is_supervised, read_state

COMMANDS = frozenset({"up", "down", "status", "env"})
"""What acts on the stack itself, and therefore must see the user's own settings only."""

app = typer.Typer()
_BASE = "HEADRACE_TRAINER_BASE"
_COLOURS = {"up": "green", "external": "green", "failed": "red", "unhealthy": "red", "restarting": "yellow"}

Only = Annotated[str, typer.Option(help="Comma-separated parts to start, e.g. kafka,object-store; the rest stays down.")]
NoServices = Annotated[bool, typer.Option("--no-services", help="Start the servers only; run the services yourself.")]


@app.command()
def up(*, only: Only = "", no_services: NoServices = False) -> None:
    """Start Kafka, an object store, Triton and every service on this machine, and wait until all of them serve.

    Everything lives in one state folder, ./.headrace or $HEADRACE_HOME: data, logs, ports. `headrace down` keeps it, and
    the next `headrace up` finds it again. A server of your own replaces the local one when its setting is set:
    HEADRACE_KAFKA, HEADRACE_S3_ENDPOINT, HEADRACE_SCORING_TRITON, HEADRACE_CHAT_URL. README, "Servers of your own", tells
    what goes with each.

    Topics have one partition, since each service runs once. For more replicas (`headrace run`), before the first start:
    HEADRACE_PARTITIONS=4 headrace up.
    """
    from headrace.local.control import bring_down, require_running, start  # noqa: PLC0415
    from headrace.local.stack import part_names  # noqa: PLC0415

    home = home_folder()
    names = tuple(name for name in only.split(",") if name)
    unknown = sorted(set(names) - set(part_names()))
    if unknown:
        raise typer.BadParameter(
            f"no part is called {', '.join(unknown)}: there are {', '.join(part_names())}", param_hint="--only"
        )
    console = Console(stderr=True)
    if is_supervised(home):
        require_running(home, only=names, services=not no_services)
        console.print("up already · `headrace status` shows the parts")
        return
    starting = start(home, only=names, services=not no_services)
    came_up = False
    try:
        _show(starting.follow(), console)
        came_up = True
    finally:
        if not came_up:  # also on ctrl-C: nothing is left half up
            bring_down(home)
    console.print(f"up · logs in {home / 'logs'} · `headrace status` shows the parts, `headrace down` stops them")


@app.command()
def down() -> None:
    """Stop everything that `headrace up` started. The state folder stays: delete it to forget all data.

    Services finish or drop the batch in hand, then the servers end: up to half a minute, and what is waited for is told.
    """
    from headrace.local.control import bring_down  # noqa: PLC0415

    home = home_folder()
    killed = bring_down(home, lambda what: typer.echo(what, err=True))
    typer.echo(f"down · data kept in {home}" + (f" · killed leftovers: {', '.join(killed)}" if killed else ""), err=True)


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show the stack's processes: state, ports, uptime, restarts. Ends with 1 unless all of them serve.

    Below them the folder of the weights that training begins from. With --json also the settings by which other programs find
    the stack, as `headrace env` prints them.
    """
    home = home_folder()
    state = read_state(home)
    if not is_supervised(home):
        state.phase, state.processes, state.environment = "down", {}, {}
    if as_json:
        typer.echo(json.dumps(_plain(home, state), indent=1))
    elif state.phase == "down":
        typer.echo(f"down ({home}): `headrace up` starts the stack")
    else:
        Console().print(_table(state.processes))
        if base := state.environment.get(_BASE):
            Console().print(f"base model {base}", soft_wrap=True)
    if not is_serving(state):
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print the settings by which other programs find this stack: eval "$(headrace env)".

    The command line and the Python client find it by themselves, as long as they run in the same folder (or HEADRACE_HOME
    names the state folder) and HEADRACE_KAFKA is not set to another broker.

    What is printed holds secrets: the object store's key, and the keys and tokens among the HEADRACE_* settings that
    `headrace up` was started with.
    """
    told = environment(home_folder())
    if not told:
        raise CannotDo(f"no stack runs in {home_folder()}: `headrace up` starts one, HEADRACE_HOME names another folder")
    for name, value in sorted(told.items()):
        typer.echo(f"export {name}={shlex.quote(value)}")


def is_serving(state: StackState) -> bool:
    """Whether every part that should run serves."""
    states = {process.state for process in state.processes.values()}
    return state.phase == "up" and states <= {"up", "external", "stopped"}


def _show(states: Iterator[StackState], console: Console) -> None:
    """A table that changes on a terminal; elsewhere a line for each step."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            for state in states:
                live.update(_table(state.processes))
        return
    said: dict[str, tuple[str, str]] = {}
    for state in states:
        for name, process in state.processes.items():
            step = (process.state, process.detail)
            if process.state != "stopped" and said.get(name) != step:
                said[name] = step
                console.print(f"{name}: {process.state} {process.detail}".rstrip(), soft_wrap=True)


def _plain(home: Path, state: StackState) -> dict[str, object]:
    processes = {
        name: asdict(process) | {"uptime_s": round(_uptime_s(process), 1)}
        for name, process in state.processes.items()
        if process.state != "stopped"
    }
    return {
        "home": str(home),
        "phase": state.phase,
        "processes": processes,
        "base_model": state.environment.get(_BASE, ""),
        "environment": state.environment,
    }


def _table(processes: Mapping[str, ProcessState]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("part", "state", "pid", "ports", "uptime", "restarts", ""):
        table.add_column(column)
    for name, process in processes.items():
        if process.state != "stopped":
            colour = _COLOURS.get(process.state, "dim")
            ports = " ".join(f"{port_name}:{port}" for port_name, port in process.ports.items() if port_name in _SHOWN)
            uptime = f"{_uptime_s(process):.0f} s" if process.since else ""
            detail = process.detail.splitlines()[0][:60] if process.detail else ""
            table.add_row(
                name,
                f"[{colour}]{process.state}[/{colour}]",
                str(process.pid or ""),
                ports,
                uptime,
                str(process.restarts),
                detail,
            )
    return table


_SHOWN = frozenset({"broker", "s3", "grpc", "http", "health"})
"""The ports a user may want to talk to."""


def _uptime_s(process: ProcessState) -> float:
    return time.time() - process.since if process.since else 0.0
