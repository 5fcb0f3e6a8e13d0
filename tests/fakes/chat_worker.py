"""Asks a fixed list of calls in a process of its own, to be killed: `python chat_worker.py BOOTSTRAP CALLS`.

The endpoint comes from HEADRACE_CHAT_*; the calls are those of `worker_calls`.
"""

import asyncio
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "libs")]

from headrace.adapters.chat.opening import opened_chat  # noqa: E402  # the path comes first
from headrace.core.chat import Call, Reply, Sampling  # noqa: E402
from headrace.core.samples import Message  # noqa: E402

PARTITIONS = 4


def worker_calls(count: int) -> list[Call]:
    """As if each were for an event of one of four partitions."""
    return [
        Call(
            "refiner",
            (Message("user", f"call {number}"),),
            Sampling(max_tokens=64),
            partition=number % PARTITIONS,
            account="worker",
        )
        for number in range(count)
    ]


async def main(bootstrap: str, count: int) -> None:
    """Asks everything at once, as a handler does with its batch; the endpoint's limit says how many are on their way."""
    async with opened_chat(bootstrap, "headrace/test", ["refiner"], told=lambda *_: None) as chat:
        await chat.replies.catch_up(range(PARTITIONS))
        outcomes = await asyncio.gather(*(chat.model.ask(call) for call in worker_calls(count)))
        print(sum(isinstance(outcome, Reply) for outcome in outcomes), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
