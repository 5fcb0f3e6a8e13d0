"""What a small transaction costs whoever writes it, and the broker: `python -m tests.bench.bench_transactions [COUNT]`.

Four records and an offset, one transaction after the other on one real broker, 20 ms apart as a service's batches are: by the
producer of aiokafka, and by ours in either dialect. They take turns; the best of each counts, in processor time.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer, TopicPartition

from headrace.adapters.kafka.streams import bootstrap_list
from headrace.adapters.kafka.transaction_dialects import OlderDialect
from headrace.adapters.wire.envelope import Record
from headrace.local.kafka import Kafka
from headrace.local.running import running
from headrace.runtime.delivery.transactions import TransactionalWriter
from tests.fakes.toy_topics import new_topics

ROUNDS = 3
APART_S = 0.02
RECORDS = 4
RECORD_BYTES = 400

Write = Callable[[int], Awaitable[None]]


async def theirs(stack: AsyncExitStack, bootstrap: str, records: list[Record], source: TopicPartition) -> Write:
    """The producer of aiokafka, as its documentation has it; `stack` stops it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_list(bootstrap), transactional_id="theirs", acks="all", retry_backoff_ms=10
    )
    await producer.start()
    stack.push_async_callback(producer.stop)

    async def write(offset: int) -> None:
        async with producer.transaction():
            sends = [await producer.send(each.topic, each.value, key=each.key, headers=list(each.headers)) for each in records]
            await asyncio.gather(*sends)
            await producer.send_offsets_to_transaction({source: offset}, "theirs")

    return write


async def ours(
    stack: AsyncExitStack, bootstrap: str, records: list[Record], source: TopicPartition, name: str, *, older: bool
) -> Write:
    """The writer of the delivery layer; `stack` closes it."""
    writer = TransactionalWriter(bootstrap, name, name, client_id=name, timeout_ms=10_000)
    await writer.start()
    stack.push_async_callback(writer.close)
    if older:
        writer._dialect = OlderDialect()  # as if the cluster had not agreed on the newer one

    async def write(offset: int) -> None:
        await writer.write(records, source, offset)

    return write


async def cost(write: Write, count: int, broker: psutil.Process) -> tuple[float, float, float]:
    """Milliseconds a transaction: processor time of this process and of the broker, and the median by the clock."""
    before, waits = (_cpu_s(psutil.Process()), _cpu_s(broker)), []
    for offset in range(count):
        began = time.perf_counter()
        await write(offset)
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(APART_S)
    spent = (_cpu_s(psutil.Process()) - before[0], _cpu_s(broker) - before[1])
    return spent[0] / count * 1000, spent[1] / count * 1000, statistics.median(waits) * 1000


async def measure(bootstrap: str, broker: psutil.Process, count: int) -> None:
    """One line for each writer."""
    source, out = await asyncio.to_thread(new_topics, bootstrap, partitions=1)
    tp = TopicPartition(source.name, 0)
    records = [Record(out.name, b"%d" % number, b"." * RECORD_BYTES, (("ce_id", b"1"),)) for number in range(RECORDS)]
    async with AsyncExitStack() as stack:
        writers = {
            "aiokafka's producer": await theirs(stack, bootstrap, records, tp),
            "ours, newer dialect": await ours(stack, bootstrap, records, tp, "newer", older=False),
            "ours, older dialect": await ours(stack, bootstrap, records, tp, "older", older=True),
        }
        for write in writers.values():
            await cost(write, 100, broker)  # warms everything up
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in writers}
        for _ in range(ROUNDS):
            for name, write in writers.items():
                found[name].append(await cost(write, count, broker))
    report(found)


def report(found: dict[str, list[tuple[float, float, float]]]) -> None:
    """The best turn of each writer, beside the first writer's."""
    best = {name: [min(column) for column in zip(*costs, strict=True)] for name, costs in found.items()}
    first, *_ = next(iter(best.values()))
    print("milliseconds a transaction    processor   broker   by the clock   processor, against aiokafka")
    for name, (own, brokers, median) in best.items():
        print(f"{name:28} {own:10.2f} {brokers:8.2f} {median:14.2f} {own / first:30.2f}")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main(count: int = 500) -> None:
    """Measures on a broker of its own."""
    with tempfile.TemporaryDirectory() as folder, running(Kafka(), Path(folder)) as launch:
        [broker] = [each for each in psutil.Process().children(recursive=True) if each.name() == "java"]
        asyncio.run(measure(launch.tells["HEADRACE_KAFKA"], broker, count))


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
