"""How fast samples pass the door: lines parsed on one core, then gRPC and HTTP before a publisher that confirms at once."""

import asyncio
import contextlib
import json
import multiprocessing
import resource
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import uvloop

from headrace.client import submit
from headrace.core.intake import IntakeLimits, parse_line
from tests.fakes.gateway import HOST, started

LINES = 20_000
ROUNDS = 5
SENT = 20_000
CHUNK_BYTES = 64 * 1024


def lines() -> dict[str, bytes]:
    """One line of about 1 kB in each form that counts, and one that must be escaped."""
    question, answer = (
        "What is the sum of $\\frac{1}{2}$ and $\\beta$? " * 5,
        "The answer is \\boxed{42}.\nLet us think it over. " * 15,
    )
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    envelope = {"id": "p-1.a", "reference": {"answer": "42", "verifier": "math"}, "metadata": {"source": "bench", "score": 0.5}}
    tool = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    calls = [turns[0], {"role": "assistant", "content": None, "tool_calls": [tool]}, {"role": "tool", "content": "3"}, turns[1]]
    escaped = [turns[0], {"role": "assistant", "content": answer + "😀é"}]
    forms = {
        "messages": {"messages": turns, **envelope},
        "messages, escaped non-ASCII": {"messages": escaped},
        "messages, tool calls": {"messages": calls},
        "alpaca": {"instruction": question, "input": "", "output": answer},
        "sharegpt": {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]},
    }
    return {name: json.dumps(form).encode() for name, form in forms.items()}


def main() -> None:
    """Print the best of a few rounds for each form, then both entries."""
    limits = IntakeLimits()
    for name, raw in lines().items():
        best = min(_seconds(raw, limits) for _ in range(ROUNDS))
        print(f"{name:30} {len(raw):5} bytes {LINES / best:10,.0f} lines/s {best / LINES * 1e6:6.1f} us/line")
    uvloop.run(_entries())


def _seconds(raw: bytes, limits: IntakeLimits) -> float:
    began = time.perf_counter()
    for _ in range(LINES // ROUNDS):
        parse_line(raw, "bench", limits, "http")
    return (time.perf_counter() - began) * ROUNDS


async def _entries() -> None:
    async with contextlib.AsyncExitStack() as stack:
        gateway = await started(stack)
        for name, send, port in (("gRPC", by_grpc, gateway.grpc_port), ("HTTP", by_http, gateway.http_port)):
            await _entry(name, send, port)
            gateway.publisher.sent.clear()


async def _entry(name: str, send: Callable[[int], None], port: int) -> None:
    """The client has a process of its own; what is counted is this one's processor time."""
    client = multiprocessing.get_context("spawn").Process(target=send, args=(port,))
    began, used = time.perf_counter(), time.process_time()
    client.start()
    while client.is_alive():  # noqa: ASYNC110 - a process does not tell
        await asyncio.sleep(0.02)
    took, used = time.perf_counter() - began, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{name:30} {SENT / took:10,.0f} samples/s {used / SENT * 1e6:6.1f} us of processor/sample, peak {peak} MiB")


def by_grpc(port: int) -> None:
    """Send everything on one stream."""

    async def send() -> None:
        async for _ in submit("demo", _samples(), gateway=f"{HOST}:{port}"):
            pass

    asyncio.run(send())


def by_http(port: int) -> None:
    """Send everything in one body."""
    body = b"\n".join(_samples())

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), CHUNK_BYTES):
            yield body[at : at + CHUNK_BYTES]

    async def send() -> None:
        url = f"http://{HOST}:{port}/v1/datasets/demo/samples"
        async with aiohttp.ClientSession() as session, session.post(url, data=chunks()) as response:
            async for _ in response.content:
                pass

    asyncio.run(send())


def _samples() -> list[bytes]:
    raw = lines()["messages"]
    return [raw.replace(b"p-1.a", b"p-%d.a" % number) for number in range(SENT)]


if __name__ == "__main__":
    main()
