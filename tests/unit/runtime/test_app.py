"""Starting: what is wrong is one line that says what to change. Health: what is served while things are wrong."""

import asyncio
import gc

import aiohttp
import pytest
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.client.limits import ClientSettings
from headrace.runtime.app import GARBAGE_AFTER, CannotStart, opener_of, pings_of, run_services
from headrace.runtime.health import Health
from headrace.runtime.service import Service
from headrace.runtime.settings import DeliverySettings, setting_problems


class ScoringSettings(BaseSettings):
    """A service's settings, one of which has no default."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_SCORING_")
    triton: str = Field()


def test_a_wrong_setting_is_named_as_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line holds the variables and what is wrong with them."""
    monkeypatch.setenv("HEADRACE_DELIVERY_ATTEMPTS_MAX", "many")
    with pytest.raises(ValidationError) as delivery:
        DeliverySettings()
    assert setting_problems(delivery.value).startswith("HEADRACE_DELIVERY_ATTEMPTS_MAX: Input should be a valid integer")
    with pytest.raises(ValidationError) as scoring:
        ScoringSettings()
    assert setting_problems(scoring.value) == "HEADRACE_SCORING_TRITON: Field required"


@pytest.mark.parametrize("variable", ["HEADRACE_DELIVERY_CLAIM_BYTES_MAX", "WORLD_SIZE"])
def test_a_wrong_setting_of_the_client_is_named_likewise(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The client reads what services read, and one variable of torchrun's."""
    monkeypatch.setenv(variable, "many")
    with pytest.raises(ValidationError) as client:
        ClientSettings()
    assert setting_problems(client.value).startswith(f"{variable}: Input should be a valid integer")


def test_settings_that_contradict_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds between two settings is said with both of their names."""
    monkeypatch.setenv("HEADRACE_DELIVERY_DRAIN_S", "30")
    with pytest.raises(ValidationError) as raised:
        DeliverySettings()
    assert "HEADRACE_DELIVERY_DRAIN_S (30 s) must be below HEADRACE_DELIVERY_REBALANCE_TIMEOUT_MS" in setting_problems(
        raised.value
    )
    monkeypatch.setenv("HEADRACE_DELIVERY_DRAIN_S", "1")
    monkeypatch.setenv("HEADRACE_DELIVERY_SESSION_TIMEOUT_MS", "1000")
    with pytest.raises(ValidationError, match="HEADRACE_DELIVERY_HEARTBEAT_INTERVAL_MS"):
        DeliverySettings()


@pytest.mark.parametrize("name", ["nope", "../etc", "os.path", ""])
def test_an_unknown_service_cannot_start(name: str) -> None:
    """A name is a folder of services/ with an app.py, or an error."""
    with pytest.raises(CannotStart):
        opener_of(name)


def test_what_keeps_a_process_from_starting_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code and a line on standard error; no traceback."""
    assert run_services(["nope"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("headrace run")]
    assert line.startswith("headrace run nope: there is no services/nope/app.py on the import path")


def test_a_batch_in_hand_is_not_gone_through_for_garbage_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of services looks for cycles less often than Python would by itself."""
    thresholds: list[int] = []
    monkeypatch.setattr(gc, "set_threshold", thresholds.append)
    run_services(["nobody"])
    assert thresholds == [GARBAGE_AFTER]


async def test_two_services_may_call_alike_what_they_wait_for() -> None:
    """Neither ping hides the other in a process that runs both."""
    asked = []

    def service(name: str) -> Service:
        async def ping() -> None:
            asked.append(name)

        return Service(name, (), {"dead letters": ping})

    for ping in pings_of([service("diversity"), service("controller")]).values():
        await ping()
    assert asked == ["diversity", "controller"]


async def answer(port: int, path: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.json()


async def test_readiness_is_reasons_and_pings_and_liveness_is_neither() -> None:
    """A process whose dependency is gone lives on and says what it waits for."""
    health = Health()
    port = await health.start("127.0.0.1", 0)
    try:
        assert await answer(port, "/readyz") == (503, {"ready": False, "reasons": {"process": "starts"}})
        gone = True

        async def ping() -> None:
            if gone:
                raise ConnectionRefusedError("nobody there")

        health.reasons = dict
        health.pings = {"triton": ping}
        status, said = await answer(port, "/readyz")
        assert (status, said["reasons"]) == (503, {"triton": "ConnectionRefusedError: nobody there"})
        assert (await answer(port, "/livez"))[0] == 200
        gone = False
        assert await answer(port, "/readyz") == (200, {"ready": True, "reasons": {}})
    finally:
        await health.stop()


async def test_a_loop_that_no_longer_ticks_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever restarts what is not alive is told so by 503, and how long ago the last tick was."""
    monkeypatch.setattr("headrace.runtime.health._TICK_S", 0.02)
    monkeypatch.setattr("headrace.runtime.health._STALLED_S", 0.3)
    health = Health()
    port = await health.start("127.0.0.1", 0)
    try:
        assert (await answer(port, "/livez"))[0] == 200
        [ticking] = [task for task in asyncio.all_tasks() if task.get_name() == "tick"]
        ticking.cancel()
        await asyncio.sleep(0.4)
        status, said = await answer(port, "/livez")
        age_s = said["tick_age_s"]
        assert isinstance(age_s, float)
        assert (status, said["alive"], age_s >= 0.3) == (503, False, True)
    finally:
        await health.stop()


async def test_a_ping_that_does_not_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness is told within the ping's limit, whatever the dependency does."""
    monkeypatch.setattr("headrace.runtime.health.PING_S_MAX", 0.05)
    health = Health()
    health.reasons = dict

    async def hangs() -> None:
        await asyncio.sleep(60)

    health.pings = {"store": hangs}
    assert await health.unready() == {"store": "does not answer within 0.05 s"}
