"""Generated from the matrix: every service tells what it must, and a sample's trace crosses every edge."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.wire.envelope import Record, record_of
from headrace.adapters.wire.events import encode
from headrace.core import topics
from headrace.core.dossiers import DatasetCutRequested, Dossier, IndexedSample, ScoredSample
from headrace.core.events import Emit, Event, Reject, Result, Retry, Send
from headrace.core.topics import CONSUMERS, PRODUCERS, TOPICS, Topic, accepted_topic
from headrace.runtime.telemetry import Metric
from tests.fakes.bodies import BODIES, CHECKS, DECISIONS, EMBEDDINGS, PLACEMENT, SIGNALS, SUBMITTED
from tests.fakes.telemetry import Hop, RecordedTelemetry
from tests.telemetry_matrix import EDGES, EVERY_HOP, SAMPLE_EDGES, SERVICES, WHEN_IT_FAILS

ROOT = Path(__file__).resolve().parents[3]
OF_NAME = {topic.name: topic for topic in TOPICS}


def answer(service: str, event: Event[Any]) -> tuple[Send, ...]:  # noqa: C901  # a table, one row for each edge
    """What each service makes of an event, in the least that keeps a sample going."""
    body = event.body
    match service, event.topic, body:
        case "gateway", topics.INGEST.name, _:
            return (Send(topics.SUBMITTED, SUBMITTED),)
        case "scoring", _, Dossier():
            return (Send(topics.SCORED, ScoredSample(replace(body, signals=(SIGNALS,)), EMBEDDINGS)),)
        case "diversity", topics.SCORED.name, ScoredSample():
            return (Send(topics.HELD, replace(body, held_since=time.time(), order=7), not_before=1.0),)
        case "diversity", topics.HELD.name, ScoredSample():
            return (Send(topics.PLACED, replace(body.dossier, placement=PLACEMENT)),)
        case "diversity", topics.DECIDED.name, Dossier():
            sample = body.sample
            return (Send(topics.INDEXED, IndexedSample(sample.dataset_id, sample.id, 0, sample.content_hash, EMBEDDINGS)),)
        case "admission", topics.PLACED.name, Dossier():
            return (Send(topics.VALIDATION_REQUESTED, replace(body, decisions=DECISIONS[:1])),)
        case "admission", topics.VALIDATED.name, Dossier():
            return (Send(topics.DECIDED, replace(body, decisions=(*body.decisions, DECISIONS[1]))),)
        case "validation", _, Dossier():
            return (Send(topics.VALIDATED, replace(body, checks=CHECKS)),)
        case "datasets", topics.DECIDED.name, Dossier():
            return (Send(topics.CUT_REQUESTED, BODIES["DatasetCutRequested"]),)
        case "datasets", topics.CUT_REQUESTED.name, DatasetCutRequested():
            return (Send(topics.COMMITTED, BODIES["DatasetCommitted"]),)
        case "controller", topics.CHECKPOINT_PUBLISHED.name, _:
            return (Send(topics.CHECKPOINT_ROLLED_OUT, BODIES["CheckpointRolledOut"]),)
        case "controller", topics.ROLLBACK_REQUESTED.name, _:
            return (Send(topics.CHECKPOINT_REFUSED, BODIES["CheckpointRefused"]),)
    return ()


ONCE = {
    ("admission", topics.VALIDATED.name): (topics.REFINEMENT_REQUESTED, topics.ROUND_PROGRESSED, topics.RETRACTION_REQUESTED),
    ("refinement", topics.REFINEMENT_REQUESTED.name): (topics.SUBMITTED, topics.ROUND_PROGRESSED),
    ("controller", topics.ROUND_PROGRESSED.name): (
        topics.ROUND_STEP_REQUESTED, topics.ROUND_PROGRESSED, topics.ROUND_TIMER, topics.ROUND_STATE, topics.CUT_REQUESTED,
        topics.ROLLBACK_REQUESTED,
    ),
    ("controller", topics.COMMITTED.name): (topics.POLICY_PUBLISHED,),
    ("datasets", topics.ROUND_STEP_REQUESTED.name): (
        topics.ROUND_STEP_REQUESTED, topics.SURVEYED, topics.REFINEMENT_REQUESTED, topics.ROUND_PROGRESSED,
        topics.RETRACTION_REQUESTED, topics.SUBMITTED,
    ),
    ("diversity", topics.HELD.name): (topics.SCORED,),
    ("diversity", topics.DECIDED.name): (topics.RETRACTION_REQUESTED,),
    ("diversity", topics.ROUND_STEP_REQUESTED.name): (topics.ROUND_STEP_REQUESTED, topics.ROUND_PROGRESSED),
    ("scoring", topics.SURVEYED.name): (topics.MEASURED,),
}  # fmt: skip
"""What services say besides, because of rounds or of a lost place, each once: else they would not end."""


def besides(topic: Topic) -> Send:
    body = SUBMITTED if topic is topics.SUBMITTED else next(each for each in BODIES.values() if type(each) is topic.body)
    return Send(topic, body, not_before=1.0 if topic.delayed else None)


class Spine:
    """All services around topics in memory, each with telemetry of its own."""

    def __init__(self) -> None:
        self.services = {name: RecordedTelemetry(name) for name in SERVICES}
        self.seen: list[tuple[str, str]] = []
        self._once = dict(ONCE)
        trace = self.services["gateway"].telemetry.begin_sample(topics.SUBMITTED.name)
        self._run(
            [
                record_of(Send(topics.SUBMITTED, SUBMITTED), event_id="sample", source="headrace/gateway", trace=trace),
                record_of(Send(topics.CUT_REQUESTED, BODIES["DatasetCutRequested"]), event_id="cut", source="headrace", trace={}),
                Record(topics.INGEST.name, b"", b"{}", ()),
                *(
                    record_of(Send(topic, BODIES[topic.body.__name__]), event_id=topic.name, source="headrace", trace={})
                    for topic in (topics.CHECKPOINT_PUBLISHED, topics.ROLLBACK_REQUESTED)
                ),
            ]
        )
        self._fail()

    def _run(self, records: list[Record]) -> None:
        hops = {(topic, group): self._hop(OF_NAME[topic], group) for topic, groups in CONSUMERS.items() for group in groups}
        while records:
            record = records.pop(0)
            for group in CONSUMERS.get(record.topic, ()):
                self.seen.append((record.topic, group))
                records += hops[record.topic, group].deliver([record])

    def _hop(self, topic: Topic, group: str) -> Hop:
        return Hop(topic, group, self.services[group], lambda event: Emit((*answer(group, event), *self._besides(group, event))))

    def _besides(self, group: str, event: Event[Any]) -> tuple[Send, ...]:
        return tuple(map(besides, self._once.pop((group, event.topic), ())))

    def _fail(self) -> None:
        """One retry and one dead letter in every service."""
        for topic, groups in CONSUMERS.items():
            record = Record(topic, b"k", RECORD_VALUES[topic], ())
            for group in groups:
                for result in (Retry("Busy", "later"), Reject("Impossible", "never")):
                    Hop(OF_NAME[topic], group, self.services[group], partial(_always, result)).deliver([record])


def _always(result: Result, _: Event[Any]) -> Result:
    return result


RECORD_VALUES = {
    topics.INGEST.name: b"{}",
    **{topic.name: encode(body) for topic in TOPICS for body in BODIES.values() if type(body) is topic.body},
}


@pytest.fixture(scope="module")
def spine() -> Spine:
    return Spine()


def test_the_matrix_knows_every_service_and_every_metric():
    """No service and no metric is missing from the declaration, and none is declared that is not there."""
    running = {service for services in (*CONSUMERS.values(), *PRODUCERS.values()) for service in services}
    assert set(SERVICES) == running
    folders = {path.parent.name for path in ROOT.glob("services/*/app.py")}
    assert folders <= running
    claimed = [metric for signals in SERVICES.values() for metric in (*signals.from_events, *signals.measured)]
    assert len(set(claimed)) == len(claimed)
    assert {*claimed, *EVERY_HOP, *WHEN_IT_FAILS, Metric.SENT} == set(Metric)


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_tells_how_its_hops_do(service, spine):
    """The delivery layer's metrics come from every service, for every topic that it reads."""
    reads = {topic for topic, groups in CONSUMERS.items() if service in groups}
    for metric in EVERY_HOP:
        told = {dict(attributes)["messaging.destination.name"] for attributes in spine.services[service].points(metric)}
        assert told == reads, metric


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_tells_what_failed(service, spine):
    """Retries and dead letters are counted in every service; so are the events that it makes."""
    for metric in WHEN_IT_FAILS:
        assert spine.services[service].points(metric), metric
    writes = {topic for topic, groups in PRODUCERS.items() if service in groups}
    sent = {dict(attributes)["messaging.destination.name"] for attributes in spine.services[service].points(Metric.SENT)}
    assert sent == writes


