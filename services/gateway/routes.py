"""HTTP: JSON Lines in, one result line for each out, while the body is still being read."""

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from headrace.adapters.wire.envelope import trace_of
from headrace.core.refusals import RefusalCode, Refused
from services.gateway.edge import Edge
from services.gateway.json_lines import Gunzip, Line, LineSplitter, Plain
from services.gateway.outbox import Answer, Status, Ticket
from services.gateway.streams import TooManyStreams, Window
from services.gateway.tokens import Caller, Unauthenticated

ENTRY = "http"
_log = logging.getLogger("headrace.gateway")
_NDJSON = "application/x-ndjson"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_STATUS_OF = {
    RefusalCode.FOREIGN_DATASET: 403,
    RefusalCode.UNKNOWN_DATASET: 404,
    RefusalCode.GZIP_BOMB: 413,
    RefusalCode.TOO_LARGE: 413,
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Denied(Exception):
    """An answer before any sample is read."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


def application(edge: Edge) -> web.Application:
    """The HTTP side of the gateway. It unpacks bodies itself, within limits: run it with `auto_decompress=False`."""
    routes = _Routes(edge)
    app = web.Application(middlewares=[_errors_as_json])
    app.router.add_post("/v1/datasets/{dataset}/samples", routes.post_samples)
    app.router.add_get("/v1/datasets", routes.get_datasets)
    return app


class _CutOff(Exception):
    """The connection was closed on a client that does not read."""


class _Routes:
    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def get_datasets(self, request: web.Request) -> web.StreamResponse:
        """The datasets that the caller may send to, each with its policy's version."""
        caller = self._caller(request)
        now = self._edge.clock()
        listed = [
            {"id": dataset_id, "policy_version": policy.version}
            for dataset_id, policy in sorted(self._edge.door.policies.items())
            if caller.opens(dataset_id, now)
        ]
        return web.json_response({"datasets": listed})

    async def post_samples(self, request: web.Request) -> web.StreamResponse:
        """Samples as JSON Lines. `?results=refused` answers only the lines that were not received, and sums up at the end."""
        caller, dataset_id = self._caller(request), request.match_info["dataset"]
        self._edge.check_access(caller, dataset_id)
        await self._edge.settle(dataset_id)
        self._edge.door.check_dataset(dataset_id)
        if wait_s := caller.pace.wait_s():
            raise _Denied(429, "rate", "the token's rate is used up", {"Retry-After": str(math.ceil(wait_s))})
        results = request.query.get("results", "all")
        if results not in {"all", "refused"}:
            raise _Denied(400, "bad_query", "results is 'all' or 'refused'")
        body = self._body_of(request)
        answers = _Results(request, self._edge, all_lines=results == "all")
        with self._edge.streams.opened(ENTRY, caller):
            try:
                return await self._serve(request, body, caller, answers)
            except _CutOff:
                return answers.response

    async def _serve(self, request: web.Request, body: Gunzip | Plain, caller: Caller, results: "_Results") -> web.StreamResponse:
        window: Window[int] = Window(self._edge.settings.window)
        with self._edge.streams.reading(self._read(request, body, caller, window), window) as reader:
            async for batch in window.answers():
                await results.write(batch)
            await asyncio.wait((reader,))
        if reader.cancelled():
            return await results.end(503, "stopping", "the gateway is stopping; send the lines that have no result again")
        match reader.exception():
            case None:
                return await results.finish()
            case Refused() as error:
                return await results.end(_STATUS_OF.get(error.code, 400), error.code.value, error.message)
            case Unauthenticated() as error:
                return await results.end(401, "unauthenticated", str(error))
            case TimeoutError():
                told = "nothing of the body arrived for too long (HEADRACE_GATEWAY_BODY_IDLE_S_MAX)"
                return await results.end(408, "body_idle", told)
            case web.RequestPayloadError() as error:
                return await results.end(400, "bad_body", f"the body cannot be read: {error}")
            case error:
                raise error

    async def _read(self, request: web.Request, body: Gunzip | Plain, caller: Caller, window: Window[int]) -> None:
        splitter, trace = LineSplitter(self._edge.settings.line_bytes_max), trace_of(request.headers)
        while chunk := await self._chunk(request):
            for piece in body.feed(chunk):
                for line in splitter.feed(piece):
                    await window.put(line.number, await self._ticket(line, request, caller, trace))
                await asyncio.sleep(0)  # others have their turn, also where a piece held no line to wait for
        body.finish()
        for line in splitter.finish():
            await window.put(line.number, await self._ticket(line, request, caller, trace))

    async def _chunk(self, request: web.Request) -> bytes:
        async with asyncio.timeout(self._edge.settings.body_idle_s_max):
            return await request.content.readany()

    async def _ticket(self, line: Line, request: web.Request, caller: Caller, trace: Mapping[str, str]) -> Ticket:
        raw, dataset_id = line.raw, request.match_info["dataset"]
        if raw is None:
            told = f"the line has more than {self._edge.settings.line_bytes_max} bytes (HEADRACE_GATEWAY_LINE_BYTES_MAX)"
            return self._edge.outbox.refuse(Refused(RefusalCode.TOO_LARGE, told), ENTRY)
        make = partial(self._edge.door.from_json, raw, dataset_id, ENTRY)
        return await self._edge.take(caller, dataset_id, make, len(raw), ENTRY, trace)

    def _body_of(self, request: web.Request) -> Gunzip | Plain:
        settings = self._edge.settings
        if request.content_type.startswith("multipart/"):
            raise _Denied(415, "bad_content_type", "send JSON Lines as the body itself, not as a form")
        match request.headers.get("Content-Encoding", "identity").strip().lower():
            case "identity" | "":
                return Plain(settings.body_bytes_max)
            case "gzip" | "x-gzip":
                return Gunzip(settings.body_bytes_max, settings.gzip_ratio_max)
            case other:
                raise _Denied(415, "bad_encoding", f"Content-Encoding {other[:40]!a} is not read here; send gzip or nothing")

    def _caller(self, request: web.Request) -> Caller:
        """Raises Unauthenticated. An open gateway must not be reached through somebody's browser."""
        caller = self._edge.tokens.authenticate(request.headers.get("Authorization"))
        if self._edge.tokens.open:
            host = (request.url.host or "").lower()
            if "Origin" in request.headers or host not in _LOOPBACK_NAMES:
                raise _Denied(403, "foreign_origin", "without tokens only programs on this machine may send")
        return caller


class _Results:
    """The response: begun with the first line, so that what fails before is a plain HTTP error."""

    def __init__(self, request: web.Request, edge: Edge, *, all_lines: bool) -> None:
        self._request = request
        self._stall_s_max = edge.settings.answer_stall_s_max
        self._all_lines = all_lines
        self._counts = dict.fromkeys(Status, 0)
        self.response = web.StreamResponse(headers={"Content-Type": _NDJSON, "X-Accel-Buffering": "no"})

    async def write(self, batch: list[tuple[int, Answer]]) -> None:
        """One line for each answer; waits while the client does not read."""
        lines = []
        for number, answer in batch:
            self._counts[answer.status] += 1
            if self._all_lines or answer.status is not Status.RECEIVED:
                lines.append(_result_line(number, answer))
        if lines:
            await self._send(b"".join(lines))

    async def finish(self) -> web.StreamResponse:
        """All of the body was read."""
        await self._sum_up()
        await self._begin()
        await self.response.write_eof()
        return self.response

    async def end(self, status: int, code: str, message: str) -> web.StreamResponse:
        """The body could not be read further: an error status where nothing was answered yet, else a last line."""
        if not self.response.prepared:
            raise _Denied(status, code, message)
        await self._send(_json_line({"status": "ended", "code": code, "error": message}))
        await self._sum_up()
        self.response.force_close()
        await self.response.write_eof()
        return self.response

    async def _sum_up(self) -> None:
        if not self._all_lines:
            await self._send(_json_line({"summary": {status.value: count for status, count in self._counts.items()}}))

    async def _begin(self) -> None:
        if not self.response.prepared:
            await self.response.prepare(self._request)

    async def _send(self, lines: bytes) -> None:
        try:
            async with asyncio.timeout(self._stall_s_max):
                await self._begin()
                await self.response.write(lines)
        except TimeoutError:
            _log.warning("a client did not read its answers and was cut off (HEADRACE_GATEWAY_ANSWER_STALL_S_MAX)")
            if self._request.transport is not None:
                self._request.transport.abort()
            raise _CutOff from None


def _result_line(number: int, answer: Answer) -> bytes:
    result: dict[str, Any] = {"line": number, "status": answer.status.value}
    if answer.sample_id:
        result |= {"id": answer.sample_id, "revision": answer.revision, "content_hash": answer.content_hash}
    if answer.code:
        result |= {"code": answer.code, "error": answer.error}
    return _json_line(result)


def _json_line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Unauthenticated as error:
        return _error(401, "unauthenticated", str(error), {"WWW-Authenticate": 'Bearer realm="headrace"'})
    except TooManyStreams as error:
        return _error(429, "too_many_streams", str(error), {"Retry-After": "1"})
    except Refused as refused:
        return _error(_STATUS_OF.get(refused.code, 400), refused.code.value, refused.message)
    except _Denied as denied:
        return _error(denied.status, denied.code, denied.message, denied.headers)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - a redirect is no error
            raise
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return _error(error.status, error.reason.lower().replace(" ", "_"), f"{request.method} {request.path[:200]}", allowed)


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)
