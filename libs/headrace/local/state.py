"""The state folder: what a stack writes about itself, and how everyone else finds it."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

HOME = "HEADRACE_HOME"
"""Setting that names the state folder, by default .headrace in the working directory."""

_BROKER = "HEADRACE_KAFKA"
_found: dict[str, str] = {}
"""What `find_stack` put into the environment of this process."""

_FILE = "state.json"
_LOCK = "supervisor.lock"
_LOCK_S = 1.0


@dataclass(slots=True)
class ProcessState:
    """One part as the supervisor sees it.

    `state` is one of waiting, preparing, starting, up, unhealthy, restarting, failed, stopped, external. `since` is when it
    came up (seconds since the epoch), `created` identifies the process together with `pid`.
    """

    state: str = "waiting"
    detail: str = ""
    pid: int = 0
    created: float = 0.0
    since: float = 0.0
    restarts: int = 0
    ports: dict[str, int] = field(default_factory=dict)
    log: str = ""


@dataclass(slots=True)
class StackState:
    """The whole stack: `phase` is one of down, starting, up, failed, stopping."""

    phase: str = "down"
    pid: int = 0
    created: float = 0.0
    processes: dict[str, ProcessState] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def home_folder() -> Path:
    """The state folder the user means."""
    return Path(os.environ.get(HOME) or ".headrace").absolute()


def read_state(home: Path) -> StackState:
    """What was last written; a folder without a state is a stack that is down."""
    try:
        kept = json.loads((home / _FILE).read_text())
    except FileNotFoundError:
        return StackState()
    kept["processes"] = {name: ProcessState(**process) for name, process in kept["processes"].items()}
    return StackState(**kept)


def write_state(home: Path, state: StackState) -> None:
    """Replaces the state whole; readable by its owner only, since it holds the object store's key."""
    making = home / f"{_FILE}.making"
    with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(state), file, indent=1)
    making.replace(home / _FILE)


def is_supervised(home: Path) -> bool:
    """Whether a supervisor lives; it holds the lock for as long as it does, however it ends."""
    try:
        with (home / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def supervision(home: Path) -> Iterator[None]:
    """Holds the lock of the state folder.

    Raises:
        BlockingIOError: another supervisor holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK).open("a") as lock:
        _take(lock.fileno())
        yield


def _take(lock: int) -> None:
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # perhaps only someone who asks whether there is a supervisor
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def find_stack() -> bool:
    """Makes the settings of the stack that runs here (HEADRACE_HOME) this process's and its children's, where it has none itself.

    Whoever names a broker of his own in HEADRACE_KAFKA means another stack, so nothing is taken of this one. A stack that was
    found before and is gone, or has moved, is let go of. Says whether a stack runs here that is meant.
    """
    for name, value in _found.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    _found.clear()
    told = environment(home_folder())
    if not told or os.environ.get(_BROKER, told.get(_BROKER)) != told.get(_BROKER):
        return False
    _found.update({name: value for name, value in told.items() if name not in os.environ})
    os.environ.update(_found)
    return True


def environment(home: Path) -> dict[str, str]:
    """The settings (HEADRACE_*) by which a client finds the stack of this folder; none when it is not running."""
    return dict(read_state(home).environment) if is_supervised(home) else {}
