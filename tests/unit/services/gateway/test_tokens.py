"""Tokens: whom they let in, where to, until when, and how fast; over both network entries."""

import asyncio
import hashlib
import itertools
import json
import os
import time

import aiohttp
import grpc
import pytest

from headrace.runtime.background import background
from headrace_protos.ingest.v1 import ingest_pb2_grpc
from services.gateway.tokens import Tokens, TokensUnusable, Unauthenticated, check_exposure
from tests.fakes.gateway import eventually, lines, request, sample


def entry(token, *datasets, **more):
    return {"name": f"n-{token}", "sha256": hashlib.sha256(token.encode()).hexdigest(), "datasets": list(datasets)} | more


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def tokens_file(tmp_path):
    """A file of tokens, written anew by calling it."""
    path = tmp_path / "tokens.json"
    stamps = itertools.count(1_700_000_000_000_000_000, 1_000_000_000)

    def write(*entries):
        path.write_text(json.dumps({"tokens": entries}))
        stamp = next(stamps)
        os.utime(path, ns=(stamp, stamp))  # so that a change shows however fast it comes
        return path

    return write


EXPIRED = entry("old", "*", expires="2020-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthenticated"),
        ({"Authorization": "Basic abc"}, 401, "unauthenticated"),
        ({"Authorization": "Bearer "}, 401, "unauthenticated"),
        (bearer("wrong"), 401, "unauthenticated"),
        (bearer("é"), 401, "unauthenticated"),
        (bearer("old"), 401, "unauthenticated"),
        (bearer("foreign"), 403, "foreign_dataset"),
    ],
)
async def test_http_lets_in_whom_it_should(open_gateway, tokens_file, headers, status, code):
    """Wrong, expired and foreign-dataset tokens are told apart, and nothing goes in."""
    path = tokens_file(entry("right", "demo"), EXPIRED, entry("foreign", "other", "math-*"))
    gateway = await open_gateway(tokens_file=path)
    got, answer_headers, [answer] = await gateway.post(lines(sample()), headers=headers)
    assert (got, answer["error"]["code"]) == (status, code)
    assert status != 401 or answer_headers["WWW-Authenticate"].startswith("Bearer")
    assert not gateway.publisher.sent
    assert (await gateway.post(lines(sample()), headers=bearer("right")))[0] == 200


@pytest.mark.parametrize("token", [None, "wrong", "old"])
async def test_grpc_lets_in_whom_it_should(open_gateway, tokens_file, token):
    """A stream without a good token does not begin."""
    gateway = await open_gateway(tokens_file=tokens_file(entry("right", "demo"), EXPIRED))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.ingest(request(1), bearer=token)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await gateway.ingest(request(1), bearer="right"))[0].status == 1


async def test_grpc_refuses_foreign_datasets_one_by_one(open_gateway, tokens_file):
    """Whether they exist or not, which the token does not open."""
    gateway = await open_gateway(tokens_file=tokens_file(entry("right", "de*")))
    answers = await gateway.ingest(request(1, dataset="other"), request(2, dataset="nope"), request(3), bearer="right")
    assert [answer.error_code for answer in answers] == ["foreign_dataset", "foreign_dataset", ""]


async def test_the_list_of_datasets_shows_what_the_token_opens(open_gateway, tokens_file):
    """And no more."""
    gateway = await open_gateway(tokens_file=tokens_file(entry("right", "demo")))
    async with aiohttp.ClientSession(headers=bearer("right")) as session, session.get(f"{gateway.url}/v1/datasets") as response:
        assert [dataset["id"] for dataset in (await response.json())["datasets"]] == ["demo"]


async def test_a_token_that_expires_in_the_middle_of_a_stream_ends_it(open_gateway, tokens_file):
    """What was sent before is answered."""
    now = 1_000.0
    gateway = await open_gateway(
        tokens_file=tokens_file(entry("right", "demo", expires="1970-01-01T00:20:00Z")), clock=lambda: now
    )
    gate = asyncio.Event()

    async def requests():
        yield request(1)
        await gate.wait()
        yield request(2)

    async with gateway.channel() as channel:
        call = ingest_pb2_grpc.IngestServiceStub(channel).Ingest(requests(), metadata=(("authorization", "Bearer right"),))
        assert (await call.read()).ref == 1
        now = 1_200.0
        gate.set()
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(gateway.publisher.sent) == 1


async def test_a_change_of_the_file_is_taken_up(open_gateway, tokens_file):
    """New tokens open, withdrawn ones close also under open streams, and a broken file changes nothing."""
    path = tokens_file(entry("a", "demo"))
    gateway = await open_gateway(tokens_file=path)
    follower = asyncio.create_task(gateway.edge.tokens.follow(0.01))
    try:
        caller = gateway.edge.tokens.authenticate("Bearer a")
        tokens_file(entry("a", "other"), entry("b", "demo"))
        await eventually(lambda: not caller.opens("demo", time.time()))
        assert gateway.edge.tokens.authenticate("bearer b").opens("demo", time.time())
        for broken in ("{broken", "tokens: [{expires: 2026-02-30}]", "[" * 5_000):
            path.write_text(broken)
            await asyncio.sleep(0.1)
            assert gateway.edge.tokens.authenticate("Bearer b")
        tokens_file(entry("b", "demo"))
        await eventually(lambda: caller.grant is None)
        with pytest.raises(Unauthenticated, match="withdrawn"):
            caller.check(time.time())
        path.unlink()
        await asyncio.sleep(0.1)
        assert gateway.edge.tokens.authenticate("Bearer b")
    finally:
        follower.cancel()


