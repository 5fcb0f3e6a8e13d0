"""Runs services: what every process of Headrace starts with."""

import asyncio
import gc
import importlib
import importlib.util
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError
from pydantic import ValidationError

from headrace.adapters.claim_check import LargeBodies
from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.unreachable import BrokerUnreachable, no_answer
from headrace.core.topics import dlq_topic_name, retry_topic_name
from headrace.runtime.delivery import Hop
from headrace.runtime.health import Health
from headrace.runtime.large_bodies import large_bodies
from headrace.runtime.logs import configure_logging
from headrace.runtime.policies import PolicyBook
from headrace.runtime.repeats import Repeats
from headrace.runtime.roll_outs import RollOutBook
from headrace.runtime.service import Ping, Service
from headrace.runtime.settings import DeliverySettings, RuntimeSettings, setting_problems
from headrace.runtime.telemetry import Telemetry

_log = logging.getLogger("headrace.runtime")
_TOPICS_AGAIN_S = 0.5
_ADMIN_S = 3.0
"""A thread cannot be interrupted, so each look at the topics is short."""
GARBAGE_AFTER = 5_000
"""Python looks for cycles after so many new objects. A batch in hand is some thousands that are no garbage; by Python's own
700 it would be gone through again and again, which costs up to a quarter of a service's time."""


class CannotStart(Exception):
    """A service cannot start; the message is one line and names what to change."""


@dataclass
class Runtime:
    """What a service's `open_service(runtime)` is given.

    `policies` and `roll_outs` are started once some service has asked for them, before the first record is handed out; a
    service that needs one while it opens awaits its `start()` itself. `telemetry` is told of every batch. `large_bodies` is
    for whoever publishes or reads events outside a subscription.
    """

    settings: RuntimeSettings
    delivery: DeliverySettings
    telemetry: Telemetry = field(default_factory=Telemetry)
    _book: PolicyBook | None = None
    _roll_outs: RollOutBook | None = None
    _large_bodies: LargeBodies | None = None

    @property
    def large_bodies(self) -> LargeBodies:
        """Where bodies lie that are too large for a record; opened when the first one comes."""
        if self._large_bodies is None:
            self._large_bodies = large_bodies(self.delivery)
        return self._large_bodies

    @property
    def policies(self) -> PolicyBook:
        """The standing policies, `policies.policy_of(dataset_id)`."""
        if self._book is None:
            self._book = PolicyBook(self.settings)
        return self._book

    @property
    def roll_outs(self) -> RollOutBook:
        """Which version of a model measures, `roll_outs.version_of(model)`."""
        if self._roll_outs is None:
            self._roll_outs = RollOutBook(self.settings)
        return self._roll_outs

    async def open_books(self, stack: AsyncExitStack) -> None:
        """Starts the policies and the roll-outs if a service has asked for them."""
        for book in (self._book, self._roll_outs):
            if book is not None:
                stack.push_async_callback(book.stop)
                await book.start()


OpenService = Callable[[Runtime], AbstractAsyncContextManager[Service]]


