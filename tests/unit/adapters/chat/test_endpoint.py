"""What is made of an endpoint's answers, good and bad, and when it is asked again."""

import asyncio
import gzip
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from headrace.core.chat import Call, Hindrance, NotMade, Reply, Sampling, prompt_tokens_max
from headrace.core.dossiers import Cost
from headrace.core.events import Stop
from headrace.core.samples import Message
from headrace.local.ports import free_port
from tests.fakes.certain import certain
from tests.fakes.chat_endpoint import StubEndpoint, after, answers, asked, completion, prompt_in, raw_server, says

CALL = Call("refiner", (Message("system", "Be brief."), Message("user", "Say something.")), Sampling(0.5, 0.9, 64, 7, ("END",)))


async def outcome_of(*script, call: Call = CALL, always=None, **settings):
    """The outcome of one call of a stub that behaves so, and the stub."""
    stub = StubEndpoint(always or answers(), list(script))
    async with stub.serving(), asked(stub.url, **settings) as endpoint:
        return await endpoint.ask(call), stub


async def hindrance_of(*script, **settings) -> NotMade:
    outcome, _ = await outcome_of(*script, **settings)
    assert isinstance(outcome, NotMade)
    return outcome


async def test_a_reply_comes_with_its_cost():
    """Tokens as the endpoint counts them, money by the prices, and the endpoint's own words."""
    outcome, stub = await outcome_of(prompt_price=2.0, completion_price=4.0, currency="EUR", api_key="secret")
    assert isinstance(outcome, Reply)
    assert (outcome.text, outcome.model, outcome.finish_reason) == ("Fine.", "stub-1", "stop")
    cost = outcome.cost
    assert (cost.stage, cost.prompt_tokens, cost.completion_tokens) == ("refiner", 7, 3)
    assert cost.money == pytest.approx((7 * 2 + 3 * 4) / 1e6)
    assert cost.currency == "EUR"
    assert cost.seconds is not None
    [request] = stub.requests
    assert request == {
        "model": "stub", "temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "seed": 7, "stop": ["END"],
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say something."}],
    }  # fmt: skip
    assert stub.headers[0]["Authorization"] == "Bearer secret"


async def test_a_schema_is_asked_for_in_the_usual_form():
    """As `response_format`; whether it is honoured is another matter."""
    call = Call("judge", (Message("user", "?"),), schema_json='{"type":"object"}')
    _, stub = await outcome_of(call=call, tokens_field="max_completion_tokens")
    wanted = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": {"type": "object"}}}
    assert stub.requests[0]["response_format"] == wanted
    assert stub.requests[0]["max_completion_tokens"] == 1024
    assert "Authorization" not in stub.headers[0]


@pytest.mark.parametrize("usage", [None, {}, [], {"prompt_tokens": "7", "completion_tokens": -1}, {"prompt_tokens": True}, 3])
async def test_usage_that_is_missing_or_rubbish_is_unknown(usage):
    """Unknown stays unknown: never zero, and no money is made up from it."""
    outcome, _ = await outcome_of(answers(usage=usage), prompt_price=1.0, completion_price=1.0)
    assert isinstance(outcome, Reply)
    cost = outcome.cost
    assert (cost.prompt_tokens, cost.completion_tokens, cost.money, cost.currency) == (None, None, None, "")


async def test_a_text_ends_before_a_stop_text_that_the_endpoint_ignored():
    """A request for it may have been dropped silently."""
    outcome, _ = await outcome_of(answers("One. END Two. END"))
    assert isinstance(outcome, Reply)
    assert outcome.text == "One. "


