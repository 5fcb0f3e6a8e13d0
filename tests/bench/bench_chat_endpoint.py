"""Driving a chat endpoint, two calls a sample: `python tests/bench/bench_chat_endpoint.py [SAMPLES]`.

The stub, in a process of its own, answers at once; beside it a bare aiohttp loop in this process makes the same calls and keeps
nothing. Ours looks each call up, reserves its budget and checks the answer; once with replies kept in memory, which is all that
a bare loop could do, and once as the product does: the reply is in Kafka (a real broker) before it goes on. All have 64 calls on
their way, on uvloop and with Python's search for garbage as services run. They take turns many times, and the best of each
counts: by the clock, which takes the stub's and the broker's share of the machine along, and by this process's own time, which
others at work on the machine disturb less. Then a stub that takes 50 ms and, for ours, fails at 5% of the calls.
"""

import asyncio
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
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
from headrace.adapters.kafka.admin import KafkaAdmin, TopicSpec  # noqa: E402
from headrace.core.budgets import Spend  # noqa: E402
from headrace.core.chat import ANSWERER, REFINER, Call, KeptReply, Reply, Sampling  # noqa: E402
from headrace.core.ports.chat_model import ChatModel, KeptReplies  # noqa: E402
from headrace.core.rounds.rewrite_costs import AllowedChat  # noqa: E402
from headrace.core.samples import Message  # noqa: E402
from headrace.core.topics import CHAT_REPLIES  # noqa: E402
from headrace.local.kafka import Kafka  # noqa: E402
from headrace.local.running import running  # noqa: E402
from headrace.runtime.app import GARBAGE_AFTER  # noqa: E402
from tests.fakes.rewrites import rewrite  # noqa: E402

IN_FLIGHT = 64
IN_HAND = 256
PARTITIONS = 4
ROUNDS = 10
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


class Spent:
    """Seconds, by the clock and of this process, since it was made."""

    def __init__(self) -> None:
        self._clock, self._process = time.perf_counter(), time.process_time()

    def so_far(self) -> "Seconds":
        return Seconds(time.perf_counter() - self._clock, time.process_time() - self._process)


@dataclass(frozen=True, slots=True)
class Seconds:
    clock: float
    process: float


