"""Liveness and readiness over HTTP: `/livez` is the loop's own tick, `/readyz` is what the services wait for."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from aiohttp import web

from headrace.runtime.service import Ping

PING_S_MAX = 2.0
_TICK_S = 0.25
_STALLED_S = 10.0


class Health:
    """The health server of one process.

    `reasons` says at any time why parts are not ready, by part; `pings` are asked at every look, all at once.
    """

    def __init__(self) -> None:
        self.reasons: Callable[[], Mapping[str, str]] = lambda: {"process": "starts"}
        self.pings: Mapping[str, Ping] = {}
        self._tick_at = 0.0
        self._ticking: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Serves; returns the port, which is a free one where 0 was asked for.

        Raises:
            OSError: the port is taken.
        """
        self._ticking = asyncio.create_task(self._tick(), name="tick")
        app = web.Application()
        app.add_routes([web.get("/livez", self._livez), web.get("/readyz", self._readyz)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        served: int = self._runner.addresses[0][1]
        return served

    async def stop(self) -> None:
        """Stops serving."""
        if self._ticking is not None:
            self._ticking.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def unready(self) -> dict[str, str]:
        """Why the process is not ready, by part; empty where it is."""
        waits = dict(self.reasons())
        names = list(self.pings)
        answers = await asyncio.gather(*(_asked(self.pings[name]) for name in names))
        return waits | {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._tick_at = loop.time()
            await asyncio.sleep(_TICK_S)

    async def _livez(self, _: web.Request) -> web.Response:
        age_s = asyncio.get_running_loop().time() - self._tick_at
        alive = age_s < _STALLED_S
        return web.json_response({"alive": alive, "tick_age_s": round(age_s, 3)}, status=200 if alive else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = await self.unready()
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)


async def _asked(ping: Ping) -> str | None:
    with contextlib.suppress(TimeoutError):
        try:
            async with asyncio.timeout(PING_S_MAX):
                await ping()
        except Exception as error:  # a ping may fail in any way; why is what the reader wants to know
            if not isinstance(error, TimeoutError):
                return f"{type(error).__name__}: {error}"[:500]
            raise
        return None
    return f"does not answer within {PING_S_MAX:g} s"