async def test_a_token_that_is_narrowed_in_the_middle_of_a_body_writes_no_further(open_gateway, tokens_file):
    """From then on its lines are refused one by one, as on gRPC; what was received before stays."""
    gateway = await open_gateway(tokens_file=tokens_file(entry("a", "demo")))
    following = background(gateway.exits, gateway.edge.tokens.follow(0.01), "tokens")
    caller, narrowed = gateway.edge.tokens.authenticate("Bearer a"), asyncio.Event()

    async def body():
        yield lines(sample("1"))
        await narrowed.wait()
        yield lines(sample("2"))

    posting = asyncio.create_task(gateway.post(body(), headers=bearer("a")))
    await eventually(lambda: gateway.publisher.sent)
    tokens_file(entry("a", "other"))
    await eventually(lambda: not caller.opens("demo", time.time()))
    narrowed.set()
    _, _, results = await posting
    assert [(each["line"], each["status"], each.get("code")) for each in results] == [
        (1, "received", None),
        (2, "refused", "foreign_dataset"),
    ]
    assert len(gateway.publisher.sent) == 1
    await following()


async def test_a_used_up_rate_is_answered_with_when_to_come_again(open_gateway, tokens_file):
    """A stream is slowed down; a new request is told to wait."""
    gateway = await open_gateway(tokens_file=tokens_file(entry("slow", "demo", rate_per_s=20)))
    began = time.monotonic()
    await gateway.post(lines(*(sample(str(n)) for n in range(30))), headers=bearer("slow"))
    assert 0.3 < time.monotonic() - began < 3  # a second's worth at once, the rest at the rate
    status, headers, [answer] = await gateway.post(lines(sample()), headers=bearer("slow"))
    assert (status, answer["error"]["code"]) == (429, "rate")
    assert int(headers["Retry-After"]) >= 1
    began = time.monotonic()
    assert len(await gateway.ingest(*(request(n, f"g{n}") for n in range(5)), bearer="slow")) == 5
    assert time.monotonic() - began > 0.15


async def test_a_tokens_streams_are_limited(open_gateway, tokens_file):
    """One client cannot take all places."""
    gateway = await open_gateway(tokens_file=tokens_file(entry("one", "demo", streams=1), entry("more", "demo")))
    gateway.publisher.holding = True
    first = asyncio.create_task(gateway.post(lines(sample()), headers=bearer("one")))
    await eventually(lambda: gateway.publisher.held)
    assert (await gateway.post(lines(sample()), headers=bearer("one")))[0] == 429
    second = asyncio.create_task(gateway.post(lines(sample("5")), headers=bearer("more")))
    await eventually(lambda: len(gateway.publisher.held) == 2)
    gateway.publisher.release()
    assert [answer[0] for answer in await asyncio.gather(first, second)] == [200, 200]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gateway.example.org"])  # noqa: S104 - what is refused
def test_an_open_gateway_stays_on_this_machine(host, tmp_path):
    """Without tokens it does not start where others could reach it."""
    with pytest.raises(TokensUnusable, match="HEADRACE_GATEWAY_TOKENS_FILE"):
        check_exposure(host, None)
    check_exposure(host, tmp_path)
    for loopback in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        check_exposure(loopback, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "tokens.yaml"),
        ("[]", "tokens.yaml"),
        ("[" * 5_000, "tokens.yaml"),
        ("tokens: [{name: x, sha256: secret-itself, expires: 2026-02-30}]", "day is out of range for month"),
        ("tokens: [{name: x, sha256: secret-itself, datasets: [a]}", "line 1"),
        ("tokens: [{name: x}]", "tokens.0.sha256"),
        ("tokens: [{name: x, sha256: secret-itself, datasets: [a]}]", "tokens.0.sha256"),
        (f"tokens: [{{name: x, sha256: {'0' * 64}, datasets: []}}]", "tokens.0.datasets"),
        (f"tokens: [{{name: x, sha256: {'0' * 64}, datasets: [a], rate: 3}}]", "tokens.0.rate"),
        (f"tokens: [{{name: x, sha256: {'a' * 64}, datasets: [a], expires: 2027-01-01 00:00:00}}]", "time zone"),
        (f"tokens: [{{name: x, sha256: {'a' * 64}, datasets: [a]}}, {{name: y, sha256: {'A' * 64}, datasets: [b]}}]", "twice"),
    ],
)
def test_a_tokens_file_that_cannot_be_used_says_where(tmp_path, text, told):
    """And never repeats what stands there: it might be a token."""
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    with pytest.raises(TokensUnusable, match="HEADRACE_GATEWAY_TOKENS_FILE") as caught:
        Tokens(path)
    assert told in str(caught.value)
    assert "secret-itself" not in str(caught.value)


def test_a_missing_tokens_file_is_no_open_gateway(tmp_path):
    """A wrong path must not open the door."""
    with pytest.raises(TokensUnusable, match="No such file"):
        Tokens(tmp_path / "nowhere.yaml")