async def bare_run(url: str, samples: int, tag: str) -> Seconds:
    """The calls and nothing else: 64 workers that take one sample after the other."""
    todo = iter(range(samples))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in todo:
            text = PROMPT + f"{tag} {number}"
            for _ in range(2):
                body = {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 1.0, "max_tokens": 512}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    response.raise_for_status()
                    text = (await response.json())["choices"][0]["message"]["content"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        spent = Spent()
        await asyncio.gather(*(work(session) for _ in range(IN_FLIGHT)))
        return spent.so_far()


@dataclass(slots=True)
class Run:
    """What ours took, and how many samples got both replies.

    Where it is watched: until the last sample was begun (`begun_s`), `at_stub` calls were at the stub on average; what comes
    after that is those that wait for their next try, which says nothing about concurrency.
    """

    seconds: Seconds = Seconds(0.0, 0.0)
    done: int = 0
    begun_s: float = 0.0
    at_stub: float = 0.0


class InMemory:
    """As `KeptReplies`, for as long as the process lasts."""

    def __init__(self) -> None:
        self._kept: dict[str, KeptReply] = {}

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Nobody else keeps any."""

    async def find(self, identity: str) -> KeptReply | None:
        return self._kept.get(identity)

    async def store(self, partition: int, kept: KeptReply) -> None:
        del partition
        self._kept[kept.identity] = kept


@asynccontextmanager
async def opened_replies(bootstrap: str) -> AsyncIterator[KeptReplies]:
    """In Kafka, or in memory where no bootstrap servers are named."""
    if not bootstrap:
        yield InMemory()
        return
    async with Replies.opened(bootstrap, "headrace/bench", RepliesSettings()) as replies:
        yield replies


async def our_run(url: str, samples: int, tag: str, bootstrap: str, *, watched: bool = False) -> Run:
    """With a batch of samples in hand, as a handler has. Replies are kept in memory where `bootstrap` is empty."""
    settings = ChatSettings(url=url, concurrency=IN_FLIGHT, prompt_price=1.0, completion_price=2.0)
    allowing = rewrite(tokens_allowed=10**6, money_allowed=10.0)
    run, began = Run(), 0.0

    async def refine(chat: ChatModel, number: int) -> None:
        text, partition = PROMPT + f"{tag} {number}", number % PARTITIONS
        for role in (REFINER, ANSWERER):
            call = Call(role, (Message("user", text),), Sampling(max_tokens=512), partition=partition, account="round")
            outcome = await chat.ask(call)
            if not isinstance(outcome, Reply):
                return
            text = outcome.text + f"{tag} {number}"
        run.done += 1

    async def in_hand(endpoints: ChatEndpoints, replies: KeptReplies) -> None:
        """So many samples at a time, each with its budget; one in as many catches up, as each batch does."""
        chat, todo = KeptChat(endpoints, replies, lambda *_: None), iter(range(samples))

        def worst_of(call: Call) -> Spend:
            endpoint = endpoints.of(call.role)
            return endpoint.worst_of(endpoint.bounded(call))

        async def work() -> None:
            for number in todo:
                if number % IN_HAND == 0:
                    await replies.catch_up(range(PARTITIONS))
                await refine(AllowedChat(chat, worst_of, allowing), number)
            if watched and not run.begun_s:
                run.begun_s = time.perf_counter() - began
                run.at_stub = (await seen(url))["busy_s"] / run.begun_s

        await asyncio.gather(*(work() for _ in range(IN_HAND)))

    async with chat_session() as session, opened_replies(bootstrap) as replies:
        await replies.catch_up(range(PARTITIONS))
        began, spent = time.perf_counter(), Spent()
        await in_hand(ChatEndpoints(session, lambda _: settings), replies)
        run.seconds = spent.so_far()
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
    """A line for each way: samples a second, and this process's time for a call."""
    with stub(0.0, 0.0) as url:
        took: dict[str, list[Seconds]] = {"bare aiohttp": [], "ours, replies in memory": [], "ours, replies in Kafka": []}
        bare, memory, kafka = took.values()
        await bare_run(url, 200, "warm")
        for turn in range(ROUNDS):
            bare.append(await bare_run(url, samples, f"bare {turn}"))
            memory.append(await checked_run(url, samples, f"memory {turn}", ""))
            kafka.append(await checked_run(url, samples, f"kafka {turn}", bootstrap))
    print(f"stub answers at once, best of {ROUNDS}        samples/s   ratio      us/call of this process   ratio")
    clock_of_bare, process_of_bare = best(bare)
    for way, turns in took.items():
        clock, process = best(turns)
        print(
            f"  {way:28} {samples / clock:16,.0f} {clock_of_bare / clock:7.2f} {process / samples / 2 * 1e6:28.0f}"
            f" {process_of_bare / process:7.2f}"
        )


async def checked_run(url: str, samples: int, tag: str, bootstrap: str) -> Seconds:
    """Ours, with every reply there and every call made once."""
    await counted(url)
    run = await our_run(url, samples, tag, bootstrap)
    counts = await counted(url)
    assert run.done == samples, f"{samples - run.done} samples got no replies"
    assert counts["asked"] == 2 * samples, f"{counts['asked']} calls for {samples} samples"
    return run.seconds


def best(turns: list[Seconds]) -> tuple[float, float]:
    """The least seconds, by the clock and of this process."""
    return min(turn.clock for turn in turns), min(turn.process for turn in turns)


async def slow_and_unlucky(bootstrap: str, samples: int) -> None:
    """One line: what is left of the concurrency when calls take 50 ms and one in twenty fails; the bare loop meets no failure."""
    with stub(SLOW_S, 0.0) as url:
        await bare_run(url, 200, "warm")
        await counted(url)
        bare = samples / (await bare_run(url, samples, "slow")).clock
        bare_in_flight = (await counted(url))["busy_s"] * bare / samples
    with stub(SLOW_S, FAILING) as url:
        await counted(url)
        run = await our_run(url, samples, "slow", bootstrap, watched=True)
        counts = await counted(url)
    failed = counts["asked"] - counts["answered"]
    ours = (samples - IN_HAND) / run.begun_s
    print(
        f"stub takes 50 ms, fails at 5%: {ours:,.0f} samples/s, bare (nothing fails) {bare:,.0f}, ratio {ours / bare:.2f}\n"
        f"  at the stub on average {run.at_stub:.0f} calls of at most {IN_FLIGHT}, bare {bare_in_flight:.0f}; "
        f"{run.seconds.clock - run.begun_s:.1f} s more for the last tries\n"
        f"  {failed:.0f} of {counts['asked']:.0f} calls failed, {samples - run.done} samples lost, "
        f"{counts['answered'] - 2 * samples:.0f} calls paid twice"
    )
    assert run.done == samples


async def measure(bootstrap: str, samples: int) -> None:
    with KafkaAdmin(bootstrap) as admin:
        admin.create([TopicSpec(CHAT_REPLIES.name, PARTITIONS, {})], replication_factor=1)
    await at_once(bootstrap, samples // ROUNDS)
    await slow_and_unlucky(bootstrap, samples)
    print(f"peak resident memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


def main(samples: int = 5_000) -> None:
    """Measures with a broker of its own."""
    gc.set_threshold(GARBAGE_AFTER)
    with tempfile.TemporaryDirectory() as folder, running(Kafka(), Path(folder)) as launch:
        uvloop.run(measure(launch.tells["HEADRACE_KAFKA"], samples))


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
