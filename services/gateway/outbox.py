"""On the way to Kafka: samples are queued at once and answered when Kafka has them, within a budget of bytes."""

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from headrace.adapters.kafka.streams import KafkaError
from headrace.core.dossiers import Dossier
from headrace.core.events import Send, Stop
from headrace.core.refusals import RefusalCode, Refused
from headrace.core.samples import Sample
from headrace.core.topics import SUBMITTED
from headrace.runtime.telemetry import Attribute, Metric, Telemetry
from services.gateway.pace import ByteBudget

_log = logging.getLogger("headrace.gateway")
_IDS = uuid.UUID("0f6f1d6e-40a5-5c0b-9d5e-0d5a3c9a7b52")


class Status(StrEnum):
    """What became of one sample at the door."""

    RECEIVED = "received"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Answer:
    """One sample's answer. RECEIVED: Kafka has it. REFUSED: never send it again as it is. UNAVAILABLE: send it again."""

    status: Status
    sample_id: str = ""
    revision: int = 0
    content_hash: str = ""
    code: str = ""
    error: str = ""


class Publisher(Protocol):
    """The part of `headrace.adapters.kafka.streams.EventPublisher` that the gateway needs."""

    async def enqueue(self, send: Send, *, event_id: str, headers: Mapping[str, str] | None = None) -> "asyncio.Future[Any]":
        """Queue one event; the future is done once Kafka has it."""


class Ticket(Protocol):
    """One sample's place in the order of answers."""

    @property
    def ready(self) -> bool:
        """Whether `answer` returns without waiting."""

    async def answer(self) -> Answer:
        """The answer, once there is one. Asked for once."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A ticket whose answer is known."""

    known: Answer
    ready: bool = True

    async def answer(self) -> Answer:
        return self.known


@dataclass(frozen=True, slots=True)
class _Underway:
    """A ticket of a sample that Kafka is storing."""

    outbox: "Outbox"
    sample: Sample
    written: "asyncio.Future[Any]"

    @property
    def ready(self) -> bool:
        return self.written.done()

    async def answer(self) -> Answer:
        return await self.outbox.outcome(self.sample, self.written)


class Outbox:
    """Hands dossiers to Kafka. An event's id is a function of its sample, so sending that again is the same event."""

    def __init__(self, publisher: Publisher, *, in_flight_bytes_max: int, publish_s_max: float, telemetry: Telemetry) -> None:
        self._publisher = publisher
        self._budget = ByteBudget(in_flight_bytes_max)
        self._publish_s_max = publish_s_max
        self._telemetry = telemetry

    async def post(self, dossier: Dossier, size: int, trace: Mapping[str, str]) -> Ticket:
        """Queue one sample of about `size` bytes, under the caller's trace if there is one. Waits while too much is in flight."""
        sample = dossier.sample
        event_id = str(uuid.uuid5(_IDS, f"{sample.dataset_id}\n{sample.id}\n{sample.revision}\n{sample.content_hash}"))
        taken = await self._budget.take(size)
        written: asyncio.Future[Any] | None = None
        try:
            begun = self._telemetry.begin_sample(SUBMITTED.name, trace)
            async with asyncio.timeout(self._publish_s_max):  # a partition's queue is full while the broker does not answer
                written = await self._publisher.enqueue(Send(SUBMITTED, dossier), event_id=event_id, headers=begun)
        except ValueError as error:
            told = f"with its dossier the sample is larger than a record may be: {error}"
            return self.refuse(Refused(RefusalCode.TOO_LARGE, told), sample.origin.entry)
        except Stop as stop:
            _log.warning("a large sample is not taken: %s", stop)
            return Answered(self._unavailable(sample, "Stop", "large samples cannot be stored now; send it again"))
        except (KafkaError, TimeoutError) as error:
            _log.warning("Kafka takes no sample: %r", error)
            return Answered(self._unavailable(sample, type(error).__name__, "Kafka takes no samples now; send it again"))
        finally:
            if written is None:
                self._budget.give_back(taken)
        written.add_done_callback(lambda done: self._settle(done, taken))
        return _Underway(self, sample, written)

    def refuse(self, refused: Refused, entry: str) -> Ticket:
        """A ticket that is answered already."""
        self._count(entry, Status.REFUSED, refused.code.value)
        return Answered(Answer(Status.REFUSED, code=refused.code.value, error=refused.message))

    async def outcome(self, sample: Sample, written: "asyncio.Future[Any]") -> Answer:
        """Wait for Kafka, for as long as the settings allow."""
        if not written.done():
            await asyncio.wait((written,), timeout=self._publish_s_max)
        if not written.done() or written.cancelled():
            return self._unavailable(sample, "timeout", "Kafka has not confirmed it; send it again")
        if failure := written.exception():
            _log.warning("Kafka did not store a sample: %r", failure)
            return self._unavailable(sample, type(failure).__name__, "Kafka could not store it now; send it again")
        self._count(sample.origin.entry, Status.RECEIVED)
        return Answer(Status.RECEIVED, sample.id, sample.revision, sample.content_hash)

    def _unavailable(self, sample: Sample, code: str, error: str) -> Answer:
        self._count(sample.origin.entry, Status.UNAVAILABLE, code)
        return Answer(Status.UNAVAILABLE, sample.id, sample.revision, sample.content_hash, code, error)

    def _count(self, entry: str, status: Status, code: str = "") -> None:
        attributes = {Attribute.ENTRY: entry, Attribute.OUTCOME: status.value} | ({Attribute.ERROR: code} if code else {})
        self._telemetry.count(Metric.GATEWAY_SAMPLES, 1, attributes)

    def _settle(self, written: "asyncio.Future[Any]", taken: int) -> None:
        self._budget.give_back(taken)
        if not written.cancelled():
            written.exception()  # looked at here, since the stream that waits for it may be gone
