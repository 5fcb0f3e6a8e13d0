"""A chat endpoint that costs next to nothing, in a process of its own: `python quick_chat_endpoint.py DELAY_S FAILING_SHARE`.

It prints its port. GET /v1/seen: `{"asked": ..., "answered": ..., "in_flight_most": ..., "busy_s": ...}`, and GET /v1/counted the
same, which begins counting anew. `busy_s` adds up the seconds of all calls: divided by the time that passed it is the calls on
their way on average.
"""

import asyncio
import json
import random
import sys
import time

import uvloop

_TEXT = "A short and useful answer, as a model would write it, with a few words more to make it look like one. " * 3
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_767_225_600, "model": "quick",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 70, "total_tokens": 130},
    }
).encode()  # fmt: skip


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


GOOD, BAD = http("200 OK", ANSWER), http("500 Internal Server Error", b'{"error": "unlucky"}')


class Counts:
    """What was asked since somebody looked."""

    def __init__(self) -> None:
        self.asked = self.answered = self.in_flight = self.in_flight_most = 0
        self.busy_s = 0.0

    def told(self, *, anew: bool) -> bytes:
        told = {name: getattr(self, name) for name in ("asked", "answered", "in_flight_most", "busy_s")}
        if anew:
            self.asked = self.answered = self.in_flight_most = 0
            self.busy_s = 0.0
        return http("200 OK", json.dumps(told).encode())


class Connection(asyncio.Protocol):
    """Reads requests with a length, answers after the delay."""

    def __init__(self, counts: Counts, delay_s: float, failing_share: float, luck: random.Random) -> None:
        self.counts = counts
        self.delay_s = delay_s
        self.failing_share = failing_share
        self.luck = luck
        self.got = b""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        while (end := self.got.find(b"\r\n\r\n")) >= 0:
            head = self.got[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.got) < end + 4 + length:
                return
            self.got = self.got[end + 4 + length :]
            if head.startswith(b"get"):
                self.transport.write(self.counts.told(anew=b"/counted" in head.split(b"\r\n", 1)[0]))
            else:
                self.asked()

    def asked(self) -> None:
        counts = self.counts
        counts.asked += 1
        counts.in_flight += 1
        counts.in_flight_most = max(counts.in_flight, counts.in_flight_most)
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self.answer, time.monotonic())
        else:
            self.answer(time.monotonic())

    def answer(self, began: float) -> None:
        counts = self.counts
        counts.in_flight -= 1
        counts.busy_s += time.monotonic() - began
        fails = self.luck.random() < self.failing_share
        counts.answered += not fails
        self.transport.write(BAD if fails else GOOD)


async def main(delay_s: float, failing_share: float) -> None:
    """Serves until it is ended."""
    counts, luck = Counts(), random.Random(5)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counts, delay_s, failing_share, luck), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # whoever started it reads the port
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1]), float(sys.argv[2])))
