"""The gate that closes while the spine is behind."""

import asyncio

from headrace.core.topics import DECIDED, HELD, SUBMITTED
from headrace.runtime.telemetry import Telemetry
from services.gateway.lag import LagGate, LagUnknown
from services.gateway.spine import SPINE
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


async def test_from_half_of_the_limit_on_each_sample_waits_longer():
    """Intake slows down in steps before it stops, and goes on at once when the spine has caught up."""
    telemetry = Recording()
    gate = LagGate(100, telemetry)
    for lag in (50, 51, 76, 88, 0):
        gate.set_lag(lag)
        assert not gate.closed
        await asyncio.wait_for(gate.passed("grpc"), 5)
    waited = [value for _, value, _ in telemetry.recorded]
    assert [a > b for a, b in zip(waited, (0.001, 0.005, 0.025), strict=True)] == [True] * 3


def test_only_the_way_to_a_decision_counts():
    """What waits in rounds and refinement, for a dead chat endpoint say, does not stop the intake."""
    topics = {topic for _, read in SPINE for topic in read}
    assert {SUBMITTED.name, HELD.name, DECIDED.name} <= topics
    assert not [name for name in topics if "round" in name or "refinement" in name or "surveyed" in name or "ingest" in name]
