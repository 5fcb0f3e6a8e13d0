"""`headrace round start`: the endpoints that the round will ask are checked before it begins."""

import pytest

from headrace.cli.failures import CannotDo
from headrace.cli.round_start import _check_endpoints
from headrace.core.policies import Policy
from tests.fakes.chat_endpoint import StubEndpoint, says


async def test_the_judges_endpoint_is_checked_only_where_the_policy_asks_for_it(monkeypatch):
    """Without a second opinion it may be anything."""
    judge = StubEndpoint(checking=says(404, b"no such model"))
    async with StubEndpoint().serving() as stub, judge.serving():
        monkeypatch.setenv("HEADRACE_CHAT_URL", stub.url)
        monkeypatch.setenv("HEADRACE_CHAT_JUDGE_URL", judge.url)
        await _check_endpoints(Policy())
        assert (len(stub.checks), len(judge.checks)) == (1, 0)
        with pytest.raises(CannotDo, match=r"judge at .+ HEADRACE_CHAT_JUDGE_MODEL"):
            await _check_endpoints(Policy.model_validate({"rounds": {"judge_rewrites": "endpoint"}}))
