"""What it takes to run one process of the stack, and how one is started and stopped."""

import glob
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

LOG_BYTES_MAX = 32 * 1024 * 1024
"""A log larger than this is set aside (one older copy is kept) when its process starts."""

_TAIL_LINES = 15
_TETHER = Path(__file__).with_name("tether.py")


class StackFailed(RuntimeError):
    """The stack cannot do what was asked; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part lives: its own folder under the state folder, its ports, its log, and what earlier parts told.

    `environment` holds the settings (HEADRACE_*) of the parts that were prepared before.
    """

    folder: Path
    log: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Launch:
    """A process ready to be started, in `folder` or, where that is None, in the working directory of the stack.

    `probe` returns when the process is able to serve and raises when it is not yet; `ready_s` is how long the first success
    may take. `stop_s` is how long it may take to end by itself after SIGTERM. `environment` is added to ours; `tells` is
    what everyone else has to know to use it. `litter` is files outside its folder that it does not remove itself, as glob
    patterns. `orphan_signal` ends it when we die without having stopped it.
    """

    command: tuple[str, ...]
    folder: Path | None
    log: Path
    probe: Callable[[], Coroutine[Any, Any, None]]
    ready_s: float
    stop_s: float = 15.0
    environment: Mapping[str, str] = field(default_factory=dict)
    tells: Mapping[str, str] = field(default_factory=dict)
    litter: tuple[str, ...] = ()
    orphan_signal: signal.Signals = signal.SIGTERM


Say = Callable[[str], None]
"""Tells the user about a step that takes a while."""


class Part(Protocol):
    """One server or service of the stack, before it has a place."""

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def port_names(self) -> tuple[str, ...]: ...

    def prepare(self, place: Place, say: Say) -> Launch:
        """Downloads, formats and writes what the process needs; safe to repeat.

        Raises:
            StackFailed: something is missing that only the user can provide.
        """
        ...


def spawn(launch: Launch) -> subprocess.Popen[bytes]:
    """Starts the process in a process group of its own, writing to its log.

    Call it from a thread that lives on: the kernel ends the process when the thread that started it ends.
    """
    launch.log.parent.mkdir(parents=True, exist_ok=True)
    _set_aside(launch.log)
    environment = {**os.environ, **launch.environment}
    command = tethered(launch.command, launch.orphan_signal)
    with launch.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  # the command is composed by the parts of this package
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=launch.folder, start_new_session=True
        )


def run_tool(command: tuple[str, ...], *, timeout_s: float, environment: Mapping[str, str] | None = None) -> None:
    """Runs a program that prepares something, and that ends when we do.

    Raises:
        StackFailed: it failed or took too long.
    """
    try:
        subprocess.run(  # noqa: S603  # the command is composed by the parts of this package
            tethered(command, signal.SIGKILL),
            capture_output=True, text=True, check=True, timeout=timeout_s, env={**os.environ, **(environment or {})},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise StackFailed(f"`{' '.join(command)}` took longer than {timeout_s:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise StackFailed(f"`{' '.join(command)}` failed:\n{(error.stdout + error.stderr)[-2000:]}") from error


def stop_group(process: subprocess.Popen[bytes], launch: Launch) -> None:
    """Ends the process and everything it started: SIGTERM, then SIGKILL when its time is over."""
    try:
        if process.poll() is None:
            signal_group(process.pid, signal.SIGTERM)
            process.wait(launch.stop_s)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also on ctrl-C: nothing is left behind
        clear(process, launch)


def clear(process: subprocess.Popen[bytes], launch: Launch) -> None:
    """Removes what a process leaves behind: its children, its entry in the process table, its litter."""
    # Once its entry is gone the number may be another's; while a child of it lives, the number is given to nobody.
    if process.returncode is None or not Path(f"/proc/{process.pid}").exists():
        signal_group(process.pid, signal.SIGKILL)
    process.wait()
    for pattern in launch.litter:
        for path in glob.glob(pattern):  # noqa: PTH207  # absolute patterns
            Path(path).unlink(missing_ok=True)


def signal_group(group: int, number: signal.Signals) -> None:
    """Signals a process group; one that is gone is no error."""
    if group <= 1:
        raise ValueError("0 would be our own group, 1 everyone's")
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])
    except OSError:
        return "(no log)"


def tethered(command: tuple[str, ...], orphan_signal: signal.Signals) -> tuple[str, ...]:
    """The command as one that the kernel signals when the process that starts it ends."""
    return (sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), str(orphan_signal.value), *command)


def _set_aside(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