class ServiceProcess:
    """One process that runs one or several services until it is told to stop."""

    def __init__(self, names: Sequence[str], settings: RuntimeSettings, delivery: DeliverySettings) -> None:
        self.names = tuple(names)
        self.health_port = 0
        self._settings = settings
        self._delivery = delivery
        self._stop = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Runs until `stop`; then finishes or drops the batches in hand, and closes everything in the reverse order.

        Raises:
            CannotStart, BrokerUnreachable: a service cannot start.
        """
        openers = [opener_of(name) for name in self.names]
        telemetry = Telemetry.from_settings("+".join(self.names), self._settings.otlp_endpoint)
        runtime = Runtime(self._settings, self._delivery, telemetry)
        self._starting = asyncio.current_task()
        async with AsyncExitStack() as stack:
            stack.callback(telemetry.close)
            stack.push_async_callback(runtime.large_bodies.aclose)
            health = await self._serve_health(stack)
            services = [await stack.enter_async_context(opener(runtime)) for opener in openers]
            await runtime.open_books(stack)
            await self._check_topics(services)
            hops = hops_of(services, runtime)
            await self._dismiss_predecessor(hops)
            stack.push_async_callback(_stop_all, hops)
            await _start_all(hops)
            self._starting = None
            health.pings = pings_of(services)
            health.reasons = lambda: {hop.name: why for hop in hops if (why := hop.unready()) is not None}
            _log.info("%s: %d subscriptions run", "+".join(self.names), len(hops))
            await self._stop.wait()
            health.reasons = lambda: {"process": "stops"}

    def stop(self) -> None:
        """Asks for a graceful stop; while the services are still starting, they are given up at once."""
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()

    async def _serve_health(self, stack: AsyncExitStack) -> Health:
        health = Health()
        stack.push_async_callback(health.stop)
        host, port = self._settings.host, self._settings.health_port
        try:
            self.health_port = await health.start(host, port)
        except OSError as error:
            raise CannotStart(f"cannot serve health on {host}:{port}: {error}; HEADRACE_HEALTH_PORT says where") from error
        _log.info("health is served on http://%s:%d/readyz", host, self.health_port)
        return health

    async def _check_topics(self, services: Sequence[Service]) -> None:
        """Waits until every topic that the services read or dead-letter to is there."""
        needed = {
            name
            for service in services
            for each in service.subscriptions
            for name in (
                each.topic.name,
                retry_topic_name(each.topic.name, each.group),
                dlq_topic_name(each.topic.name, each.group),
            )
        }
        problem = str(no_answer(self._settings.kafka, self._settings.kafka_start_s))
        try:
            async with asyncio.timeout(self._settings.kafka_start_s):
                while problem := await asyncio.to_thread(self._missing, needed):  # noqa: ASYNC110  # the broker tells nobody
                    await asyncio.sleep(_TOPICS_AGAIN_S)
        except TimeoutError:
            raise BrokerUnreachable(problem) from None

    async def _dismiss_predecessor(self, hops: Sequence[Hop]) -> None:
        """Members of this very instance are dead: there is one process of it, and this is it."""
        if self._settings.instance:
            dismissed = await asyncio.to_thread(self._dismissed, {hop.group_id: hop.client_id for hop in hops})
            if dismissed:
                _log.info("%d memberships of a predecessor that died are ended (HEADRACE_INSTANCE)", dismissed)

    def _dismissed(self, client_ids: Mapping[str, str]) -> int:
        try:
            with KafkaAdmin(self._settings.kafka, start_s=_ADMIN_S) as admin:
                return admin.dismiss(client_ids)
        except BrokerUnreachable as error:
            _log.warning("a predecessor that died, if there is one, is waited for until its session ends: %s", error)
            return 0

    def _missing(self, needed: set[str]) -> str:
        try:
            with KafkaAdmin(self._settings.kafka, start_s=_ADMIN_S) as admin:
                missing = needed - set(admin.topics())
        except BrokerUnreachable:
            return str(no_answer(self._settings.kafka, self._settings.kafka_start_s))
        if not missing:
            return ""
        return f"Kafka at {self._settings.kafka} lacks {len(missing)} topics ({min(missing)}, ...): run `headrace topics create`"


def run_services(names: Sequence[str]) -> int:
    """Runs services in this process until SIGTERM or SIGINT; returns the exit code.

    What keeps them from starting is one line on standard error.
    """
    try:
        settings, delivery = RuntimeSettings(), DeliverySettings()
        configure_logging("+".join(names), settings.log_format)
        for handler in logging.getLogger().handlers:
            handler.addFilter(Repeats("aiokafka", "kafka"))
        import uvloop  # noqa: PLC0415  # an extension module that only a running service needs

        gc.set_threshold(GARBAGE_AFTER)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run_until_signal(names, settings, delivery))
    except (CannotStart, BrokerUnreachable) as error:
        print(f"headrace run {' '.join(names)}: {error}", file=sys.stderr)  # noqa: T201  # the line a person reads
        return 1
    except ValidationError as error:
        print(f"headrace run {' '.join(names)}: {setting_problems(error)}", file=sys.stderr)  # noqa: T201  # likewise
        return 1
    return 0


def pings_of(services: Sequence[Service]) -> dict[str, Ping]:
    """Every ping of every service: two services may call what they wait for alike."""
    return {f"{service.name}: {name}": ping for service in services for name, ping in service.pings.items()}


def hops_of(services: Sequence[Service], runtime: Runtime) -> list[Hop]:
    """One hop for each subscription, not started."""
    return [
        Hop(
            subscription,
            runtime.settings.kafka,
            runtime.delivery,
            observer=runtime.telemetry,
            ping=_ping_of_all(service, runtime.large_bodies.ping),
            large_bodies=runtime.large_bodies,
            graceful_stop_s=runtime.settings.graceful_stop_s,
            instance=runtime.settings.instance,
        )
        for service in services
        for subscription in service.subscriptions
    ]


def opener_of(name: str) -> OpenService:
    """The composition root of a service.

    Raises:
        CannotStart: there is no such service here.
    """
    module = f"services.{name}.app"
    try:
        found = name.isidentifier() and importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise CannotStart(f"there is no services/{name}/app.py on the import path: run in a checkout or an image that has it")
    opener: OpenService = importlib.import_module(module).open_service
    return opener


async def _run_until_signal(names: Sequence[str], settings: RuntimeSettings, delivery: DeliverySettings) -> None:
    process = ServiceProcess(names, settings, delivery)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop)
    try:
        await process.run()
    except asyncio.CancelledError:
        _log.info("stopped before the services had started")


async def _start_all(hops: Sequence[Hop]) -> None:
    try:
        await asyncio.gather(*(hop.start() for hop in hops))
    except KafkaError as error:
        raise BrokerUnreachable(f"Kafka refuses a subscription: {error!r}") from error


async def _stop_all(hops: Sequence[Hop]) -> None:
    for hop, error in zip(hops, await asyncio.gather(*(hop.stop() for hop in hops), return_exceptions=True), strict=True):
        if isinstance(error, Exception):
            _log.warning("%s did not stop cleanly: %r", hop.name, error)


def _ping_of_all(service: Service, *others: Ping) -> Ping:
    async def ping() -> None:
        await asyncio.gather(*(each() for each in (*service.pings.values(), *others)))

    return ping
