"""Subscribing beside the bare tools, in one run: `python -m tests.bench.bench_subscribe [ROWS]` (default 50,000).

The topic: a bare aiokafka consumer of committed records that decodes the same protobuf, against `subscribe`. The version: a bare
pyarrow scan of the same Parquet files, fetched from the same store to local disk, that makes Python objects of the same columns
and decodes them, against catching up with `subscribe`, the bridge to the topic included. The batches: a bare pyarrow scan of the
same files for the conversations as Arrow, against `subscribe(...).batches(["messages"])`. Ours verifies each file by its hash;
lines that say so hold it against a scan that does the same. The version's decisions are stamped so late that of the topic only
what comes after them is read, as it is of a dataset that took longer than ten minutes to come. Both sides take turns, and the
medians count: wall time, and processor time of this process. The ratios are bare over ours, hence above 1 where ours is faster.
"""

import asyncio
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from aiokafka import AIOKafkaConsumer, TopicPartition

from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import verify_file
from headrace.client import Accepted, subscribe
from headrace.core.staged import Place
from headrace.core.topics import accepted_topic
from headrace.core.versions import RowKind, Shard
from headrace.local.kafka import Kafka
from headrace.local.object_store import ObjectStore
from headrace.local.running import running
from headrace_protos.sample.v1 import dossier_pb2
from tests.fakes.accepted_topics import new_dataset, publish
from tests.fakes.certain import certain
from tests.fakes.decisions import DECIDED, dossier
from tests.fakes.staged_rows import WORDS

BATCH = 2_000
WORDS_A_ROW = 150
TURNS = 5


async def bare_topic(kafka: str, dataset: str, rows: int) -> None:
    """Every committed record, decoded."""
    topic = accepted_topic(dataset).name
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for number in range(4)])
    await consumer.seek_to_beginning()
    count = 0
    while count < rows:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                count += bool(dossier_pb2.AcceptedSample.FromString(record.value).accepted.sample.id)
    await consumer.stop()


async def fetched(store: ObjectStoreSettings, shards: tuple[Shard, ...], *, verify: bool) -> AsyncIterator[Path]:
    """Each file of the version on local disk, one at a time."""
    async with open_object_store(store) as objects:
        with tempfile.TemporaryDirectory() as folder:
            for shard in shards:
                path = Path(folder) / "bare.parquet"
                await objects.fetch(shard.key, path, bytes_max=shard.size_bytes)
                if verify:
                    verify_file(path, shard)
                yield path


async def bare_scan(store: ObjectStoreSettings, shards: tuple[Shard, ...], rows: int, *, verify: bool) -> None:
    """Every row of the same columns as Python objects, the dossier decoded."""
    count = 0
    async for file in fetched(store, shards, verify=verify):
        for batch in pq.ParquetFile(file).iter_batches(
            batch_size=500, columns=["sample_id", "revision", "decided_at", "dossier"]
        ):
            ids, _ = batch["sample_id"].to_pylist(), batch["revision"].to_pylist()
            count += sum(bool(dossier_pb2.Dossier.FromString(each).sample.id) for each in batch["dossier"].to_pylist())
            assert ids
    assert count == rows


async def bare_batches(store: ObjectStoreSettings, shards: tuple[Shard, ...], rows: int, *, verify: bool) -> None:
    """Every row's conversation, as Arrow."""
    count = 0
    async for file in fetched(store, shards, verify=verify):
        for batch in pq.ParquetFile(file).iter_batches(batch_size=2_000, columns=["sample_id", "revision", "messages"]):
            count += batch.num_rows
    assert count == rows


async def subscribed_batches(kafka: str, dataset: str, store: ObjectStoreSettings, rows: int) -> None:
    """The same from a subscription."""
    async with subscribe(dataset, start="latest", follow=False, kafka=kafka, store=store) as items:
        count = 0
        async for batch in items.batches(["messages"]):
            count += batch.num_rows
    assert count == rows


async def subscribed(kafka: str, dataset: str, start: str, store: ObjectStoreSettings, rows: int) -> None:
    """Every item, decoded."""
    async with subscribe(dataset, start=start, follow=False, kafka=kafka, store=store) as items:
        count = 0
        async for item in items:
            count += isinstance(item, Accepted) and bool(item.wire.sample.id)
    assert count == rows


async def measured(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Seconds and processor seconds of one run."""
    began, began_cpu = time.perf_counter(), time.process_time()
    await work()
    return time.perf_counter() - began, time.process_time() - began_cpu


async def compare(name: str, rows: int, bare: Callable[[], Awaitable[None]], ours: Callable[[], Awaitable[None]]) -> None:
    """One line."""
    turns = [(*await measured(bare), *await measured(ours)) for _ in range(TURNS)]
    bare_s, bare_cpu_s, ours_s, ours_cpu_s = (statistics.median(each) for each in zip(*turns, strict=True))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:<17} {rows:>9,} {rows / bare_s:>10,.0f} {rows / ours_s:>10,.0f} {bare_s / ours_s:>7.2f} "
        f"{bare_cpu_s / ours_cpu_s:>10.2f} {peak_mib:>9.0f}",
        flush=True,
    )


async def filled(kafka: str, store: ObjectStoreSettings, folder: Path, rows: int) -> tuple[str, tuple[Shard, ...]]:
    """A dataset whose rows are in its topic and in a version, and the version's files."""
    dataset, chance = new_dataset(kafka), random.Random(1)
    async with open_object_store(store) as objects:
        cutter = VersionCutter(objects, CutSettings(folder=folder, embeddings_wait_s=0))
        for start in range(0, rows, BATCH):
            numbers = range(start, min(start + BATCH, rows))
            names = (f"{number * 2654435761 % 2**32:08x}" for number in numbers)
            texts = (" ".join(chance.choices(WORDS, k=WORDS_A_ROW)) for _ in numbers)
            decided = [dossier(name, dataset_id=dataset, text=text) for name, text in zip(names, texts, strict=True)]
            await publish(kafka, dataset, decided)
            placed = [(row, Place(DECIDED, number, time.time() + 3_600)) for row, number in zip(decided, numbers, strict=True)]
            await cutter.staging.stage_decided(dataset, DECIDED, placed)
        version = certain(await cutter.cut(dataset, "bench")).version
    return dataset, version.manifest.shards_of(RowKind.ACCEPTED)


async def main(rows: int, kafka: str, store: ObjectStoreSettings, folder: Path) -> None:
    """A line for the topic, two for the version, and two for the version as batches."""
    dataset, shards = await filled(kafka, store, folder, rows)
    print(f"{'':<17} {'rows':>9} {'bare/s':>10} {'ours/s':>10} {'ratio':>7} {'cpu ratio':>10} {'peak MiB':>9}")
    topic = lambda: bare_topic(kafka, dataset, rows)  # noqa: E731
    await compare("topic", rows, topic, lambda: subscribed(kafka, dataset, "beginning", store, rows))
    for told, verify in (("", False), (", verified", True)):
        scan = partial(bare_scan, store, shards, rows, verify=verify)
        await compare(f"version{told}", rows, scan, partial(subscribed, kafka, dataset, "latest", store, rows))
        columns = partial(bare_batches, store, shards, rows, verify=verify)
        await compare(f"batches{told}", rows, columns, partial(subscribed_batches, kafka, dataset, store, rows))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with running(Kafka(), work) as broker, running(ObjectStore(), work) as s3:
            told = {key.removeprefix("HEADRACE_S3_").lower(): value for key, value in s3.tells.items()}
            settings = ObjectStoreSettings.model_validate(told)
            asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 50_000, broker.tells["HEADRACE_KAFKA"], settings, work))