CHOICE = {"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("body", "hindrance"),
    [
        (b"", Hindrance.MALFORMED),
        (b"<html>busy</html>", Hindrance.MALFORMED),
        (bytes(range(256)), Hindrance.MALFORMED),
        (gzip.compress(b"{}"), Hindrance.MALFORMED),
        (json.dumps(completion()).encode()[:-20], Hindrance.MALFORMED),
        (json.dumps(completion()).encode("utf-16"), Hindrance.MALFORMED),
        (b"[" * 100_000, Hindrance.MALFORMED),
        (b"null", Hindrance.MALFORMED),
        (b"[]", Hindrance.MALFORMED),
        (b'{"error": {"message": "overloaded"}}', Hindrance.MALFORMED),
        (json.dumps(completion(choices=[])).encode(), Hindrance.MALFORMED),
        (json.dumps(completion(choices={"0": CHOICE})).encode(), Hindrance.MALFORMED),
        (json.dumps(completion(choices=["x"])).encode(), Hindrance.MALFORMED),
        (json.dumps(completion(choices=[CHOICE | {"message": "x"}])).encode(), Hindrance.MALFORMED),
        (json.dumps(completion([{"type": "text", "text": "x"}])).encode(), Hindrance.MALFORMED),
        (json.dumps(completion(7)).encode(), Hindrance.MALFORMED),
        (json.dumps(completion(choices=[CHOICE | {"finish_reason": 1}])).encode(), Hindrance.MALFORMED),
        (json.dumps(completion("half a pair: \ud800")).encode(), Hindrance.MALFORMED),
        (json.dumps(completion(None)).encode(), Hindrance.EMPTY),
        (json.dumps(completion(" \n")).encode(), Hindrance.EMPTY),
        (json.dumps(completion("END")).encode(), Hindrance.EMPTY),
        (json.dumps(completion(choices=[CHOICE | {"finish_reason": "length"}])).encode(), Hindrance.CUT_OFF),
        (json.dumps(completion(choices=[CHOICE | {"finish_reason": "content_filter"}])).encode(), Hindrance.FILTERED),
        (json.dumps(completion("x" * 1_000_000)).encode(), Hindrance.TOO_LARGE),
    ],
)
async def test_an_unusable_answer_is_not_made_and_was_paid(body, hindrance):
    """Each for a reason that can be told apart; it is asked once, and its cost is kept."""
    outcome, stub = await outcome_of(says(body=body))
    assert isinstance(outcome, NotMade)
    assert outcome.hindrance is hindrance
    assert outcome.detail
    assert len(outcome.detail) < 1_000
    assert outcome.cost is not None
    assert len(stub.requests) == 1


