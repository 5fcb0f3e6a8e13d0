"""The gate that closes while the spine is behind."""

import asyncio

from headrace.runtime.telemetry import Telemetry
from services.gateway.lag import LagGate, LagUnknown
from tests.fakes.gateway import eventually


class Recording(Telemetry):
    """Keeps what is recorded."""

    def __init__(self):
        self.recorded = []

    def record(self, metric, value, attributes=None):
        self.recorded.append((metric.value.name, value, dict(attributes or {})))


async def test_the_gate_follows_the_lag_and_counts_the_waiting():
    """Above the limit it closes, at the limit it opens, and what cannot be read leaves it as it is."""
    readings = [5, 11, LagUnknown("away"), LagUnknown("away"), 10]
    telemetry = Recording()
    gate = LagGate(10, telemetry)
    await asyncio.wait_for(gate.passed("http"), 1)
    closed = []

    async def read():
        closed.append(gate.closed)
        reading = readings.pop(0) if readings else 0
        if isinstance(reading, Exception):
            raise reading
        return reading

    follower = asyncio.create_task(gate.follow(read, 0.02))
    await eventually(lambda: gate.closed)
    await asyncio.wait_for(gate.passed("http"), 5)
    await eventually(lambda: len(closed) > 6)
    follower.cancel()
    assert closed[:6] == [False, False, True, True, True, False]
    [(name, waited, attributes)] = telemetry.recorded
    assert (name, attributes) == ("headrace.gateway.throttled", {"headrace.entry": "http"})
    assert waited > 0.02
