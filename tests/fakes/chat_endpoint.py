"""An OpenAI-compatible endpoint that misbehaves as it is told, and counts what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from headrace.adapters.chat.endpoint import ChatEndpoint, chat_session
from headrace.adapters.chat.settings import ChatSettings

CUT_OFF = {"index": 0, "message": {"role": "assistant", "content": "Y"}, "finish_reason": "length"}
Behave = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


def completion(text: object = "Fine.", **changes: Any) -> dict[str, Any]:
    """A well-formed answer; `changes` replace its parts."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "stub-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    } | changes


def answers(text: object = "Fine.", **changes: Any) -> Behave:
    """Always the same completion."""

    async def behave(_: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(completion(text, **changes))

    return behave


def says(status: int = 200, body: bytes = b"", **headers: str) -> Behave:
    """Always these bytes; underscores in the names of headers stand for hyphens."""

    async def behave(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return behave


def after(seconds: float, then: Behave) -> Behave:
    """The same, later."""

    async def behave(request: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await then(request)

    return behave


@dataclass
class StubEndpoint:
    """`script` says what the first answers are, one after the other; `always` what comes after them.

    Calls of one token are answered by `checking`, and counted as `checks` alone.
    """

    always: Behave = field(default_factory=answers)
    script: list[Behave] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    in_flight: int = 0
    in_flight_most: int = 0
    url: str = ""
    checking: Behave = field(default_factory=lambda: answers(choices=[CUT_OFF]))
    checks: list[dict[str, Any]] = field(default_factory=list)

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if 1 in {body.get("max_tokens"), body.get("max_completion_tokens")}:
            self.checks.append(body)
            return await self.checking(body)
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight, self.in_flight_most)
        try:
            behave = self.script.pop(0) if self.script else self.always
            return await behave(body)
        finally:
            self.in_flight -= 1

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["StubEndpoint"]:
        """On a free port, or that one."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._asked)
        app.router.add_get("/v1/models", _models)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            yield self
        finally:
            await runner.cleanup()


async def _models(_: web.Request) -> web.StreamResponse:
    return web.json_response({"object": "list", "data": []})


@asynccontextmanager
async def asked(url: str, **settings: Any) -> AsyncIterator[ChatEndpoint]:
    """An endpoint's client with short waits."""
    quick: dict[str, Any] = {
        "model": "stub",
        "retry_s_min": 0.01,
        "retry_s_max": 0.02,
        "retries": 3,
        "gone_s_max": 30.0,
        "deadline_s": 30.0,
    }
    async with chat_session() as session:
        yield ChatEndpoint(ChatSettings(url=url, **(quick | settings)), session)


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[str]:
    """A server that answers every connection with the same bytes, HTTP or not."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def prompt_in(request: dict[str, Any]) -> str:
    """The last turn of a request."""
    content: str = request["messages"][-1]["content"]
    return content


def as_json(value: object) -> str:
    """What a model writes that was asked for JSON."""
    return json.dumps(value)
