"""The whole spine as real processes that a test can kill, pause and wake: broker, object store, model server, services."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psutil

from headrace.adapters.kafka.accounts import Accounts
from headrace.adapters.object_store import ObjectStoreSettings
from headrace.core.ledger import Account
from headrace.local.kafka import Kafka, kafka_cluster
from headrace.local.launch import Launch, Part, Place, clear, spawn, stop_group, tail
from headrace.local.object_store import ObjectStore
from headrace.local.ports import LOCALHOST, free_port
from headrace.local.probes import port_answers
from headrace.local.services import LocalService, service_names
from tests.e2e.store_gate import StoreGate

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class StubTriton:
    """A model server that answers at once with signals derived from the text: the same text, the same signals."""

    versions: int = 1
    name: str = "triton"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ("grpc",)

    def prepare(self, place: Place, _: object) -> Launch:
        address = f"{LOCALHOST}:{place.ports['grpc']}"
        return Launch(
            command=(sys.executable, "-m", "tests.fakes.triton_server", "--address", address, "--versions", str(self.versions)),
            log=place.log,
            folder=ROOT,
            environment={"PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}"},
            probe=partial(port_answers, LOCALHOST, str(place.ports["grpc"])),
            ready_s=30,
            tells={"HEADRACE_SCORING_TRITON": address},
        )


@dataclass(slots=True)
class Running:
    """One process of the spine."""

    launch: Launch
    process: subprocess.Popen[bytes]
    started_at: float = field(default_factory=time.monotonic)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Spine:
    """Starts the parts in order and keeps them by name."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        # More partitions than a laptop's stack has: a service loses and takes over several at a time.
        self.environment: dict[str, str] = {"HEADRACE_PARTITIONS": "4", **(settings or {})}
        self.parts: dict[str, Running] = {}
        self.brokers: tuple[str, ...] = ()
        self.store_gate: StoreGate | None = None
        self._taken: set[int] = set()

    @classmethod
    @contextlib.contextmanager
    def up(
        cls,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        brokers: int = 1,
        triton: Part | None = None,
        *,
        gated: bool = False,
    ) -> Iterator["Spine"]:
        """The whole spine, serving; stopped at the end whatever happens. Without `triton` a stub measures.

        Refinement has nothing to do where the settings name no chat endpoint, and is left out. If `gated`, the object store is
        reached through `store_gate`, which can refuse writes.
        """
        spine = cls(folder, settings)
        gates = contextlib.ExitStack()
        try:
            cluster: tuple[Part, ...] = (Kafka(),) if brokers == 1 else kafka_cluster(brokers, spine._taken)
            for broker in cluster:  # together: a cluster serves when most of it is there
                spine.start(broker, wait=False)
            spine.brokers = tuple(broker.name for broker in cluster)
            for name in spine.brokers:
                spine.wait_until_it_serves(name)
            for server in (ObjectStore(), triton or StubTriton()):
                spine.start(server)
            if gated:
                spine.store_gate = gates.enter_context(StoreGate.opened(spine.environment["HEADRACE_S3_ENDPOINT"]))
                spine.environment["HEADRACE_S3_ENDPOINT"] = spine.store_gate.address
            spine.headrace("topics", "create")
            for name in spine.services:
                spine.start(LocalService(name, ()), wait=False)
            for name in spine.services:
                spine.wait_until_it_serves(name)
            yield spine
        finally:
            spine.stop()
            gates.close()

    @property
    def services(self) -> tuple[str, ...]:
        """The services that run here."""
        return tuple(name for name in service_names() if name != "refinement" or "HEADRACE_CHAT_URL" in self.environment)

    @contextlib.contextmanager
    def replica(self, service: str) -> Iterator[str]:
        """A second process of a service, by whose name it is known here; it leaves its groups when the block ends."""
        name = f"{service}-2"
        self.start(LocalService(service, ()), name=name, settings={"HEADRACE_INSTANCE": name})
        try:
            yield name
        finally:
            running = self.parts.pop(name)
            stop_group(running.process, running.launch)

    def start(self, part: Part, *, wait: bool = True, name: str = "", settings: Mapping[str, str] | None = None) -> None:
        """Starts it, with these settings beside the spine's; its own name is the part's where none is given."""
        name = name or part.name
        ports = {}
        for port_name in part.port_names:
            ports[port_name] = free_port(self._taken)
            self._taken.add(ports[port_name])
        environment = {**self.environment, **(settings or {})}
        place = Place(self.folder / name, self.folder / "logs" / f"{name}.log", ports, environment)
        launch = part.prepare(place, lambda _: None)
        self.environment |= launch.tells
        self.parts[name] = Running(launch, spawn(launch))
        if wait:
            self.wait_until_it_serves(name)

    def wait_until_it_serves(self, name: str) -> None:
        running = self.parts[name]
        deadline = time.monotonic() + running.launch.ready_s
        while True:
            try:
                return asyncio.run(running.launch.probe())
            except OSError:
                time.sleep(0.1)
            log = tail(running.launch.log)
            assert running.process.poll() is None, f"{name} ended with {running.process.returncode}:\n{log}"
            assert time.monotonic() < deadline, f"{name} does not serve:\n{log}"

    def kill(self, name: str) -> None:
        """SIGKILL, to the process and all it started."""
        running = self.parts[name]
        running.signal(signal.SIGKILL)
        running.process.wait()
        clear(running.process, running.launch)

    def restart(self, name: str, settings: Mapping[str, str] | None = None) -> None:
        """Starts it again, from now on with these settings beside those it had."""
        launch = self.parts[name].launch
        if settings:
            launch = replace(launch, environment={**launch.environment, **settings})
        self.parts[name] = Running(launch, spawn(launch))

    def revive(self) -> None:
        """Starts again what has ended by itself."""
        for name, running in list(self.parts.items()):
            if running.process.poll() is not None:
                clear(running.process, running.launch)
                self.restart(name)

    def pause(self, name: str) -> None:
        self.parts[name].signal(signal.SIGSTOP)

    def wake(self, name: str) -> None:
        self.parts[name].signal(signal.SIGCONT)

    def rss_mb(self, name: str) -> float:
        """Resident memory of one part, with all its children, in MiB."""
        process = psutil.Process(self.parts[name].process.pid)
        return sum(p.memory_info().rss for p in (process, *process.children(recursive=True))) / 2**20

    def headrace(self, *arguments: str, stdin: str | None = None) -> str:
        """The `headrace` command against this spine; returns what it printed."""
        result = subprocess.run(
            (sys.executable, "-m", "headrace.cli.main", *arguments),
            input=stdin, capture_output=True, text=True, check=False, timeout=300,
            env=self.environment_of_commands(),
        )  # fmt: skip
        assert result.returncode == 0, f"headrace {' '.join(arguments)}: {result.stdout}{result.stderr}"
        return result.stdout

    def environment_of_commands(self) -> dict[str, str]:
        """What a `headrace` command needs to find this spine and no other."""
        return {**os.environ, **self.environment, "HEADRACE_HOME": str(self.folder / "home")}

    def store_settings(self) -> ObjectStoreSettings:
        """How a test finds the object store of this spine."""
        told = {name: value for name, value in self.environment.items() if name.startswith("HEADRACE_S3_")}
        return ObjectStoreSettings.model_validate({name.removeprefix("HEADRACE_S3_").lower(): told[name] for name in told})

    async def settled(self, dataset: str, count: int) -> Account:
        """The dataset's account, once so many samples were submitted and every one has ended."""
        async with Accounts.opened(self.environment["HEADRACE_KAFKA"]) as accounts:
            deadline = time.monotonic() + 240
            while True:
                account = (await accounts.catch_up()).account(dataset)
                if account.submitted >= count and not account.in_flight:
                    return account
                assert time.monotonic() < deadline, f"still in flight: {account}"
                await asyncio.sleep(0.5)

    def stop(self) -> None:
        """Ends all of it at once: nobody looks at what it leaves behind."""
        for running in self.parts.values():
            running.signal(signal.SIGKILL)
        for running in self.parts.values():
            clear(running.process, running.launch)
