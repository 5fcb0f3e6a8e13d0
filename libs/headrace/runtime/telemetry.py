"""What a service tells about itself: traces that follow a sample across every hop, and metrics.

Without an OTLP endpoint nothing is measured, nothing of OpenTelemetry is imported, and trace headers pass through
unchanged, so that a silent service does not break the traces of the others.
"""

from collections.abc import Mapping
from contextvars import ContextVar

from headrace.runtime.observer import NoObserver
from headrace.runtime.telemetry_names import NO_ATTRIBUTES, Attribute, Attributes, Definition, Kind, Metric, Outcome

__all__ = ["CURRENT_TRACE", "Attribute", "Attributes", "Definition", "Kind", "Metric", "Outcome", "Telemetry", "TraceIds"]

TraceIds = tuple[str, str]
CURRENT_TRACE: ContextVar[TraceIds | None] = ContextVar("headrace_current_trace", default=None)
"""Trace id and span id (hex) of the work in hand, for log lines; None where nothing is traced."""

_NO_HEADERS: Mapping[str, str] = {}


class Telemetry(NoObserver):
    """Tells nothing: what services and the runtime call where nobody listens.

    It is also the delivery layer's observer.
    """

    @staticmethod
    def from_settings(service: str, otlp_endpoint: str) -> "Telemetry":
        """The telemetry of one service: sent to the OTLP gRPC endpoint, or nowhere when that is empty.

        Sampling follows the standard OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG; without them every trace is kept.
        """
        if not otlp_endpoint:
            return Telemetry()
        from headrace.runtime.telemetry_sdk import open_telemetry  # noqa: PLC0415 - half a second that silence does not pay

        return open_telemetry(service, otlp_endpoint)

    @property
    def enabled(self) -> bool:
        """Whether anybody listens: guards work that is done only to be measured."""
        return False

    def count(self, metric: Metric, amount: float = 1, attributes: Attributes = NO_ATTRIBUTES) -> None:
        """Add to a counter or gauge. Only the metric's registered attributes may be given."""

    def record(self, metric: Metric, value: float, attributes: Attributes = NO_ATTRIBUTES) -> None:
        """Record one value of a histogram, in the metric's unit."""

    def begin_sample(
        self,
        topic: str,  # noqa: ARG002  # for the one that traces
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Mapping[str, str]:
        """The trace headers of a sample that enters here and goes to `topic`: a new trace, or the caller's continued."""
        return headers

    def called(self, name: str, seconds: float, attributes: Attributes = NO_ATTRIBUTES) -> None:
        """A call of an outside system took `seconds` and has just ended: a span under the batch in hand."""

    def close(self) -> None:
        """Send what is left; blocks for some seconds at most when nobody answers. Safe to call twice."""
