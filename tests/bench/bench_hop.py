"""Records a second through one hop, exactly once, beside a bare at-least-once loop: `python tests/bench/bench_hop.py [RECORDS]`.

Both read the same backlog of 400-byte records from four partitions and write each to another topic, on one real broker, in
one process; they take turns, and the best of each counts. The bare loop reads, sends, waits for the sends and commits.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "libs")]

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # noqa: E402  # the path comes first

from headrace.adapters.kafka.streams import bootstrap_list  # noqa: E402
from headrace.core.events import Emit, Event, Result, Send  # noqa: E402
from headrace.core.topics import Topic  # noqa: E402
from headrace.local.kafka import Kafka  # noqa: E402
from headrace.local.running import running  # noqa: E402
from tests.fakes.toy_topics import new_topics, publish, running_hop, until  # noqa: E402

BATCHES = (50, 500)
ROUNDS = 3
PARTITIONS = 4
RECORD_BYTES = 400


async def hop_seconds(bootstrap: str, source: Topic, out: Topic, records: int, batch: int) -> float:
    """From the first record in hand to the last one committed, through the delivery layer."""
    handled = 0
    began = 0.0

    async def handle(events: Sequence[Event[bytes]]) -> Sequence[Result]:
        nonlocal began, handled
        began = began or time.perf_counter()
        handled += len(events)
        return [Emit((Send(out, event.body),)) for event in events]

    async with running_hop(bootstrap, source, handle, batch_records_max=batch) as hop:
        await until(lambda: handled >= records, 120)
        claims = hop._claims  # when the last batch is committed, nobody else knows
        await claims._idle.wait()
        return time.perf_counter() - began


async def bare_seconds(bootstrap: str, source: Topic, out: Topic, records: int, batch: int) -> float:
    """The same with nothing but aiokafka and at-least-once commits."""
    servers = bootstrap_list(bootstrap)
    consumer = AIOKafkaConsumer(
        source.name,
        bootstrap_servers=servers,
        group_id=f"bare-{time.time_ns()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=1_000_000)
    await producer.start()
    await consumer.start()
    try:
        handled, began = 0, 0.0
        while handled < records:
            batches = await consumer.getmany(timeout_ms=200, max_records=batch)
            began = began or time.perf_counter()
            for read in batches.values():
                sends = [
                    await producer.send(out.name, record.value, key=record.key, headers=list(record.headers)) for record in read
                ]
                await asyncio.gather(*sends)
                handled += len(read)
            await consumer.commit()
        return time.perf_counter() - began
    finally:
        await consumer.stop()
        await producer.stop()


async def measure(bootstrap: str, records: int) -> None:
    """One line for each batch size."""
    print("batch   exactly once   bare, at least once   ratio     (records/s, best of 3)")
    for batch in BATCHES:
        hop, bare = [], []
        for _ in range(ROUNDS):
            source, out = await asyncio.to_thread(new_topics, bootstrap, partitions=PARTITIONS)
            await publish(bootstrap, source, [f"{number:09d}".encode().ljust(RECORD_BYTES, b".") for number in range(records)])
            bare.append(records / await bare_seconds(bootstrap, source, out, records, batch))
            hop.append(records / await hop_seconds(bootstrap, source, out, records, batch))
        print(f"{batch:5} {max(hop):14,.0f} {max(bare):21,.0f} {max(hop) / max(bare):7.2f}")


def main(records: int = 20_000) -> None:
    """Measures on a broker of its own."""
    with tempfile.TemporaryDirectory() as folder, running(Kafka(), Path(folder)) as launch:
        asyncio.run(measure(launch.tells["HEADRACE_KAFKA"], records))


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
