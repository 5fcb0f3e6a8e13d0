import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import StatusCode

from headrace.adapters.wire.envelope import Record, record_of
from headrace.core.events import Emit, Event, Position, Reject, Result, Retry, Send
from headrace.core.topics import PLACED, SCORED, SUBMITTED, dlq_topic_name
from headrace.runtime.observer import BatchOutcome
from headrace.runtime.telemetry import CURRENT_TRACE, Attribute, Kind, Metric, Telemetry
from headrace.runtime.telemetry_names import BUCKETS
from headrace.runtime.telemetry_sdk import LINKS_MAX
from tests.fakes.bodies import BODIES
from tests.fakes.bodies import SUBMITTED as BODY
from tests.fakes.telemetry import Hop, RecordedTelemetry

SHARED = RecordedTelemetry("scoring")
KEPT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_KEPT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def submitted(number: int, trace: Mapping[str, str]) -> Record:
    """The record of one submitted sample."""
    body = replace(BODY, sample=replace(BODY.sample, id=f"problem-{number}"))
    return record_of(Send(SUBMITTED, body), event_id=f"event-{number}", source="headrace/gateway", trace=trace)


def pass_on(event: Event[Any]) -> Result:
    """A handler that sends the sample to the next topic."""
    return Emit((Send(PLACED, event.body),))


def traced(record: Record) -> tuple[str, str]:
    """Trace id and parent span id in a record's header."""
    _, trace_id, span_id, _ = dict(record.headers)["traceparent"].decode().split("-")
    return trace_id, span_id


def test_a_new_sample_gets_a_trace_of_its_own():
    """Each sample that enters begins a trace, and its record's header continues it."""
    recorded = RecordedTelemetry("gateway")
    first, second = (recorded.telemetry.begin_sample(SUBMITTED.name) for _ in range(2))
    spans = recorded.spans("send headrace.sample.submitted")
    assert first["traceparent"].split("-")[1] == f"{spans[0].context.trace_id:032x}"
    assert first["traceparent"].split("-")[1] != second["traceparent"].split("-")[1]


def test_a_caller_s_trace_is_continued():
    """A producer that traces finds Headrace in its own trace."""
    recorded = RecordedTelemetry("gateway")
    headers = recorded.telemetry.begin_sample(SUBMITTED.name, {"traceparent": KEPT, "tracestate": "vendor=1"})
    assert headers["traceparent"].split("-")[1] == KEPT.split("-")[1]
    assert headers["tracestate"] == "vendor=1"


def test_outputs_continue_the_trace_of_their_own_sample():
    """In one batch of several samples each output goes on in its own sample's trace, under that sample's span."""
    recorded = RecordedTelemetry("admission")
    begun = [recorded.telemetry.begin_sample(SUBMITTED.name) for _ in range(3)]
    outputs = Hop(SUBMITTED, "admission", recorded, pass_on).deliver(submitted(n, trace) for n, trace in enumerate(begun))
    spans = {span.attributes[Attribute.SAMPLE]: span for span in recorded.spans("process ")}
    for number, (output, trace) in enumerate(zip(outputs, begun, strict=True)):
        span = spans[f"problem-{number}"]
        assert traced(output) == (trace["traceparent"].split("-")[1], f"{span.context.span_id:016x}")
        assert f"{span.parent.span_id:016x}" == trace["traceparent"].split("-")[2]


def test_batch_and_records_are_linked_both_ways():
    """The batch has a trace of its own and links to its samples; each sample's span links to the batch."""
    recorded = RecordedTelemetry("admission")
    begun = [recorded.telemetry.begin_sample(SUBMITTED.name) for _ in range(3)]
    Hop(SUBMITTED, "admission", recorded, pass_on).deliver(submitted(n, trace) for n, trace in enumerate(begun))
    [batch] = recorded.spans("handle ")
    assert batch.attributes[Attribute.BATCH_RECORDS] == 3
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == [trace["traceparent"].split("-")[1] for trace in begun]
    for span in recorded.spans("process "):
        assert [link.context.span_id for link in span.links] == [batch.context.span_id]
        assert span.context.trace_id != batch.context.trace_id


def test_links_are_bounded():
    """A large batch does not make a span of any size."""
    recorded = RecordedTelemetry("admission")
    trace = {"traceparent": KEPT}
    Hop(SUBMITTED, "admission", recorded, pass_on).deliver(submitted(n, trace) for n in range(LINKS_MAX + 5))
    assert len(recorded.spans("handle ")[0].links) == LINKS_MAX
    assert len(recorded.spans("process ")) == LINKS_MAX + 5


def test_a_trace_that_is_not_kept_is_handed_on_without_a_span():
    """Records whose trace was not sampled cost no span, and their outputs still say to which trace they belong."""
    recorded = RecordedTelemetry("admission")
    [output] = Hop(SUBMITTED, "admission", recorded, pass_on).deliver([submitted(1, {"traceparent": NOT_KEPT})])
    assert recorded.spans("process ") == []
    assert dict(output.headers)["traceparent"].decode() == NOT_KEPT


