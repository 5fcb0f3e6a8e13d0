"""Telemetry through the OpenTelemetry SDK; imported only where an endpoint is set."""

import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headrace.core.dossiers import Dossier, IndexedSample, ScoredSample
from headrace.core.events import Event, Reject, Retry
from headrace.runtime.observer import BatchObservation, BatchOutcome
from headrace.runtime.telemetry import CURRENT_TRACE, Telemetry
from headrace.runtime.telemetry_flow import measurements_of
from headrace.runtime.telemetry_names import BUCKETS, NO_ATTRIBUTES, Attribute, Attributes, Kind, Metric, Outcome

LINKS_MAX = 64
"""Most links from one batch to its records; each record's own span links back to the batch in any case."""
EXPORT_INTERVAL_MS = 15_000
EXPORT_S_MAX = 3
_NO_HEADERS: Mapping[str, str] = {}
_W3C = TraceContextTextMapPropagator()
_NOT_KEPT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")
"""A well-formed traceparent whose trace nobody keeps: told apart without the SDK, since most may be such."""
_current_span: ContextVar[Span | None] = ContextVar("headrace_current_span", default=None)


def open_telemetry(service: str, otlp_endpoint: str) -> "SdkTelemetry":
    """Telemetry that is sent by OTLP gRPC; TLS where the endpoint begins with https://."""
    insecure = not otlp_endpoint.startswith("https://")
    spans = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=insecure, timeout=EXPORT_S_MAX)
    metrics = OTLPMetricExporter(endpoint=otlp_endpoint, insecure=insecure, timeout=EXPORT_S_MAX)
    reader = PeriodicExportingMetricReader(metrics, EXPORT_INTERVAL_MS, EXPORT_S_MAX * 1000)
    return SdkTelemetry(service, BatchSpanProcessor(spans), reader)


class SdkTelemetry(Telemetry):
    """Measures one service. Nothing is global: several services in one process have one each."""

    def __init__(self, service: str, spans: SpanProcessor, metrics: MetricReader) -> None:
        release = version("headrace")
        resource = Resource.create(
            {
                "service.namespace": "headrace",
                "service.name": service,
                "service.version": release,
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            }
        )
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracers.sampler = _LinkedSampler(self._tracers.sampler)
        self._tracers.add_span_processor(spans)
        self.tracer = self._tracers.get_tracer("headrace", release)
        self._meters = MeterProvider([metrics], resource=resource, shutdown_on_exit=False)
        meter = self._meters.get_meter("headrace", release)
        self._instruments = {metric: _instrument(meter, metric) for metric in Metric}
        self._closed = False

    @property
    def enabled(self) -> bool:
        return True

    def count(self, metric: Metric, amount: float = 1, attributes: Attributes = NO_ATTRIBUTES) -> None:
        self._instruments[metric](amount, attributes)

    def record(self, metric: Metric, value: float, attributes: Attributes = NO_ATTRIBUTES) -> None:
        self._instruments[metric](value, attributes)

    def begin_sample(self, topic: str, headers: Mapping[str, str] = _NO_HEADERS) -> Mapping[str, str]:
        attributes: dict[str, Any] = {Attribute.SYSTEM: "kafka", Attribute.TOPIC: topic, Attribute.OPERATION: "send"}
        span = self.tracer.start_span(f"send {topic}", _W3C.extract(headers, Context()), SpanKind.PRODUCER, attributes)
        span.end()
        return _headers_of(span)

    def batch_started(self, group: str, topic: str, events: Sequence[Event[Any]]) -> BatchObservation:
        return _Batch(self, group, topic, events)

    def called(self, name: str, seconds: float, attributes: Attributes = NO_ATTRIBUTES) -> None:
        above, ended = _current_span.get(), time.time_ns()
        parent = Context() if above is None else trace.set_span_in_context(above, Context())
        told, began = dict[str, Any](attributes.items()), ended - int(seconds * 1e9)
        self.tracer.start_span(name, parent, SpanKind.CLIENT, told, start_time=began).end(ended)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._tracers.shutdown()
            self._meters.shutdown(EXPORT_S_MAX * 1000)


