"""Telemetry reaches a collector: a real OTLP gRPC server in this process receives what a service tells."""

from collections.abc import Iterator

import pytest

from headrace.core.topics import SUBMITTED
from headrace.runtime.telemetry import Attribute, Metric, Telemetry
from tests.fakes.collector import Collector, texts


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector.serving() as collector:
        yield collector


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_what_was_told_has_arrived_when_telemetry_is_closed(collector, scheme):
    """Spans and metrics are flushed at shutdown, with the service's name, version and instance."""
    telemetry = Telemetry.from_settings("scoring", scheme + collector.address)
    telemetry.begin_sample(SUBMITTED.name)
    telemetry.count(Metric.SENT, 3, {Attribute.TOPIC: SUBMITTED.name})
    telemetry.record(Metric.ADMISSION_AGE, 0.07, {Attribute.VERDICT: "accepted"})
    telemetry.close()

    [spans] = collector.resources("resource_spans")
    named = texts(spans.resource.attributes)
    assert (named["service.namespace"], named["service.name"]) == ("headrace", "scoring")
    assert named["service.version"]
    assert named["service.instance.id"]
    assert [span.name for span in spans.scope_spans[0].spans] == [f"send {SUBMITTED.name}"]

    [metrics] = collector.resources("resource_metrics")
    told = {metric.name: metric for metric in metrics.scope_metrics[0].metrics}
    [sent] = told[Metric.SENT.value.name].sum.data_points
    assert sent.as_int == 3
    assert texts(sent.attributes) == {"messaging.destination.name": SUBMITTED.name}
    [age] = told[Metric.ADMISSION_AGE.value.name].histogram.data_points
    assert told[Metric.ADMISSION_AGE.value.name].unit == "s"
    bucket = next(index for index, count in enumerate(age.bucket_counts) if count)
    assert age.explicit_bounds[bucket - 1] < 0.07 <= age.explicit_bounds[bucket]
