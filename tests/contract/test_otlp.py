"""Telemetry reaches a collector: a real OTLP gRPC server in this process receives what a service tells."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from headrace.core.topics import SUBMITTED
from headrace.runtime.telemetry import Attribute, Metric, Telemetry


class Collector(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def Export(self, request, context):  # noqa: N802  # OTLP's name
        self.sent.append(request)
        if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
            return trace_service_pb2.ExportTraceServiceResponse()
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def resources(self, kind: str):
        """Everything received of a kind, `resource_spans` or `resource_metrics`."""
        return [resource for request in self.sent for resource in getattr(request, kind, ())]


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    collector = Collector()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(collector, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield collector, f"127.0.0.1:{port}"
        server.stop(0).wait()


def _texts(attributes) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in attributes}


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_what_was_told_has_arrived_when_telemetry_is_closed(collector, scheme):
    """Spans and metrics are flushed at shutdown, with the service's name, version and instance."""
    received, address = collector
    telemetry = Telemetry.from_settings("scoring", scheme + address)
    telemetry.begin_sample(SUBMITTED.name)
    telemetry.count(Metric.SENT, 3, {Attribute.TOPIC: SUBMITTED.name})
    telemetry.record(Metric.ADMISSION_AGE, 0.07, {Attribute.VERDICT: "accepted"})
    telemetry.close()

    [spans] = received.resources("resource_spans")
    named = _texts(spans.resource.attributes)
    assert (named["service.namespace"], named["service.name"]) == ("headrace", "scoring")
    assert named["service.version"]
    assert named["service.instance.id"]
    assert [span.name for span in spans.scope_spans[0].spans] == [f"send {SUBMITTED.name}"]

    [metrics] = received.resources("resource_metrics")
    told = {metric.name: metric for metric in metrics.scope_metrics[0].metrics}
    [sent] = told[Metric.SENT.value.name].sum.data_points
    assert sent.as_int == 3
    assert _texts(sent.attributes) == {"messaging.destination.name": SUBMITTED.name}
    [age] = told[Metric.ADMISSION_AGE.value.name].histogram.data_points
    assert told[Metric.ADMISSION_AGE.value.name].unit == "s"
    bucket = next(index for index, count in enumerate(age.bucket_counts) if count)
    assert age.explicit_bounds[bucket - 1] < 0.07 <= age.explicit_bounds[bucket]
