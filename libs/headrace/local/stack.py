"""What a stack consists of: which parts there are, which the user replaces by servers of their own, on which ports they go."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.local.chat import Chat
from headrace.local.kafka import Kafka
from headrace.local.launch import Part, Place, StackFailed
from headrace.local.object_store import ObjectStore
from headrace.local.ports import free_port, is_free
from headrace.local.services import LocalService, service_names
from headrace.local.signals import Signals
from headrace.local.state import StackState

EXTERNAL: Mapping[str, str] = {
    "kafka": "HEADRACE_KAFKA",
    "object-store": "HEADRACE_S3_ENDPOINT",
    "triton": "HEADRACE_SCORING_TRITON",
    "chat": "HEADRACE_CHAT_URL",
}
"""The setting that, where it is set, names a server of the user's own; the local one is then not started."""


NEEDED_BY: Mapping[str, str] = {"chat": "refinement"}
"""Servers that are started for the sake of one service; without it only where they are named."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts to start, in order of dependency, and the addresses of those that are the user's own."""

    parts: tuple[Part, ...]
    external: Mapping[str, str]


def server_parts() -> tuple[Part, ...]:
    """The servers, each a process."""
    return (Kafka(), ObjectStore(), Signals(), Chat())


def part_names() -> tuple[str, ...]:
    """Everything that `headrace up --only` may name."""
    return (*(part.name for part in server_parts()), *service_names())


def plan(settings: Mapping[str, str], *, only: Iterable[str] = (), services: bool = True) -> Plan:
    """What to start under these environment variables.

    Raises:
        StackFailed: `only` names something that is not a part.
    """
    servers = server_parts()
    asked = set(only)
    unknown = sorted(asked - set(part_names()))
    if unknown:
        raise StackFailed(f"no part is called {', '.join(unknown)}: there are {', '.join(part_names())}")
    external = {name: settings[variable] for name, variable in EXTERNAL.items() if settings.get(variable)}
    names = set(service_names()) if services else set()
    defaults = {part.name for part in servers if NEEDED_BY.get(part.name) in {None, *names}}
    wanted = [part for part in servers if part.name not in external and part.name in (asked or defaults)]
    if services:
        needs = tuple(part.name for part in wanted)
        wanted += [LocalService(name, needs) for name in service_names() if not asked or name in asked]
    return Plan(tuple(wanted), external)


def place_parts(parts: Iterable[Part], home: Path, earlier: StackState) -> dict[str, Place]:
    """A folder, a log and ports for each part; the ports of the last time where they are still free."""
    taken: set[int] = set()
    places = {}
    for part in parts:
        kept = earlier.processes[part.name].ports if part.name in earlier.processes else {}
        ports = {}
        for name in part.port_names:
            port = kept.get(name, 0)
            ports[name] = port if port and port not in taken and is_free(port) else free_port(taken)
            taken.add(ports[name])
        places[part.name] = Place(home / part.name, home / "logs" / f"{part.name}.log", ports)
    return places
