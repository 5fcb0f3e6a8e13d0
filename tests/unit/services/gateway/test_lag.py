"""The gate that closes while the spine is behind."""

import asyncio
from types import SimpleNamespace

import pytest
from kafka.errors import KafkaTimeoutError

from headrace.adapters.kafka.unreachable import BrokerUnreachable
from headrace.core.topics import DECIDED, HELD, SUBMITTED
from headrace.runtime.telemetry import Telemetry
from services.gateway import spine
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


def test_from_half_of_the_limit_on_the_gate_is_open_for_less_and_less_of_the_time():
    """Intake slows down before it stops, and goes on at once when the spine has caught up."""
    gate, shares = LagGate(100, Telemetry()), []
    for lag in (50, 60, 75, 90, 100, 101, 0):
        gate.set_lag(lag)
        shares.append(gate.open_share)
    assert shares == [1.0, 0.8, 0.5, 0.2, 0.02, 0.0, 1.0]


@pytest.mark.parametrize("last", [75, LagUnknown("away")])
async def test_what_passes_a_spine_that_is_behind_passes_in_bursts(last):
    """One at a time, each sample would cost every service a transaction; also while the lag cannot be read any more."""
    telemetry, readings = Recording(), [75]
    gate = LagGate(100, telemetry)

    async def read():
        reading = readings.pop() if readings else last
        if isinstance(reading, Exception):
            raise reading
        return reading

    follower = asyncio.create_task(gate.follow(read, 0.04))
    await eventually(lambda: gate.lag)
    passed = 0
    while len(telemetry.recorded) < 3:
        await gate.passed("grpc")
        await asyncio.sleep(0)
        passed += 1
    follower.cancel()
    assert passed > 3 * len(telemetry.recorded)


@pytest.mark.parametrize("error", [BrokerUnreachable("no coordinator"), KafkaTimeoutError()])
async def test_a_broker_that_is_away_only_hides_the_lag(error, monkeypatch):
    """Whichever way the client says so: the gate then keeps to the last one and looks again."""

    def gaps(_):
        raise error

    monkeypatch.setattr(spine, "KafkaAdmin", lambda *_, **__: SimpleNamespace(gaps=gaps, close=lambda: None))
    async with spine.spine_lag("localhost:1", 1) as read_lag:
        with pytest.raises(LagUnknown):
            await read_lag()


def test_only_the_way_to_a_decision_counts():
    """What waits in rounds and refinement, for a dead chat endpoint say, does not stop the intake."""
    topics = {topic for _, read in spine.SPINE for topic in read}
    assert {SUBMITTED.name, HELD.name, DECIDED.name} <= topics
    assert not [name for name in topics if "round" in name or "refinement" in name or "surveyed" in name or "ingest" in name]
