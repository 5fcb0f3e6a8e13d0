"""A door before the object store that a test can shut to writes, while reads pass: a full disk, a store in read-only mode."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

_WRITES = frozenset({"PUT", "POST", "DELETE"})
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})
_REFUSAL = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    "<Error><Code>ServiceUnavailable</Code><Message>writes are refused for a while</Message></Error>"
)
_BODY_BYTES_MAX = 1 << 30


class StoreGate:
    """Passes requests on to `store` (host:port) as they are: signatures cover the host that the client named, so it is kept.

    `refused` counts the writes that were answered with 503. It runs in a thread of its own, from `opened`.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self.address = ""
        self.refuses_writes = False
        self.refused = 0

    @classmethod
    @contextlib.contextmanager
    def opened(cls, store: str) -> Iterator[Self]:
        """A gate that passes everything; see `address`."""
        gate, is_open = cls(store), threading.Event()
        thread = threading.Thread(target=gate._run, args=(is_open,), name="store gate")
        thread.start()
        try:
            assert is_open.wait(30), "the gate before the object store does not open"
            yield gate
        finally:
            gate._loop.call_soon_threadsafe(gate._loop.stop)
            thread.join()

    def _run(self, is_open: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._open())
        is_open.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._close(runner))
        self._loop.close()

    async def _open(self) -> web.AppRunner:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=_BODY_BYTES_MAX)
        application.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(application, access_log=None, auto_decompress=False, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _close(self, runner: web.AppRunner) -> None:
        await runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.refuses_writes and request.method in _WRITES:
            self.refused += 1
            return web.Response(status=503, text=_REFUSAL, content_type="application/xml")
        assert self._session is not None
        url = f"http://{self._store}{request.raw_path}"
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                headers={name: text for name, text in request.headers.items() if name.lower() not in _HOP_BY_HOP},
                data=body or None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            ) as answer:
                return await _told(request, answer)
        except (aiohttp.ClientError, OSError):  # it is not there: neither is the gate, as far as the client can see
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)


async def _told(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    told = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, text in answer.headers.items():
        if name.lower() not in _HOP_BY_HOP:
            told.headers.add(name, text)
    await told.prepare(request)
    async for chunk in answer.content.iter_any():
        await told.write(chunk)
    await told.write_eof()
    return told
