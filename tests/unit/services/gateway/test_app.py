"""The gateway put together, in front of no Kafka: what its pings know."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from headrace.runtime.settings import DeliverySettings, RuntimeSettings
from headrace.runtime.telemetry import Telemetry
from services.gateway import app


async def fine():
    """Of a part that is there."""


@pytest.fixture
def runtime(monkeypatch):
    """Parts that are there, and ports that are free; the spine's lag is read until `fails_with` holds an error."""

    @asynccontextmanager
    async def publishing(*_, **__):
        yield SimpleNamespace(ping=fine)

    @asynccontextmanager
    async def spine_lag(*_):
        async def read():
            if given.fails_with is not None:
                raise given.fails_with
            return 0

        yield read

    for name in ("GRPC_PORT", "HTTP_PORT"):
        monkeypatch.setenv(f"HEADRACE_GATEWAY_{name}", "0")
    for name in ("LAG_POLL_S", "TOKENS_POLL_S"):
        monkeypatch.setenv(f"HEADRACE_GATEWAY_{name}", "0.01")
    monkeypatch.setattr(app, "EventPublisher", publishing)
    monkeypatch.setattr(app, "spine_lag", spine_lag)
    given = SimpleNamespace(
        fails_with=None,
        settings=RuntimeSettings(),
        delivery=DeliverySettings(),
        telemetry=Telemetry(),
        large_bodies=None,
        policies=SimpleNamespace(start=fine, ping=fine, policies={}),
    )
    return given


async def failing(ping):
    """What a ping says once it fails."""
    async with asyncio.timeout(5):
        while True:
            try:
                await ping()
            except RuntimeError as error:
                return str(error)
            await asyncio.sleep(0.01)


async def test_a_gate_that_follows_no_more_is_told(runtime):
    """It would stay as it is for ever, shut or open: whoever looks at the service's readiness sees it."""
    async with app.open_service(runtime) as service:
        for ping in service.pings.values():
            await ping()
        runtime.fails_with = KeyError("unforeseen")
        assert await failing(service.pings["lag"]) == "following the spine's lag has ended: restart"


async def test_tokens_that_are_followed_no_more_are_told(runtime, monkeypatch, tmp_path):
    """Withdrawn ones would go on opening the door. Without a file there is nothing to follow."""
    async with app.open_service(runtime) as service:
        assert "tokens" not in service.pings
    path = tmp_path / "tokens.yaml"
    path.write_text("tokens: []")
    monkeypatch.setenv("HEADRACE_GATEWAY_TOKENS_FILE", str(path))
    async with app.open_service(runtime) as service:
        await service.pings["tokens"]()
        monkeypatch.setattr("services.gateway.tokens._state_of", lambda _: 1 / 0)
        assert await failing(service.pings["tokens"]) == "following the tokens file has ended: restart"
