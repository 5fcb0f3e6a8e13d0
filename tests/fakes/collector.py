"""An OpenTelemetry collector in this process: a real OTLP gRPC server that keeps what it is sent."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """Keeps what it is sent; `address` is where it listens."""

    def __init__(self) -> None:
        self.address = ""
        self.sent: list[Any] = []

    @classmethod
    @contextlib.contextmanager
    def serving(cls) -> Iterator["Collector"]:
        """On a free port, until the block ends."""
        collector = cls()
        with ThreadPoolExecutor(2) as threads:
            server = grpc.server(threads)
            trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
            metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(collector, server)
            collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            server.start()
            yield collector
            server.stop(0).wait()

    def Export(self, request, context):  # noqa: N802  # OTLP's name
        self.sent.append(request)
        if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
            return trace_service_pb2.ExportTraceServiceResponse()
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def resources(self, kind: str) -> list[Any]:
        """Everything received of a kind, `resource_spans` or `resource_metrics`."""
        return [resource for request in list(self.sent) for resource in getattr(request, kind, ())]

    def spans(self) -> list[tuple[str, Any]]:
        """Every span received, with the name of the service that sent it."""
        return [
            (texts(resource.resource.attributes)["service.name"], span)
            for resource in self.resources("resource_spans")
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def texts(attributes: Any) -> dict[str, str]:
    """Attributes that are texts, by name; others are empty."""
    return {attribute.key: attribute.value.string_value for attribute in attributes}
