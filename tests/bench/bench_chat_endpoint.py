"""Driving a chat endpoint, two calls a sample: `python tests/bench/bench_chat_endpoint.py [SAMPLES]`.

The stub, in a process of its own, answers at once; beside it a bare aiohttp loop in this process makes the same calls. Ours
looks each call up, reserves its budget, checks the answer, and has the reply in Kafka (a real broker) before it goes on. Both
have 64 calls on their way, on uvloop as services run; they take turns, and the best of each counts. Then a stub that takes 50 ms
and, for ours, fails at 5% of the calls.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "libs")]

import aiohttp  # noqa: E402  # the path comes first
import uvloop  # noqa: E402

from headrace.adapters.chat.endpoint import chat_session  # noqa: E402
from headrace.adapters.chat.kept import ChatEndpoints, KeptChat  # noqa: E402
from headrace.adapters.chat.replies import Replies  # noqa: E402
from headrace.adapters.chat.settings import ChatSettings, RepliesSettings  # noqa: E402
from headrace.adapters.kafka_admin import KafkaAdmin, TopicSpec  # noqa: E402
from headrace.core.budgets import BudgetLedger, Limits  # noqa: E402
from headrace.core.chat import ANSWERER, REFINER, Call, Reply, Sampling  # noqa: E402
from headrace.core.samples import Message  # noqa: E402
from headrace.core.topics import CHAT_REPLIES  # noqa: E402
from headrace.local.kafka import Kafka  # noqa: E402
from headrace.local.running import running  # noqa: E402

IN_FLIGHT = 64
IN_HAND = 256
PARTITIONS = 4
ROUNDS = 3
SLOW_S = 0.05
FAILING = 0.05
PROMPT = "Rewrite the following question so that a small model can learn from it, and say nothing else. " * 3


@contextmanager
def stub(delay_s: float, failing_share: float) -> Iterator[str]:
    """The base address of a quick endpoint."""
    command = (sys.executable, str(ROOT / "tests/fakes/quick_chat_endpoint.py"), str(delay_s), str(failing_share))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait()


async def bare_seconds(url: str, samples: int, tag: str) -> float:
    """The calls and nothing else: 64 workers that take one sample after the other."""
    todo = iter(range(samples))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in todo:
            text = PROMPT + f"{tag} {number}"
            for _ in range(2):
                body = {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 1.0, "max_tokens": 512}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    text = (await response.json())["choices"][0]["message"]["content"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(work(session) for _ in range(IN_FLIGHT)))
        return time.perf_counter() - began


@dataclass(slots=True)
class Run:
    """How long ours took, and how many samples got both replies.

    Until the last sample was begun (`begun_s`), `at_stub` calls were at the stub on average; what comes after that is those
    that wait for their next try, which says nothing about concurrency.
    """

    seconds: float = 0.0
    done: int = 0
    begun_s: float = 0.0
    at_stub: float = 0.0


async def our_run(url: str, samples: int, tag: str, bootstrap: str) -> Run:
    """With a batch of samples in hand, as a handler has."""
    settings = ChatSettings(url=url, concurrency=IN_FLIGHT, prompt_price=1.0, completion_price=2.0)
    ledger, limits = BudgetLedger(), Limits(tokens=10**9, money=10**6, seconds=10**9)
    run, began = Run(), 0.0

    async def refine(chat: KeptChat, number: int) -> None:
        text, partition = PROMPT + f"{tag} {number}", number % PARTITIONS
        for role in (REFINER, ANSWERER):
            call = Call(role, (Message("user", text),), Sampling(max_tokens=512), partition=partition, account="round")
            outcome = await chat.ask(call)
            if not isinstance(outcome, Reply):
                return
            text = outcome.text + f"{tag} {number}"
        run.done += 1

    async def in_hand(chat: KeptChat, replies: Replies) -> None:
        """So many samples at a time; one in as many catches up, as each batch does."""
        todo = iter(range(samples))

        async def work() -> None:
            for number in todo:
                if number % IN_HAND == 0:
                    await replies.catch_up(range(PARTITIONS))
                await refine(chat, number)
            if not run.begun_s:
                run.begun_s = time.perf_counter() - began
                run.at_stub = (await seen(url))["busy_s"] / run.begun_s

        await asyncio.gather(*(work() for _ in range(IN_HAND)))

    async with (
        chat_session() as session,
        Replies.opened(bootstrap, "headrace/bench", RepliesSettings(), lambda _: None) as replies,
    ):
        chat = KeptChat(ChatEndpoints(session, lambda _: settings), replies, ledger, lambda _: limits, lambda *_: None)
        await replies.catch_up(range(PARTITIONS))
        began = time.perf_counter()
        await in_hand(chat, replies)
        run.seconds = time.perf_counter() - began
        return run


async def seen(url: str) -> dict[str, float]:
    """What the stub saw so far."""
    return await _asked_stub(f"{url}/seen")


async def counted(url: str) -> dict[str, float]:
    """What the stub saw since it was last asked so."""
    return await _asked_stub(f"{url}/counted")


async def _asked_stub(address: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        counts: dict[str, float] = json.loads(await response.read())
        return counts


async def at_once(bootstrap: str, samples: int) -> None:
    """One line: samples a second, ours and bare."""
    with stub(0.0, 0.0) as url:
        bare, ours = [], []
        await bare_seconds(url, 200, "warm")
        for turn in range(ROUNDS):
            bare.append(samples / await bare_seconds(url, samples, f"bare {turn}"))
            await counted(url)
            run = await our_run(url, samples, f"ours {turn}", bootstrap)
            counts = await counted(url)
            assert run.done == samples, f"{samples - run.done} samples got no replies"
            assert counts["asked"] == 2 * samples, f"{counts['asked']} calls for {samples} samples"
            ours.append(samples / run.seconds)
        print("samples/s, two calls each, best of 3       ours   bare aiohttp   ratio")
        print(f"stub answers at once           {max(ours):16,.0f} {max(bare):14,.0f} {max(ours) / max(bare):7.2f}")


async def slow_and_unlucky(bootstrap: str, samples: int) -> None:
    """One line: what is left of the concurrency when calls take 50 ms and one in twenty fails; the bare loop meets no failure."""
    with stub(SLOW_S, 0.0) as url:
        bare = samples / await bare_seconds(url, samples, "slow")
        bare_in_flight = (await counted(url))["busy_s"] * bare / samples
    with stub(SLOW_S, FAILING) as url:
        await counted(url)
        run = await our_run(url, samples, "slow", bootstrap)
        counts = await counted(url)
    failed = counts["asked"] - counts["answered"]
    ours = (samples - IN_HAND) / run.begun_s
    print(
        f"stub takes 50 ms, fails at 5%  {ours:16,.0f} {bare:14,.0f} {ours / bare:7.2f}\n"
        f"  at the stub on average {run.at_stub:.0f} calls of at most {IN_FLIGHT}, bare {bare_in_flight:.0f}; "
        f"{run.seconds - run.begun_s:.1f} s more for the last tries\n"
        f"  {failed:.0f} of {counts['asked']:.0f} calls failed, {samples - run.done} samples lost, "
        f"{counts['answered'] - 2 * samples:.0f} calls paid twice"
    )
    assert run.done == samples


async def measure(bootstrap: str, samples: int) -> None:
    with KafkaAdmin(bootstrap) as admin:
        admin.create([TopicSpec(CHAT_REPLIES.name, PARTITIONS, {})], replication_factor=1)
    await at_once(bootstrap, samples)
    await slow_and_unlucky(bootstrap, samples)
    print(f"peak resident memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


def main(samples: int = 5_000) -> None:
    """Measures with a broker of its own."""
    with tempfile.TemporaryDirectory() as folder, running(Kafka(), Path(folder)) as launch:
        uvloop.run(measure(launch.tells["HEADRACE_KAFKA"], samples))


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
