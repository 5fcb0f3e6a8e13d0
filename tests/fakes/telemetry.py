"""Telemetry that can be looked at, and a hop without Kafka around it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.adapters.wire.envelope import Record
from headrace.core.events import Emit, Event, Reject, Result, Retry
from headrace.core.topics import Topic
from headrace.runtime.delivery.incoming import decode
from headrace.runtime.delivery.routing import Routed, Router
from headrace.runtime.observer import BatchOutcome
from headrace.runtime.settings import DeliverySettings
from headrace.runtime.telemetry import Metric
from headrace.runtime.telemetry_sdk import SdkTelemetry


class RecordedTelemetry:
    """One service's telemetry, its spans and its metrics."""

    def __init__(self, service: str) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.telemetry = SdkTelemetry(service, SimpleSpanProcessor(self._spans), self._metrics)

    def spans(self, name: str = "") -> list[Any]:
        """Ended spans whose names begin so, oldest first."""
        return [span for span in self._spans.get_finished_spans() if span.name.startswith(name)]

    def points(self, metric: Metric) -> dict[tuple[tuple[str, Any], ...], float]:
        """Sums (for histograms: counts) by sorted attributes; empty where the metric was never touched."""
        found = {}
        data = self._metrics.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for measured in scope.metrics:
                    if measured.name == metric.value.name:
                        for point in measured.data.data_points:
                            found[tuple(sorted((point.attributes or {}).items()))] = (
                                point.value if hasattr(point, "value") else point.count
                            )
        return found


@dataclass
class Hop:
    """What the delivery layer does with one batch, without Kafka: decode, handle, route, tell the observer."""

    topic: Topic
    group: str
    recorded: RecordedTelemetry
    handler: Callable[[Event[Any]], Result]
    settings: DeliverySettings = field(default_factory=DeliverySettings)
    read: int = 0

    def deliver(self, records: Iterable[Record], *, commits: bool = True) -> list[Record]:
        """The records that this batch makes visible."""
        incoming = [decode(self.topic, self._consumed(record)) for record in records]
        events = [each.event for each in incoming if each.event is not None]
        observation = self.recorded.telemetry.batch_started(self.group, self.topic.name, events)
        router, routed = Router(self.topic.name, self.group, self.settings), Routed()
        for each in incoming:
            event = each.event
            result = Reject("Undecodable", each.error) if event is None else self.handler(event)
            trace: Mapping[str, str] = {} if event is None else observation.trace_of(event)
            router.add(routed, each, result, trace, time.time())
        observation.finished(_outcome(routed, len(incoming)) if commits else _dropped(len(incoming)))
        return routed.records if commits else []

    def _consumed(self, record: Record) -> ConsumerRecord:
        self.read += 1
        sizes = (len(record.key or b""), len(record.value or b""))
        return ConsumerRecord(
            record.topic, 0, self.read, int(time.time() * 1000), 0, record.key, record.value, None, *sizes, record.headers
        )


def _outcome(routed: Routed, records: int) -> BatchOutcome:
    kinds: Sequence[type] = [type(result) for _, result in routed.settled]
    return BatchOutcome(
        done=kinds.count(Emit),
        retried=kinds.count(Retry),
        rejected=records - kinds.count(Emit) - kinds.count(Retry),
        dropped=0,
        emitted=routed.emitted,
        handler_s=0.01,
        commit_s=0.02,
        settled=routed.settled,
    )


def _dropped(records: int) -> BatchOutcome:
    return BatchOutcome(0, 0, 0, records, {}, 0.01, 0.0)
