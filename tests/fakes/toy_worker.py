"""One hop in a process of its own, to be killed: `python toy_worker.py BOOTSTRAP SOURCE TARGET PARTITIONS SEED FATE AT`.

FATE is KILL or STOP: the signal that the worker sends itself in its AT-th transaction, when all is written and nothing is
committed. With FATE - it lives until someone else kills it.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "libs")]

from headrace.core.events import Emit, Event, Result, Retry, Send  # noqa: E402
from headrace.runtime.delivery.transactions import TransactionalWriter  # noqa: E402
from tests.fakes.toy_topics import BRIEF, running_hop, toy_topic  # noqa: E402


def suffer(fate: str, at: int, luck: random.Random) -> None:
    """Makes every commit late, and the `at`-th one the worker's last, or the one that it sleeps in."""
    commit = TransactionalWriter._commit
    transactions = 0

    async def commit_late(writer: TransactionalWriter) -> None:
        nonlocal transactions
        transactions += 1
        if transactions == at:
            os.kill(os.getpid(), signal.Signals[f"SIG{fate}"])
        await asyncio.sleep(luck.uniform(0, 0.1))
        await commit(writer)

    TransactionalWriter._commit = commit_late  # type: ignore[assignment]  # the last moment before the commit


async def main(bootstrap: str, source: str, target: str, partitions: int, luck: random.Random) -> None:
    """Copies until it is killed; sleeps in handlers, and now and then asks for another attempt."""
    out = toy_topic(target, partitions=partitions)

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        await asyncio.sleep(luck.uniform(0, 0.15))
        return [
            Retry("Unlucky", "once more") if event.attempt == 1 and luck.random() < 0.01 else Emit((Send(out, event.body),))
            for event in events
        ]

    async with running_hop(bootstrap, toy_topic(source, partitions=partitions), handle, settings=BRIEF, batch_records_max=50):
        await asyncio.Event().wait()


if __name__ == "__main__":
    seeded = random.Random(int(sys.argv[5]))
    suffer(sys.argv[6], int(sys.argv[7]), seeded)
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), seeded))