def test_events_of_one_id_are_told_apart():
    """Two records with the same event id, as a producer may write them, each get a span that ends."""
    recorded = RecordedTelemetry("admission")
    Hop(SUBMITTED, "admission", recorded, pass_on).deliver([submitted(1, {}), submitted(1, {})])
    assert len({span.context.span_id for span in recorded.spans("process ")}) == 2


def test_a_batch_is_kept_when_one_of_its_records_is(monkeypatch):
    """However few traces are kept, a kept sample's batch is there to be looked at."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    recorded = RecordedTelemetry("admission")
    hop = Hop(SUBMITTED, "admission", recorded, pass_on)
    hop.deliver([submitted(1, {"traceparent": NOT_KEPT})])
    assert recorded.spans() == []
    hop.deliver([submitted(1, {"traceparent": NOT_KEPT}), submitted(2, {"traceparent": KEPT})])
    assert [span.name for span in recorded.spans()] == [f"process {SUBMITTED.name}", f"handle {SUBMITTED.name}"]


NO_TRACES = ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-00", f"00-{'0' * 32}-{'0' * 16}-01", "00-zz-zz-01", "\x00" * 500]


@pytest.mark.parametrize("header", NO_TRACES)
def test_a_header_that_is_no_trace_begins_a_new_one(header):
    """Whatever a producer wrote there, the sample gets a trace and nothing fails."""
    recorded = RecordedTelemetry("gateway")
    [output] = Hop(SUBMITTED, "gateway", recorded, pass_on).deliver([submitted(1, {"traceparent": header})])
    assert traced(output)[0] == f"{recorded.spans('process ')[0].context.trace_id:032x}"


@settings(max_examples=50)
@given(st.text(max_size=80), st.text(max_size=80))
def test_no_header_makes_telemetry_raise(traceparent, tracestate):
    """The delivery layer may rely on it: whatever the headers hold, a batch is observed."""
    headers = ({"traceparent": traceparent}, {"traceparent": KEPT, "tracestate": tracestate})
    events = [Event("1", SUBMITTED.name, "k", BODY, 0.0, Position(SUBMITTED.name, 0, 0), headers=each) for each in headers]
    observation = SHARED.telemetry.batch_started("scoring", SUBMITTED.name, events)
    for event in events:
        assert "traceparent" in observation.trace_of(event)
    observation.finished(BatchOutcome(0, 0, 0, 2, {}, 0.0, 0.0))


def test_failures_are_seen_in_trace_and_metrics():
    """A retry and a dead letter mark their spans as errors and are counted by error class; their trace goes on."""
    recorded = RecordedTelemetry("admission")

    def fail(event: Event[Any]) -> Result:
        return Retry("Busy", "later") if event.id == "event-1" else Reject("Impossible", "never")

    garbled = Record(SUBMITTED.name, b"k", b"\xff", (("traceparent", KEPT.encode()),))
    outputs = Hop(SUBMITTED, "admission", recorded, fail).deliver(
        [submitted(1, {"traceparent": KEPT}), submitted(2, {"traceparent": KEPT}), garbled]
    )
    assert {dict(output.headers)["traceparent"].decode() for output in outputs} == {KEPT}
    spans = recorded.spans("process ")
    assert [span.attributes[Attribute.OUTCOME] for span in spans] == ["retried", "dead_lettered"]
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}
    assert {dict(key)[Attribute.ERROR]: n for key, n in recorded.points(Metric.RETRIES).items()} == {"Busy": 1}
    assert {dict(key)[Attribute.ERROR]: n for key, n in recorded.points(Metric.DEAD_LETTERS).items()} == {
        "Impossible": 1, "Undecodable": 1,
    }  # fmt: skip


def test_results_that_were_dropped_are_not_counted_as_done():
    """A batch whose commit failed shows as dropped; what it would have said about samples is not counted."""
    recorded = RecordedTelemetry("admission")
    hop = Hop(SUBMITTED, "admission", recorded, pass_on)
    hop.deliver([submitted(1, {"traceparent": KEPT})], commits=False)
    assert recorded.points(Metric.DIVERSITY_PLACEMENTS) == {}
    assert recorded.spans("process ")[0].attributes[Attribute.OUTCOME] == "dropped"
    hop.deliver([submitted(1, {"traceparent": KEPT})])
    assert sum(recorded.points(Metric.DIVERSITY_PLACEMENTS).values()) == 1
    assert {dict(key)[Attribute.OUTCOME]: n for key, n in recorded.points(Metric.RECORDS).items()} == {"dropped": 1, "done": 1}


def test_calls_of_outside_systems_lie_under_the_batch_and_logs_know_its_trace():
    """While a batch is in hand, calls are its children and log lines carry its trace; afterwards no longer."""
    recorded = RecordedTelemetry("scoring")
    seen: list[Any] = []

    def call(event: Event[Any]) -> Result:
        seen.append(CURRENT_TRACE.get())
        recorded.telemetry.called("infer signals", 0.25, {Attribute.SYSTEM: "triton"})
        return pass_on(event)

    Hop(SUBMITTED, "scoring", recorded, call).deliver([submitted(1, {})])
    [batch], [called] = recorded.spans("handle "), recorded.spans("infer ")
    assert called.parent.span_id == batch.context.span_id
    assert called.end_time - called.start_time == 250_000_000
    assert seen[0][0] == f"{batch.context.trace_id:032x}"
    assert CURRENT_TRACE.get() is None


def test_metrics_carry_only_their_registered_attributes():
    """No label is invented in place, and none holds a sample's id: the number of series stays small."""
    recorded = RecordedTelemetry("admission")
    Hop(SUBMITTED, "admission", recorded, pass_on).deliver([submitted(n, {}) for n in range(3)])
    scored = Emit((Send(SCORED, BODIES["ScoredSample"]),))
    Hop(SUBMITTED, "scoring", recorded, lambda _: scored).deliver([submitted(9, {})])
    for metric in Metric:
        for attributes in recorded.points(metric):
            assert {name for name, _ in attributes} <= set(metric.value.attributes)
            assert not any("problem-" in str(value) for _, value in attributes)