async def test_an_endless_answer_is_not_read_to_its_end():
    """A body without a length is read up to the limit, however long it goes on."""

    async def endless(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server, asked(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1") as endpoint:
        outcome = await endpoint.ask(CALL)
    assert isinstance(outcome, NotMade)
    assert outcome.hindrance is Hindrance.TOO_LARGE


@pytest.mark.parametrize("status", [400, 413, 422, 302])
async def test_a_refusal_is_not_made_at_once(status):
    """With the endpoint's own words, shortened; nothing was paid, and nobody follows it elsewhere."""
    body = b'{"error": "the context is full"}' + b" " * 10_000
    outcome, stub = await outcome_of(says(status, body, Location="http://127.0.0.1:1/"))
    assert isinstance(outcome, NotMade)
    assert outcome.hindrance is Hindrance.REFUSED
    assert "the context is full" in outcome.detail
    assert len(outcome.detail) < 600
    assert outcome.cost is None
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("status", "setting"), [(401, "API_KEY"), (402, "API_KEY"), (403, "API_KEY"), (404, "MODEL"), (404, "URL")]
)
async def test_what_the_operator_has_to_mend_stops_the_work(status, setting):
    """Nothing is wrong with any sample; role, address, the endpoint's words and the setting are named, until it is mended."""
    wrong = says(status, b'{"message": "The model `stub` does not exist."}')
    stub = StubEndpoint(wrong, checking=wrong)
    async with stub.serving(), asked(stub.url) as endpoint:
        with pytest.raises(Stop, match="does not exist") as stopped:
            await endpoint.ask(CALL)
        assert f"HEADRACE_CHAT_{setting}" in str(stopped.value)
        assert f"refiner at {stub.url}, model 'stub'" in str(stopped.value)
        for _ in range(2):
            with pytest.raises(Stop, match="does not exist"):
                await endpoint.ping()
        stub.checking = stub.always = answers()
        await endpoint.ping()
        assert isinstance(await endpoint.ask(CALL), Reply)


async def test_a_text_that_is_forbidden_alone_is_a_refusal():
    """Some endpoints answer 403 to texts that they do not like; others are answered, so no setting is at fault."""
    outcome, stub = await outcome_of(says(403, b"flagged"))
    assert isinstance(outcome, NotMade)
    assert (outcome.hindrance, outcome.cost, len(stub.checks)) == (Hindrance.REFUSED, None, 1)
    assert "flagged" in outcome.detail


@pytest.mark.parametrize(
    ("checking", "why"),
    [
        (answers(), ""),
        (answers(""), ""),
        (says(400, b"Unsupported parameter: max_tokens"), "Unsupported parameter"),
        (says(200, b"<html>a proxy</html>"), "no chat completion"),
        (says(500, b"boom"), "boom"),
    ],
)
async def test_an_endpoint_is_checked_with_one_call_of_one_token(checking, why):
    """An empty reply, or one that is cut off, is as good as any."""
    stub = StubEndpoint(checking=checking)
    async with stub.serving(), asked(stub.url) as endpoint:
        told = await endpoint.check("refiner")
    assert (why in told) if why else not told
    assert [each["max_tokens"] for each in stub.checks] == [1]
    assert not stub.requests


async def test_tries_that_are_sent_and_not_answered_count_at_their_worst():
    """A provider bills them: the prompt as a token a byte, and all the tokens that the reply may have."""
    worst = prompt_tokens_max(CALL)
    slow = after(30, answers())
    prices: dict[str, Any] = {"deadline_s": 0.3, "prompt_price": 1.0, "completion_price": 2.0}
    outcome, stub = await outcome_of(slow, says(504), says(503), **prices)
    assert isinstance(outcome, Reply)
    assert len(stub.requests) == 4
    assert (outcome.cost.prompt_tokens, outcome.cost.completion_tokens) == (2 * worst + 7, 2 * 64 + 3)
    assert outcome.cost.money == pytest.approx((2 * worst + 7 + 2 * (2 * 64 + 3)) / 1e6)
    unknown, _ = await outcome_of(slow, always=answers(usage=None), **prices)
    assert (unknown.cost.prompt_tokens, unknown.cost.completion_tokens) == (2 * worst, 2 * 64)
    given_up, _ = await outcome_of(always=slow, retries=1, **prices)
    assert (given_up.hindrance, given_up.cost.prompt_tokens) == (Hindrance.FAILED, 2 * worst)


async def test_no_more_tries_are_lost_than_can_be_paid():
    """What is left of a budget says how many; failures that cost nothing do not count."""
    call = replace(CALL, unanswered_max=2)
    outcome, stub = await outcome_of(says(503), call=call, always=after(30, answers()), deadline_s=0.2)
    assert isinstance(outcome, NotMade)
    assert (outcome.hindrance, len(stub.requests)) == (Hindrance.FAILED, 3)
    assert outcome.cost == Cost("refiner", certain(outcome.cost).seconds, 2 * prompt_tokens_max(CALL), 2 * 64)


async def test_lost_tries_before_a_stop_are_counted_when_the_call_comes_back():
    """The endpoint hangs, then is gone; the batch that waited for it pays for both."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).startswith(b"POST"):
            await reader.read()
        writer.close()

    port = free_port(set())
    async with asked(f"http://127.0.0.1:{port}/v1", deadline_s=0.3, retries=0, gone_s_max=0.2) as endpoint:
        async with await asyncio.start_server(hang, "127.0.0.1", port):
            with pytest.raises(Stop):
                await endpoint.ask(CALL)
        async with StubEndpoint().serving(port):
            outcome = await endpoint.ask(CALL)
    assert certain(outcome.cost).prompt_tokens == prompt_tokens_max(CALL) + 7


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425, 429])
async def test_a_failure_that_may_pass_is_tried_again(status):
    """The caller sees the reply alone."""
    outcome, stub = await outcome_of(says(status), says(status))
    assert isinstance(outcome, Reply)
    assert len(stub.requests) == 3


@pytest.mark.parametrize("asks", ["seconds", "date"])
async def test_the_endpoint_s_own_wait_is_kept(asks):
    """Retry-After in either form; the others wait too, since it is the endpoint that is crowded."""
    stub = StubEndpoint()
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    stub.script = [says(429, Retry_After="1" if asks == "seconds" else moment)]
    async with stub.serving(), asked(stub.url) as endpoint:
        began = time.monotonic()
        first = asyncio.create_task(endpoint.ask(CALL))
        while endpoint._quiet_until == 0:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
        await asyncio.gather(first, endpoint.ask(CALL))
        assert time.monotonic() - began >= 0.9
    assert len(stub.requests) == 3


@pytest.mark.parametrize("asks", ["86400", "1e300", "Fri, 31 Dec 2999 23:59:59 GMT"])
async def test_a_wait_that_is_too_long_is_cut(asks):
    """An endpoint does not decide that we sleep for a day."""
    outcome, _ = await outcome_of(says(429, Retry_After=asks), retry_after_s_max=0.05)
    assert isinstance(outcome, Reply)


@pytest.mark.parametrize("asks", ["", "soon", "-1", "nan", "inf", "1 day", "Thu, 99 Foo 2026", "\xff\xfe", "9" * 5_000])
async def test_a_wait_that_makes_no_sense_is_our_own(asks):
    """The call is tried again as if nothing had been asked for."""
    outcome, stub = await outcome_of(says(429, Retry_After=asks), retry_after_s_max=0.05)
    assert isinstance(outcome, Reply)
    assert len(stub.requests) == 2


async def test_an_endpoint_that_stays_crowded_stops_the_work():
    """No sample is at fault, so none is given up."""
    with pytest.raises(Stop, match="429"):
        await outcome_of(always=says(429, b"slow down"), retries=2)


async def test_a_call_that_the_endpoint_always_fails_at_is_given_up():
    """While the endpoint is there, the fault is the call's: it would hold up the others for ever."""
    outcome, stub = await outcome_of(always=says(500, b"assertion failed"), retries=2)
    assert isinstance(outcome, NotMade)
    assert outcome.hindrance is Hindrance.FAILED
    assert "assertion failed" in outcome.detail
    assert outcome.cost is None
    assert len(stub.requests) == 3


async def test_an_endpoint_that_fails_at_everything_stops_the_work():
    """Its list of models fails too: it is broken, not the call."""
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with raw_server(busy) as url, asked(url, retries=1) as endpoint:
        with pytest.raises(Stop, match="503"):
            await endpoint.ask(CALL)


async def test_a_slow_answer_is_given_up():
    """The deadline is for each try; an endpoint that is there and never answers this call gives it up."""
    outcome, stub = await outcome_of(always=after(30, answers()), deadline_s=0.2, retries=1)
    assert isinstance(outcome, NotMade)
    assert outcome.hindrance is Hindrance.FAILED
    assert len(stub.requests) == 2


async def test_an_endpoint_that_is_down_stops_the_work_after_a_while():
    """However many times it refused connections meanwhile: it may be starting."""
    async with asked(f"http://127.0.0.1:{free_port(set())}/v1", gone_s_max=0.2, retries=0) as endpoint:
        began = time.monotonic()
        with pytest.raises(Stop, match="cannot be reached"):
            await endpoint.ask(CALL)
        assert time.monotonic() - began >= 0.2


async def test_an_endpoint_that_comes_back_is_answered():
    """A restart in mid-call costs time and nothing else."""
    port = free_port(set())
    stub = StubEndpoint()
    async with asked(f"http://127.0.0.1:{port}/v1", retries=0) as endpoint:
        waiting = asyncio.create_task(endpoint.ask(CALL))
        await asyncio.sleep(0.1)
        async with stub.serving(port):
            assert isinstance(await waiting, Reply)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x01\x02rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    ],
)
async def test_bytes_that_are_no_http_answer_are_tried_again_and_stop_the_work(answer):
    """Whatever is there, it is no endpoint."""
    async with raw_server(answer) as url, asked(url, retries=1) as endpoint:
        with pytest.raises(Stop):
            await endpoint.ask(CALL)


async def test_an_answer_that_breaks_off_is_tried_again_and_given_up():
    """What is there of it is not looked at; it may have to be paid."""
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{") as url, asked(url, retries=1) as endpoint:
        outcome = await endpoint.ask(CALL)
    assert isinstance(outcome, NotMade)
    assert outcome.hindrance is Hindrance.FAILED
    assert outcome.cost is not None
    assert outcome.cost.completion_tokens == 2 * 64


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"])
async def test_what_was_sent_may_have_to_be_paid(answer: bytes):
    """Whatever came of it: only where no connection was made is a try known to cost nothing."""
    async with raw_server(answer) as url, asked(url) as endpoint:
        outcome = await endpoint.ask(replace(CALL, unanswered_max=1))
    assert isinstance(outcome, NotMade)
    assert "broke off" in outcome.detail
    assert outcome.cost is not None
    assert outcome.cost.completion_tokens == 64


async def test_text_goes_out_as_it_is():
    """Half a surrogate pair, which UTF-8 cannot hold, becomes a question mark rather than an exception."""
    _, stub = await outcome_of(call=Call("refiner", (Message("user", "ä数\ud800\x00"),)))
    assert prompt_in(stub.requests[0]) == "ä数?\x00"