@pytest.mark.parametrize(
    ("service", "metric"),
    [(name, metric) for name, signals in SERVICES.items() for metric in sorted(signals.from_events, key=str)],
)
def test_what_events_say_is_measured(service, metric, spine):
    """Metrics that follow from events come from the service that makes those events."""
    assert sum(spine.services[service].points(metric).values()) > 0


@pytest.mark.parametrize(
    ("service", "metric"), [(name, each) for name, signals in SERVICES.items() for each in sorted(signals.measured, key=str)]
)
def test_what_only_the_service_knows_is_measured_by_its_code(service, metric):
    """A metric declared for a service's own code is used there, by its name in the registry."""
    sources = [path.read_text() for path in (ROOT / "services" / service).glob("*.py")]
    if not any(f"Metric.{metric.name}" in source for source in sources):
        pytest.fail(f"services/{service} never tells {metric.value.name}")


@pytest.mark.parametrize(("producer", "topic", "consumer"), EDGES)
def test_every_edge_is_crossed(producer, topic, consumer, spine):
    """The flow through which traces are followed leaves no edge out."""
    assert (topic, consumer) in spine.seen


@pytest.mark.parametrize(("producer", "topic", "consumer"), SAMPLE_EDGES)
def test_a_sample_s_trace_crosses_the_edge(producer, topic, consumer, spine):
    """The consumer's span is a child of the producer's span, in the same trace, which the gateway began."""
    [begun] = spine.services["gateway"].spans("send ")
    trace_id = begun.context.trace_id
    above = {
        name: {span.context.span_id for span in spine.services[name].spans() if span.context.trace_id == trace_id}
        for name in PRODUCERS[topic]
    }
    below = [span for span in spine.services[consumer].spans(f"process {topic}") if span.context.trace_id == trace_id]
    assert any(span.parent.span_id in above[producer] for span in below)
    assert all(span.parent.span_id in set().union(*above.values()) for span in below)


def test_the_accepted_topic_continues_the_trace():
    """Trainers who trace find the sample's whole way behind each accepted record."""
    recorded = RecordedTelemetry("admission")
    send = Send(accepted_topic("arithmetic"), BODIES["AcceptedSample"])
    begun = recorded.telemetry.begin_sample(topics.VALIDATED.name)
    record = record_of(Send(topics.VALIDATED, SUBMITTED), event_id="1", source="headrace/validation", trace=begun)
    [accepted] = Hop(topics.VALIDATED, "admission", recorded, lambda _: Emit((send,))).deliver([record])
    assert dict(accepted.headers)["traceparent"].decode().split("-")[1] == begun["traceparent"].split("-")[1]
