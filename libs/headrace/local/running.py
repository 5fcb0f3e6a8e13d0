"""Runs one part without a supervisor, for as long as a `with` block lasts: what tests and benchmarks use."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from headrace.local.launch import Launch, Part, Place, StackFailed, spawn, stop_group, tail
from headrace.local.ports import free_port

_PAUSE_S = 0.1


@contextmanager
def running(part: Part, folder: Path, environment: Mapping[str, str] | None = None, *, killed: bool = False) -> Iterator[Launch]:
    """Starts the part under the folder on free ports, waits until it serves, and stops it at the end, whatever happens.

    If `killed`, it is given no time to end by itself: for whoever does not look at what it leaves behind.

    Raises:
        StackFailed: it did not come up.
    """
    taken: set[int] = set()
    ports = {}
    for port_name in part.port_names:
        ports[port_name] = free_port(taken)
        taken.add(ports[port_name])
    place = Place(folder / part.name, folder / "logs" / f"{part.name}.log", ports, environment or {})
    launch = part.prepare(place, lambda _: None)
    with started(replace(launch, stop_s=0.0) if killed else launch) as serving:
        yield serving


@contextmanager
def started(launch: Launch) -> Iterator[Launch]:
    """Starts a prepared process and waits until it serves; stops it at the end."""
    process = spawn(launch)
    try:
        deadline = time.monotonic() + launch.ready_s
        while not _serves(launch):
            if process.poll() is not None:
                raise StackFailed(f"it ended with {process.returncode} before it could serve:\n{tail(launch.log)}")
            if time.monotonic() > deadline:
                raise StackFailed(f"it did not serve within {launch.ready_s:.0f} s:\n{tail(launch.log)}")
            time.sleep(_PAUSE_S)
        yield launch
    finally:
        stop_group(process, launch)


def _serves(launch: Launch) -> bool:
    try:
        asyncio.run(launch.probe())
    except OSError:
        return False
    return True