def test_the_registry_is_well_formed():
    """Names are unique, ours begin with headrace.<service>, units are known where buckets are needed, meanings are there."""
    names = [metric.value.name for metric in Metric]
    assert len(set(names)) == len(names)
    for metric in Metric:
        defined = metric.value
        assert defined.name.startswith(("headrace.", "messaging."))
        assert defined.unit
        assert defined.meaning
        assert Attribute.SAMPLE not in defined.attributes
        assert defined.kind is not Kind.HISTOGRAM or defined.unit in BUCKETS


def test_silence_passes_traces_through_and_measures_nothing():
    """Without an endpoint the trace headers of each event are handed on as they came."""
    telemetry = Telemetry.from_settings("scoring", "")
    assert not telemetry.enabled
    assert telemetry.begin_sample(SUBMITTED.name, {"traceparent": KEPT}) == {"traceparent": KEPT}
    event = Event("1", SUBMITTED.name, "k", BODY, 0.0, Position(SUBMITTED.name, 0, 0), headers={"traceparent": KEPT})
    observation = telemetry.batch_started("scoring", SUBMITTED.name, [event])
    assert observation.trace_of(event)["traceparent"] == KEPT
    telemetry.called("infer", 0.25)
    telemetry.count(Metric.SENT)
    telemetry.close()


def test_silence_imports_nothing_of_opentelemetry():
    """A service that tells nothing does not pay for the SDK at start."""
    program = (
        "import sys; from headrace.runtime.telemetry import Telemetry; Telemetry.from_settings('scoring', '');"
        "sys.exit(any(name.startswith(('opentelemetry', 'faststream')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_silence_costs_next_to_nothing():
    """A batch of 256 records costs less than a microsecond each when nobody listens."""
    telemetry = Telemetry()
    events = [
        Event(str(n), SUBMITTED.name, "k", BODY, 0.0, Position(SUBMITTED.name, 0, 0), headers={"traceparent": KEPT})
        for n in range(256)
    ]

    def batch() -> float:
        began = time.process_time()
        observation = telemetry.batch_started("scoring", SUBMITTED.name, events)
        for event in events:
            observation.trace_of(event)
        return time.process_time() - began

    assert min(batch() for _ in range(20)) / len(events) < 1e-6


def test_an_endpoint_that_is_not_there_stops_nothing(caplog):
    """With a dead collector work goes on, and closing takes seconds at most."""
    telemetry = Telemetry.from_settings("scoring", "http://127.0.0.1:9")
    assert telemetry.enabled
    telemetry.begin_sample(SUBMITTED.name)
    telemetry.count(Metric.SENT, 1, {Attribute.TOPIC: SUBMITTED.name})
    began = time.monotonic()
    telemetry.close()
    telemetry.close()
    assert time.monotonic() - began < 15


def test_dead_letters_of_a_topic_are_named_as_the_registry_says():
    """The trace of a dead letter is that of its sample, so that it can be found from there."""
    recorded = RecordedTelemetry("admission")
    [dead] = Hop(SUBMITTED, "admission", recorded, lambda _: Reject("Impossible", "never")).deliver(
        [submitted(1, {"traceparent": KEPT})]
    )
    assert dead.topic == dlq_topic_name(SUBMITTED.name, "admission")
    assert traced(dead)[0] == KEPT.split("-")[1]
