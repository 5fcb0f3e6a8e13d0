"""Traces and metrics over a real broker: a sample's trace joins every hop, retries included."""

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.adapters.kafka.streams import EventPublisher
from headrace.adapters.wire.envelope import texts_of
from headrace.core.events import Emit, Event, Result, Retry, Send
from headrace.core.topics import Topic
from headrace.runtime.telemetry import Attribute, Metric
from tests.fakes.telemetry import RecordedTelemetry
from tests.fakes.toy_topics import new_topics, records_in, running_hop, until, until_seen

pytestmark = pytest.mark.connected


def copying(out: Topic, *, failing_first: bytes = b"") -> Any:
    """A handler that passes bodies on, and wants one of them twice."""

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        return [
            Retry("Busy", "later") if event.body == failing_first and event.attempt == 1 else Emit((Send(out, event.body),))
            for event in events
        ]

    return handle


async def test_each_sample_s_trace_joins_both_hops_and_a_retry(kafka: str) -> None:
    """Ten samples enter with traces of their own; each trace holds both services' spans, chained, and ends in the last record."""
    first, _ = new_topics(kafka)
    second, out = new_topics(kafka)
    door, here, there = (RecordedTelemetry(name) for name in ("gateway", "here", "there"))
    bodies = [f"sample-{number}".encode() for number in range(10)]
    begun = {body: door.telemetry.begin_sample(first.name)["traceparent"].split("-")[1] for body in bodies}
    headers = {f"{span.context.trace_id:032x}": span for span in door.spans("send ")}
    async with EventPublisher(kafka, "headrace/gateway") as publisher:
        for body in bodies:
            span = headers[begun[body]]
            trace = {"traceparent": f"00-{begun[body]}-{span.context.span_id:016x}-01"}
            await publisher.publish(Send(first, body), event_id=body.decode(), headers=trace)
    async with (
        running_hop(kafka, first, copying(second, failing_first=b"sample-3"), observer=here.telemetry),
        running_hop(kafka, second, copying(out), observer=there.telemetry),
    ):
        await until_seen(kafka, out, len(bodies))
        await until(lambda: len(there.spans("process ")) >= len(bodies) and len(here.spans("process ")) > len(bodies))

    for record in await records_in(kafka, out.name):
        trace_id = begun[record.value]
        chain = [
            span for recorded in (door, here, there) for span in recorded.spans() if f"{span.context.trace_id:032x}" == trace_id
        ]
        assert len(chain) == (4 if record.value == b"sample-3" else 3)
        below, last = {span.context.span_id: span for span in chain}, chain[-1]
        assert texts_of(record.headers)["traceparent"] == f"00-{trace_id}-{last.context.span_id:016x}-01"
        assert last.parent.span_id in below
    linked = [link.context.trace_id for span in here.spans("handle ") for link in span.links]
    assert {f"{trace_id:032x}" for trace_id in linked} == set(begun.values())


async def test_metrics_tell_what_became_visible(kafka: str) -> None:
    """Records by outcome, events sent and retries agree with what lies in the topics."""
    source, out = new_topics(kafka)
    recorded = RecordedTelemetry("here")
    bodies = [f"sample-{number}".encode() for number in range(20)]
    async with EventPublisher(kafka, "headrace/gateway") as publisher:
        await publisher.publish_many((body.decode(), Send(source, body)) for body in bodies)
    async with running_hop(kafka, source, copying(out, failing_first=b"sample-3"), observer=recorded.telemetry):
        await until_seen(kafka, out, len(bodies))
        await until(lambda: sum(recorded.points(Metric.SENT).values()) >= len(bodies))
    by_outcome = {dict(key)[Attribute.OUTCOME]: amount for key, amount in recorded.points(Metric.RECORDS).items()}
    assert by_outcome == {"done": 20, "retried": 1}
    assert {dict(key)[Attribute.ERROR]: amount for key, amount in recorded.points(Metric.RETRIES).items()} == {"Busy": 1}
    assert {dict(key)[Attribute.TOPIC]: amount for key, amount in recorded.points(Metric.SENT).items()} == {out.name: 20}
