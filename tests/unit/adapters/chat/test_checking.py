"""Endpoints are found to be unusable before a round depends on them."""

import pytest

from headrace.adapters.chat.checking import RoleChecks, hindrances_of
from headrace.adapters.chat.endpoint import chat_session
from headrace.adapters.chat.kept import ChatEndpoints
from headrace.adapters.chat.settings import ChatSettings
from headrace.core.chat import ANSWERER, JUDGE, REFINER
from headrace.core.events import Stop
from headrace.local.ports import free_port
from tests.fakes.chat_endpoint import CUT_OFF, StubEndpoint, answers, says

ROLES = (REFINER, ANSWERER)
UNKNOWN_MODEL = says(404, b'{"message": "The model `default` does not exist."}')


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    for name in ("URL", "MODEL", "API_KEY", "PROMPT_PRICE", "COMPLETION_PRICE", "ANSWERER_URL", "ANSWERER_MODEL"):
        monkeypatch.delenv(f"HEADRACE_CHAT_{name}", raising=False)


async def test_one_call_for_each_endpoint_and_nothing_to_tell_where_it_answers(monkeypatch):
    """Roles that share an endpoint share its check."""
    async with StubEndpoint().serving() as stub:
        monkeypatch.setenv("HEADRACE_CHAT_URL", stub.url)
        assert await hindrances_of(ROLES, money_limited_in=()) == []
        assert [len(each) for each in (stub.checks, stub.requests)] == [1, 0]
        monkeypatch.setenv("HEADRACE_CHAT_ANSWERER_MODEL", "another")
        assert await hindrances_of(ROLES, money_limited_in=()) == []
        assert [each["model"] for each in stub.checks[1:]] == ["default", "another"]


async def test_a_wrong_model_a_wrong_address_and_nobody_there_are_named(monkeypatch):
    """With role, address, the endpoint's own words and the setting."""
    async with StubEndpoint(checking=UNKNOWN_MODEL).serving() as stub:
        monkeypatch.setenv("HEADRACE_CHAT_URL", stub.url)
        monkeypatch.setenv("HEADRACE_CHAT_ANSWERER_URL", stub.url.removesuffix("/v1"))
        refiner, answerer = await hindrances_of(ROLES, money_limited_in=())
        assert refiner.startswith(f"refiner at {stub.url}, model 'default'")
        for words in ("The model `default` does not exist", "HEADRACE_CHAT_REFINER_MODEL or HEADRACE_CHAT_MODEL"):
            assert words in refiner
        assert answerer.startswith(f"answerer at {stub.url.removesuffix('/v1')}, ")
        assert "HEADRACE_CHAT_URL (most end with /v1)" in answerer
    monkeypatch.setenv("HEADRACE_CHAT_URL", f"http://127.0.0.1:{free_port(set())}/v1")
    monkeypatch.delenv("HEADRACE_CHAT_ANSWERER_URL")
    [nobody] = await hindrances_of(ROLES, money_limited_in=())
    assert "cannot be reached" in nobody
    assert "HEADRACE_CHAT_URL" in nobody


async def test_limited_money_needs_prices(monkeypatch):
    """Of both roles, or of the one whose money is; zero is a price."""
    async with StubEndpoint().serving() as stub:
        monkeypatch.setenv("HEADRACE_CHAT_URL", stub.url)
        monkeypatch.setenv("HEADRACE_CHAT_PROMPT_PRICE", "0")
        told = await hindrances_of(ROLES, money_limited_in=ROLES)
        assert [each.split()[0] for each in told] == ["refiner", "answerer"]
        assert all("HEADRACE_CHAT_COMPLETION_PRICE" in each and "PROMPT_PRICE" not in each for each in told)
        assert [each.split()[0] for each in await hindrances_of(ROLES, money_limited_in=[ANSWERER])] == ["answerer"]
        monkeypatch.setenv("HEADRACE_CHAT_COMPLETION_PRICE", "0.5")
        assert await hindrances_of(ROLES, money_limited_in=ROLES) == []


async def test_a_role_that_is_needed_later_is_checked_then():
    """Once; until it is needed nobody minds its settings."""
    stub, judge = StubEndpoint(), StubEndpoint(checking=UNKNOWN_MODEL)
    async with stub.serving(), judge.serving(), chat_session() as session:
        endpoints = ChatEndpoints(session, lambda role: ChatSettings(url=judge.url if role == JUDGE else stub.url))
        endpoints.of(REFINER)
        checks = RoleChecks(endpoints)
        await checks()
        assert (len(stub.checks), len(judge.checks)) == (1, 0)
        with pytest.raises(Stop, match="HEADRACE_CHAT_JUDGE_MODEL"):
            await checks([JUDGE])
        judge.checking = answers(choices=[CUT_OFF])
        for _ in range(2):
            await checks([JUDGE])
    assert (len(stub.checks), len(judge.checks)) == (1, 2)


async def test_a_process_checks_once_and_again_where_it_found_something_wrong():
    """What fails for a reason that may pass is no hindrance: the calls that follow wait for it."""
    stub = StubEndpoint(checking=UNKNOWN_MODEL)
    async with stub.serving(), chat_session() as session:
        endpoints = ChatEndpoints(session, lambda _: ChatSettings(url=stub.url))
        for role in ROLES:
            endpoints.of(role)
        checks = RoleChecks(endpoints)
        for _ in range(2):
            with pytest.raises(Stop, match="does not exist"):
                await checks()
        stub.checking = says(503, b"starting")
        for _ in range(3):
            await checks()
    assert len(stub.checks) == 3
