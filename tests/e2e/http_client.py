"""A client of the gateway's HTTP entry: `http_client.py URL [SEED]` streams the JSON Lines of its standard input there.

With a seed, it breaks the connection itself every now and then, at any point. It ends with 0 once every line was received.
"""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus

import aiohttp

AGAIN_S = 0.5
LINES_TO_A_BREAK = (40, 120)
RESULTS_LOST = 8
"""Of so many lines before a break no result arrives, whatever the gateway said."""
_NOT_NOW = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class NotTaken(Exception):
    """The gateway refused a line, or all of them."""


class HttpClient:
    """Sends in one request for as long as that lasts, and reads the results meanwhile.

    A line is owed until its result says that it was received: the next request begins with all that are.
    """

    def __init__(self, url: str, rng: random.Random | None) -> None:
        self._url = url
        self._rng = rng
        self._owed: dict[int, bytes] = {}
        self._came = asyncio.Event()
        self._is_over = False
        self._breaks_at = rng.randint(*LINES_TO_A_BREAK) if rng else None
        self.read = 0
        self.sent = 0
        self.requests = 0

    async def take(self, lines: asyncio.StreamReader) -> None:
        """Owes every line from now on, as they come."""
        while line := await lines.readline():
            self._owed[self.read] = line
            self.read += 1
            self._came.set()
        self._is_over, self._breaks_at = True, None
        self._came.set()

    async def deliver(self) -> None:
        """One request after the other, until nothing is owed and nothing will come.

        Raises:
            NotTaken: sending again would not help.
        """
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            while self._owed or not self._is_over:
                self.requests += 1
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with asyncio.timeout(None) as connection:
                        await self._post(session, connection)
                await asyncio.sleep(AGAIN_S)

    async def _post(self, session: aiohttp.ClientSession, connection: asyncio.Timeout) -> None:
        numbers: list[int] = []
        async with session.post(self._url, data=self._body(numbers, connection)) as response:
            if response.status in _NOT_NOW:
                return
            if response.status != HTTPStatus.OK:
                raise NotTaken(f"{response.status}: {await response.text()}")
            async for told in response.content:
                result = json.loads(told)
                if result["status"] == "received":
                    self._received(numbers[result["line"] - 1])
                elif result["status"] == "refused":
                    raise NotTaken(told.decode())

    def _received(self, number: int) -> None:
        if self._breaks_at is None or number < self._breaks_at - RESULTS_LOST:
            del self._owed[number]

    async def _body(self, numbers: list[int], connection: asyncio.Timeout) -> AsyncIterator[bytes]:
        """What is owed, then what comes; `numbers` says which line is the first of this body, the second, and so on."""
        while True:
            self._came.clear()
            for number in [each for each in self._owed if not numbers or each > numbers[-1]]:
                numbers.append(number)
                self.sent += 1
                if self._rng and self._breaks_at == number:
                    self._breaks_at = self.read + self._rng.randint(*LINES_TO_A_BREAK)
                    yield self._owed[number][: self._rng.randint(1, len(self._owed[number]))]
                    connection.reschedule(asyncio.get_running_loop().time())
                    await asyncio.Event().wait()  # nothing more goes through this connection
                yield self._owed[number]
            if not self._came.is_set():
                if self._is_over:
                    return
                await self._came.wait()


async def main(url: str, rng: random.Random | None) -> None:
    """Delivers standard input, and says what that took."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    client = HttpClient(url, rng)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.take(lines))
        tasks.create_task(client.deliver())
    sys.stderr.write(f"HTTP: {client.read} lines, {client.sent - client.read} sent again, {client.requests} requests\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], random.Random(sys.argv[2]) if sys.argv[2:] else None))
