"""Starts and stops a supervisor from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.local.checkout import require_linux
from headrace.local.launch import StackFailed, tail
from headrace.local.processes import is_same, kill_recorded
from headrace.local.stack import plan
from headrace.local.state import ProcessState, StackState, is_supervised, read_state, write_state

STOP_S = 60.0
"""Longest wait for a supervisor to take everything down before it is killed."""
_POLL_S = 0.1
_TELL_S = 3.0


@dataclass(frozen=True, slots=True)
class Starting:
    """A supervisor that was just started."""

    home: Path
    process: subprocess.Popen[bytes]
    log: Path

    def follow(self) -> Iterator[StackState]:
        """The state of the stack again and again, until it is up.

        Raises:
            StackFailed: a part failed, or the supervisor ended.
        """
        while True:
            ended = self.process.poll() is not None
            state = read_state(self.home)
            if ended:
                raise StackFailed(f"the supervisor ended:\n{tail(self.log)}")
            if state.pid == self.process.pid:
                yield state
                if state.phase == "failed":
                    raise StackFailed(_failures(state))
                if state.phase == "up":
                    return
            time.sleep(_POLL_S)


def start(home: Path, *, only: tuple[str, ...] = (), services: bool = True) -> Starting:
    """Starts a supervisor in the background, with our environment and working directory.

    Raises:
        StackFailed: one is running already, or this machine cannot run the servers.
    """
    require_linux()
    if is_supervised(home):
        raise StackFailed(f"the stack of {home} is up already: `headrace status` shows it, `headrace down` stops it")
    log = home / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "headrace.local.supervisor", str(home), "--only", ",".join(only)]
    if not services:
        command.append("--no-services")
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  # our own module
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return Starting(home, process, log)


def require_running(home: Path, *, only: tuple[str, ...], services: bool) -> None:
    """Checks that the stack that is up has every part asked for.

    Raises:
        StackFailed: it has not.
    """
    planned = plan(os.environ, only=only, services=services)
    wanted = {*planned.external, *(part.name for part in planned.parts)}
    missing = wanted - {name for name, process in read_state(home).processes.items() if process.state != "stopped"}
    if missing:
        names = ", ".join(sorted(missing))
        raise StackFailed(f"the stack of {home} is up already, without {names}: `headrace down`, then `headrace up` again")


def bring_down(home: Path, tell: Callable[[str], None] = lambda _: None) -> list[str]:
    """Stops the stack of this folder and everything that an earlier one left behind; returns the names of what was killed.

    `tell` is told every few seconds which parts have not ended yet.

    Raises:
        StackFailed: something refuses to end.
    """
    deadline, told = time.monotonic() + STOP_S, time.monotonic()
    while is_supervised(home):
        state = read_state(home)
        if time.monotonic() - told > _TELL_S:
            told = time.monotonic()
            tell(_waited_for(state))
        if is_same(state.pid, state.created):
            os.kill(state.pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        if time.monotonic() > deadline + STOP_S:
            raise StackFailed(f"the supervisor (pid {state.pid}) does not end: kill it, then `headrace down` again")
        time.sleep(_POLL_S)
    state = read_state(home)
    killed = kill_recorded(state)
    if state.phase != "down":
        _record_down(home, state)
    return killed


def _waited_for(state: StackState) -> str:
    """Services finish the batch in hand first; servers are stopped once no service needs them."""
    left = [name for name, process in state.processes.items() if process.pid]
    return f"waits for {', '.join(left)}" if left else "waits for the supervisor"


def _record_down(home: Path, state: StackState) -> None:
    state.phase, state.pid = "down", 0
    for process in state.processes.values():
        process.state, process.pid = "stopped", 0
    write_state(home, state)


def _failures(state: StackState) -> str:
    failed = {name: process for name, process in state.processes.items() if process.state == "failed"}
    return "\n".join(f"{name}: {process.detail}" + _log_of(process) for name, process in failed.items())


def _log_of(process: ProcessState) -> str:
    return f"\n(log: {process.log})" if Path(process.log).exists() else ""
