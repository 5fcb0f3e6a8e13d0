"""The whole path around a model server that answers at once: samples a second, latency, memory, recovery.

`python -m tests.bench.bench_path [COUNT...]` (default 1000 10000; 100000 takes minutes and about 2 GB of disk).
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from headrace.adapters.kafka.accounts import Accounts
from headrace.adapters.kafka.streams import RecordReader, decoded
from headrace.client import submit
from headrace.core.dossiers import Dossier
from headrace.core.events import Event
from headrace.core.topics import DECIDED
from tests.e2e.spine import Spine
from tests.e2e.workload import POLICY, workload

STEADY_PER_S = 100
STEADY_S = 20
STALLED_S = 120
SETTINGS = {"HEADRACE_PARTITIONS": "1"}
"""As `headrace up` has it."""
SERVICES = ("gateway", "scoring", "diversity", "admission", "validation", "datasets")


def main() -> None:
    """Prints the tables."""
    counts = [int(argument) for argument in sys.argv[1:]] or [1_000, 10_000]
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, Spine.up(Path(folder), SETTINGS) as spine:
        print(
            "| samples | seconds | samples/s | samples/s and core | CPU s by part | RSS MB by part |\n|---|---|---|---|---|---|"
        )
        for count in (200, *counts):  # the first warms everything up
            bulk(spine, count, shown=count != 200)
        print(asyncio.run(steady(spine)))
        print("\n| killed | seconds from kill -9 to the next decision |\n|---|---|")
        for name in SERVICES[:-1]:
            print(f"| {name} | {asyncio.run(recovery(spine, name)):.1f} |", flush=True)


def bulk(spine: Spine, count: int, *, shown: bool) -> None:
    """As fast as the spine takes them, into a dataset of its own."""
    dataset = new_dataset(spine, f"bulk-{count}")
    lines = workload(count, seed=count).lines
    before = cpu_s(spine)
    began = time.monotonic()
    asyncio.run(_all_decided(spine, dataset, lines))
    took_s = time.monotonic() - began
    spent = {name: after - before[name] for name, after in cpu_s(spine).items()}
    if shown:
        busy = sum(spent.values())
        cpu = " ".join(f"{name} {seconds:.1f}" for name, seconds in spent.items())
        rss = " ".join(f"{name} {spine.rss_mb(name):.0f}" for name in spent)
        print(f"| {count} | {took_s:.1f} | {count / took_s:.0f} | {count / busy:.0f} | {cpu} | {rss} |", flush=True)


async def steady(spine: Spine) -> str:
    """At a steady rate: from the gateway's acknowledgement on the way in to the decision's own time."""
    dataset = new_dataset(spine, "steady")
    lines = workload(STEADY_PER_S * STEADY_S, seed=7).lines
    waits = []
    async with _decisions(spine, dataset) as decisions:
        sending = asyncio.create_task(_send(spine, dataset, _paced(lines, STEADY_PER_S)))
        async for event in decisions:
            waits.append(event.time - event.body.submitted_at)
            if len(waits) == len(lines):
                break
        await sending
    p50, p99 = np.percentile(waits, [50, 99]) * 1000
    return f"\nsteady {STEADY_PER_S}/s: submitted to decided p50 {p50:.0f} ms, p99 {p99:.0f} ms"


async def recovery(spine: Spine, name: str) -> float:
    """Seconds from `kill -9` of a service, started again at once, to the next decision on a sample submitted after it."""
    dataset = new_dataset(spine, f"kill-{name}")
    lines = workload(60 * 50, seed=11).lines
    async with _decisions(spine, dataset) as decisions:
        sending = asyncio.create_task(_send(spine, dataset, _paced(lines, 50)))
        await asyncio.sleep(3)
        spine.kill(name)
        killed = time.time()
        spine.restart(name)
        async for event in decisions:
            if event.body.submitted_at > killed:
                break
        took_s = time.time() - killed
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await asyncio.sleep(3)
    return took_s


def new_dataset(spine: Spine, name: str) -> str:
    """A dataset under the fault suite's policy."""
    policy = spine.folder / "policy.yaml"
    policy.write_text(POLICY)
    spine.headrace("dataset", "create", name, "--file", str(policy))
    return name


def cpu_s(spine: Spine) -> dict[str, float]:
    """Processor seconds of every part so far, its children included, also those that have ended (workers' forks do)."""
    spent = {}
    for name, running in spine.parts.items():
        process = psutil.Process(running.process.pid)
        times = [p.cpu_times() for p in (process, *process.children(recursive=True))]
        spent[name] = sum(t.user + t.system + t.children_user + t.children_system for t in times)
    return spent


async def _all_decided(spine: Spine, dataset: str, lines: list[dict[str, Any]]) -> None:
    sending = asyncio.create_task(_send(spine, dataset, lines))
    async with Accounts.opened(spine.environment["HEADRACE_KAFKA"]) as accounts:
        ended, since = -1, time.monotonic()
        while True:
            account = (await accounts.catch_up()).account(dataset)
            now_ended = account.submitted - account.in_flight
            if account.submitted == len(lines) and not account.in_flight:
                break
            if now_ended != ended:
                ended, since = now_ended, time.monotonic()
            if time.monotonic() - since > STALLED_S:
                raise TimeoutError(f"stalled: {account}")
            await asyncio.sleep(0.2)
    await sending


@asynccontextmanager
async def _decisions(spine: Spine, dataset: str) -> AsyncIterator[AsyncIterator[Event[Dossier]]]:
    """The decisions of a dataset from now on: whoever is in here misses none."""
    async with RecordReader.opened(spine.environment["HEADRACE_KAFKA"], [DECIDED.name], start="end") as reader:
        events = (decoded(DECIDED, record) async for record in reader)
        yield (event async for event in events if event is not None and event.body.sample.dataset_id == dataset)


async def _send(spine: Spine, dataset: str, lines: list[dict[str, Any]] | AsyncIterator[dict[str, Any]]) -> None:
    target = f"127.0.0.1:{spine.environment['HEADRACE_GATEWAY_GRPC_PORT']}"
    async for _ in submit(dataset, lines, gateway=target, window=2_000):
        pass


async def _paced(lines: list[dict[str, Any]], per_s: float) -> AsyncIterator[dict[str, Any]]:
    began = time.monotonic()
    for number, line in enumerate(lines):
        await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
        yield line


if __name__ == "__main__":
    main()