class _Batch:
    """A span for the batch, linked to its records, and one for each record, in the sample's own trace.

    The batch has a trace of its own: calls made for many samples at once belong to none of theirs. Outputs continue the
    trace of the record they were made from. Records whose trace is not sampled get no span and hand their headers on.
    """

    def __init__(self, telemetry: SdkTelemetry, group: str, topic: str, events: Sequence[Event[Any]]) -> None:
        self._telemetry = telemetry
        self._names = {Attribute.TOPIC: topic, Attribute.GROUP: group}
        self._events = events
        self._started_at = time.time()
        traced = [each for each in events if not _NOT_KEPT.fullmatch(each.headers.get("traceparent", ""))]
        contexts = [(event, _W3C.extract(event.headers, Context())) for event in traced]
        above = [(event, trace.get_current_span(context).get_span_context()) for event, context in contexts]
        links = [Link(seen, _place(event)) for event, seen in above if seen.is_valid]
        names = dict[str, Any](self._names.items())
        attributes = {**names, Attribute.SYSTEM: "kafka", Attribute.BATCH_RECORDS: len(events)}
        tracer = telemetry.tracer
        self._span = tracer.start_span(f"handle {topic}", Context(), SpanKind.CONSUMER, attributes, links[:LINKS_MAX])
        back = [Link(self._span.get_span_context())]
        # By identity: the ids of events are their producers' business, and may not differ.
        self._records = {
            id(event): tracer.start_span(f"process {topic}", context, SpanKind.CONSUMER, {**names, **_identity(event)}, back)
            for event, context in contexts
        }
        self._headers = {key: _headers_of(span) for key, span in self._records.items()}
        _enter(self._span)

    def trace_of(self, event: Event[Any]) -> Mapping[str, str]:
        return self._headers.get(id(event), event.headers)

    def finished(self, outcome: BatchOutcome) -> None:
        _enter(None)
        self._end_spans(outcome)
        self._measure(outcome)

    def _end_spans(self, outcome: BatchOutcome) -> None:
        for event, result in outcome.settled:
            span = self._records.pop(id(event), None)
            if span is None:
                continue
            ended = {Retry: Outcome.RETRIED, Reject: Outcome.DEAD_LETTERED}.get(type(result), Outcome.DONE)
            span.set_attribute(Attribute.OUTCOME, ended)
            if isinstance(result, Retry | Reject):
                span.set_attribute(Attribute.ERROR, result.error_class)
                span.set_status(Status(StatusCode.ERROR, result.error))
            span.end()
        for span in self._records.values():
            span.set_attribute(Attribute.OUTCOME, Outcome.DROPPED)
            span.end()
        self._span.end()

    def _measure(self, outcome: BatchOutcome) -> None:
        now, names = time.time(), self._names
        count, record = self._telemetry.count, self._telemetry.record
        records = outcome.done + outcome.retried + outcome.rejected + outcome.dropped
        count(Metric.CONSUMED, records, names)
        record(Metric.BATCH_RECORDS, records, names)
        record(Metric.PROCESS_DURATION, outcome.handler_s, names)
        record(Metric.COMMIT_DURATION, outcome.commit_s, names)
        record(Metric.BATCH_DURATION, now - self._started_at, names)
        ends = (outcome.done, outcome.retried, outcome.rejected, outcome.dropped)
        for ended, amount in zip(Outcome, ends, strict=True):
            if amount:
                count(Metric.RECORDS, amount, {**names, Attribute.OUTCOME: ended})
        whole = Outcome.DROPPED if outcome.dropped else Outcome.DONE
        count(Metric.TRANSACTIONS, 1, {**names, Attribute.OUTCOME: whole})
        for topic, amount in outcome.emitted.items():
            count(Metric.SENT, amount, {Attribute.TOPIC: topic})
        self._measure_results(outcome, now)

    def _measure_results(self, outcome: BatchOutcome, now: float) -> None:
        count, names, rejected = self._telemetry.count, self._names, outcome.rejected
        for _, result in outcome.settled:
            if isinstance(result, Retry):
                count(Metric.RETRIES, 1, {**names, Attribute.ERROR: result.error_class})
            elif isinstance(result, Reject):
                rejected -= 1
                count(Metric.DEAD_LETTERS, 1, {**names, Attribute.ERROR: result.error_class})
        if rejected > 0:  # the rest never became events
            count(Metric.DEAD_LETTERS, rejected, {**names, Attribute.ERROR: "Undecodable"})
        if outcome.settled:
            oldest = min(event.time for event, _ in outcome.settled)
            self._telemetry.record(Metric.EVENT_AGE, max(0.0, now - oldest), names)
        sums: dict[tuple[Metric, tuple[tuple[Attribute, str], ...]], float] = defaultdict(float)
        for metric, amount, attributes in measurements_of(outcome.settled, now):
            if metric.value.kind is Kind.HISTOGRAM:
                self._telemetry.record(metric, amount, dict(attributes))
            else:
                sums[metric, attributes] += amount
        for (metric, attributes), amount in sums.items():
            count(metric, amount, dict(attributes))


class _LinkedSampler(Sampler):
    """Keeps a batch's span whenever one of the records that it links to is kept; else as the sampler within decides."""

    def __init__(self, within: Sampler) -> None:
        self._within = within

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        rooted = not trace.get_current_span(parent_context).get_span_context().is_valid
        if rooted and links and any(link.context.trace_flags.sampled for link in links):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self._within.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"LinkedSampler({self._within.get_description()})"


def _instrument(meter: Any, metric: Metric) -> Any:
    defined = metric.value
    if defined.kind is Kind.COUNTER:
        return meter.create_counter(defined.name, defined.unit, defined.meaning).add
    if defined.kind is Kind.GAUGE:
        return meter.create_up_down_counter(defined.name, defined.unit, defined.meaning).add
    return meter.create_histogram(
        defined.name, defined.unit, defined.meaning, explicit_bucket_boundaries_advisory=BUCKETS[defined.unit]
    ).record


def _enter(span: Span | None) -> None:
    _current_span.set(span)
    ids = span.get_span_context() if span is not None else None
    CURRENT_TRACE.set((f"{ids.trace_id:032x}", f"{ids.span_id:016x}") if ids is not None and ids.is_valid else None)


def _headers_of(span: Span) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    _W3C.inject(headers, trace.set_span_in_context(span, Context()))
    return headers


def _place(event: Event[Any]) -> dict[str, Any]:
    return {Attribute.PARTITION: str(event.position.partition), Attribute.OFFSET: event.position.offset}


def _identity(event: Event[Any]) -> dict[str, Any]:
    identity = {Attribute.EVENT_ID: event.id, Attribute.ATTEMPT: event.attempt, **_place(event)}
    body = event.body.dossier if isinstance(event.body, ScoredSample) else event.body
    if isinstance(body, Dossier):
        identity |= {Attribute.DATASET: body.sample.dataset_id, Attribute.SAMPLE: body.sample.id}
    elif isinstance(body, IndexedSample):
        identity |= {Attribute.DATASET: body.dataset_id, Attribute.SAMPLE: body.sample_id}
    return identity
