"""What the delivery layer tells whoever measures it. Telemetry implements this; by default nothing is paid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.core.events import Event, Result


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """How the records of one batch ended.

    `done`, `retried` and `rejected` count input records whose results became visible (undecodable ones among the rejected);
    `dropped` those whose results were thrown away, to be read again. `emitted` counts output events by topic, retries and
    dead letters apart. Durations are seconds: in the handler, and from the first send to the last commit. `settled` holds
    the events whose results became visible, each with its result as it took effect: a Retry after the last attempt stands
    there as the Reject that it became.
    """

    done: int
    retried: int
    rejected: int
    dropped: int
    emitted: Mapping[str, int]
    handler_s: float
    commit_s: float
    settled: Sequence[tuple[Event[Any], Result]] = ()


class BatchObservation(Protocol):
    """One batch under observation, from the handler's start to the last commit."""

    def trace_of(self, event: Event[Any]) -> Mapping[str, str]:
        """The W3C trace headers that the event's outputs carry; usually the batch's span, or the event's own."""

    def finished(self, outcome: BatchOutcome) -> None:
        """The batch ended. Called exactly once, also when everything was dropped."""


class DeliveryObserver(Protocol):
    """Told of every batch. It must not raise and must not wait."""

    def batch_started(self, group: str, topic: str, events: Sequence[Event[Any]]) -> BatchObservation:
        """A batch of decoded events (their headers carry the traces to link) goes to the handler."""


class _Carried:
    """Carries each event's trace headers over and measures nothing."""

    def trace_of(self, event: Event[Any]) -> Mapping[str, str]:
        return event.headers

    def finished(self, outcome: BatchOutcome) -> None:
        pass


class NoObserver:
    """Measures nothing; traces still pass through."""

    _carried = _Carried()

    def batch_started(self, group: str, topic: str, events: Sequence[Event[Any]]) -> BatchObservation:  # noqa: ARG002  # it measures none
        return self._carried
