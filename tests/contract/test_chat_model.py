"""What holds of every endpoint that answers in form: on a stub of ours, and on llama.cpp's server with a real model."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from headrace.adapters.chat.endpoint import ChatEndpoint
from headrace.core.chat import Call, Hindrance, NotMade, Reply, Sampling
from headrace.core.chat_answers import Answer, Unreadable, answer_of
from headrace.core.samples import Message
from headrace.local.chat import Chat
from headrace.local.running import running
from tests.fakes.chat_endpoint import StubEndpoint, asked, completion, prompt_in

QUESTION = (Message("system", "You answer in one short sentence."), Message("user", "What is two plus two?"))
SCHEMA = json.dumps(
    {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
)
TEXT = "Two plus two is four."
WINDOW_CHARS = 40_000


async def in_form(request: dict[str, Any]) -> web.StreamResponse:
    """A model's answers without the model: it keeps to stop, schema, limit and window."""
    if len(prompt_in(request)) > WINDOW_CHARS:
        return web.json_response({"error": {"message": "request exceeds the available context size"}}, status=400)
    text = '{"n": 4}' if "response_format" in request else TEXT
    for stop in request.get("stop", []):
        text = text.partition(stop)[0]
    tokens = len(text.split())
    if tokens > request["max_tokens"]:
        text, finish_reason = " ".join(text.split()[: request["max_tokens"]]), "length"
    else:
        finish_reason = "stop"
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return web.json_response(
        completion(choices=[choice], usage={"prompt_tokens": 20, "completion_tokens": min(tokens, request["max_tokens"])})
    )


@pytest.fixture(scope="module", params=["stub", pytest.param("llama.cpp", marks=[pytest.mark.connected, pytest.mark.model])])
def server(request, tmp_path_factory) -> Iterator[str | None]:
    """Where the server is; None for the stub, which each test starts for itself."""
    if request.param == "stub":
        yield None
        return
    with running(Chat(), tmp_path_factory.mktemp("chat"), killed=True) as launch:
        yield launch.tells["HEADRACE_CHAT_URL"]


@pytest.fixture
async def endpoint(server: str | None) -> AsyncIterator[ChatEndpoint]:
    async with AsyncExitStack() as stack:
        url = server or (await stack.enter_async_context(StubEndpoint(in_form).serving())).url
        yield await stack.enter_async_context(
            asked(url, deadline_s=90.0, gone_s_max=90.0, prompt_price=0.0, completion_price=0.0)
        )


def call(max_tokens: int = 200, **changes) -> Call:
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens, seed=1, stop=changes.pop("stop", ()))
    return Call("answerer", changes.pop("messages", QUESTION), sampling, **changes)


async def test_a_reply_has_text_tokens_and_seconds(endpoint):
    """And a known price of nothing costs nothing."""
    outcome = await endpoint.ask(call())
    assert isinstance(outcome, Reply)
    assert outcome.text.strip()
    assert outcome.finish_reason == "stop"
    assert outcome.model
    assert outcome.cost.prompt_tokens
    assert outcome.cost.completion_tokens
    assert outcome.cost.completion_tokens <= 200
    assert outcome.cost.seconds
    assert outcome.cost.money == 0.0


async def test_a_reply_that_reaches_its_limit_is_not_made(endpoint):
    """Half a sentence is no answer; the tokens were paid."""
    outcome = await endpoint.ask(call(max_tokens=2))
    assert isinstance(outcome, NotMade)
    assert outcome.hindrance is Hindrance.CUT_OFF
    assert outcome.cost is not None
    assert outcome.cost.completion_tokens == 2


async def test_a_reply_ends_before_the_stop_text(endpoint):
    """Which is not part of it."""
    whole = await endpoint.ask(call())
    assert isinstance(whole, Reply)
    stop = whole.text.split()[1]
    outcome = await endpoint.ask(call(stop=(stop,)))
    assert isinstance(outcome, Reply)
    assert outcome.text == whole.text.partition(stop)[0]


async def test_the_same_call_has_the_same_reply(endpoint):
    """At temperature 0; nothing rests on it, since replies are kept."""
    first, second = await endpoint.ask(call()), await endpoint.ask(call())
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert first.text == second.text


async def test_a_schema_leads_to_an_answer_that_can_be_read(endpoint):
    """Read by us, whoever claims to have kept to it."""

    def parse(text: str) -> int:
        try:
            return int(json.loads(text)["n"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(str(error)) from None

    answer = await answer_of(endpoint, call(schema_json=SCHEMA), parse)
    assert isinstance(answer, Answer)
    assert len(answer.costs) == answer.attempts


async def test_a_prompt_beyond_the_window_is_refused(endpoint):
    """At once, with the endpoint's words, and nothing is paid."""
    outcome = await endpoint.ask(call(messages=(Message("user", "word " * (WINDOW_CHARS // 4)),)))
    assert isinstance(outcome, NotMade)
    assert outcome.hindrance is Hindrance.REFUSED
    assert "context" in outcome.detail
    assert outcome.cost is None


async def test_an_endpoint_that_is_there_says_so(endpoint):
    """That is all a ping asks."""
    await endpoint.ping()
