"""From a version to the topic, on a real broker and a real S3 server: nothing twice, nothing left out."""

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from headrace.adapters.kafka.partitioning import partition_of
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import NoSuchVersion
from headrace.adapters.wire.envelope import record_of
from headrace.client import BadPosition, Item, PositionGone, Retracted, SubscribeLimits, subscribe
from headrace.core.dossiers import AcceptedSample, Dossier, Retraction
from headrace.core.events import Send, Stop
from headrace.core.staged import Place
from headrace.core.topics import accepted_topic
from headrace.core.versions import DamagedVersion, RowKind, Version
from tests.fakes.accepted_topics import accepted, new_dataset, publish
from tests.fakes.decisions import DECIDED, dossier

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

PARTITIONS = 4


class World:
    """One dataset: an accepted topic, and versions in a bucket of its own, in shards of a few rows."""

    def __init__(self, kafka: str, s3: ObjectStoreSettings, folder: Path) -> None:
        self.kafka = kafka
        self.dataset = new_dataset(kafka, partitions=PARTITIONS)
        self.store = s3.model_copy(update={"bucket": self.dataset})
        self.folder = folder
        self._staged = 0

    async def cut(self, rows: list[Dossier], decided_at: float) -> Version:
        """Stages the decisions and cuts a version."""
        async with open_object_store(self.store) as objects:
            settings = CutSettings(
                folder=self.folder, embeddings_wait_s=0, shards=ShardLimits(shard_rows_max=10, group_rows_max=10)
            )
            cutter = VersionCutter(objects, settings)
            places = [(row, Place(DECIDED, self._staged + n, decided_at)) for n, row in enumerate(rows)]
            self._staged += len(rows)
            await cutter.staging.stage_decided(self.dataset, DECIDED, places)
            cut = await cutter.cut(self.dataset, f"cut-{self._staged}")
            assert cut is not None
            return cut.version

    def subscribe(self, start: str, share: tuple[int, int] = (0, 1), **limits):
        return subscribe(
            self.dataset,
            start=start,
            follow=False,
            kafka=self.kafka,
            store=self.store,
            share=share,
            limits=SubscribeLimits(**limits),
        )

    async def read(self, start: str, share: tuple[int, int] = (0, 1), **limits) -> list[Item]:
        return [item async for item in self.subscribe(start, share, **limits)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, transactional_id=f"admission-{os.urandom(4).hex()}")
        await producer.start()
        try:
            await producer.begin_transaction()
            yield producer
        finally:
            await producer.stop()

    async def write(self, producer: AIOKafkaProducer, row: Dossier) -> None:
        send = Send(accepted_topic(self.dataset), AcceptedSample(row))
        record = record_of(send, event_id=os.urandom(8).hex(), source="headrace/test", trace={})
        partition = partition_of(record.key, range(PARTITIONS))
        await producer.send_and_wait(
            record.topic, value=record.value, key=record.key, headers=list(record.headers), partition=partition
        )


@pytest.fixture
def world(kafka, s3, tmp_path) -> World:
    return World(kafka, s3, tmp_path)


def keys(items: list[Item]) -> list[tuple[str, int]]:
    return sorted((item.sample_id, item.revision) for item in items)


def names(begin: int, end: int) -> list[str]:
    return [f"s-{n:03}" for n in range(begin, end)]


FAR = 4_000_000_000.0
"""A time behind all records: so that the topic is read from its end on, were it believed."""


async def test_transactions_that_overtake_each_other_lose_and_repeat_nothing(world):
    """An open transaction began before what the version holds and ends behind it; another one is aborted."""
    first, late, after = (accepted(world.dataset, names(*span)) for span in ((0, 30), (30, 40), (40, 50)))
    revised = accepted(world.dataset, ["s-003", "s-004"], 1)
    async with world.transaction() as overtaken, world.transaction() as aborted:
        for row in late:
            await world.write(overtaken, row)
        await world.write(aborted, dossier("never", dataset_id=world.dataset))
        await publish(world.kafka, world.dataset, [*first, revised[0]])
        await world.cut([*first, revised[0]], decided_at=1_700_000_000.0)
        await overtaken.commit_transaction()
        await aborted.abort_transaction()
    await publish(world.kafka, world.dataset, [*after, revised[1], Retraction(world.dataset, "s-001", 0, "privacy")])
    for clocks in (600.0, None):
        items = await world.read("latest", clocks_within_s=clocks)
        expected = [(name, 0) for name in names(0, 50) if name != "s-003"] + [("s-003", 1), ("s-004", 1), ("s-001", 0)]
        assert keys(items) == sorted(expected)
        assert [type(item) for item in items if item.sample_id == "s-001"][1] is Retracted
        assert [item.revision for item in items if item.sample_id == "s-004"] == [0, 1]
        assert keys(items[:30]) == sorted([(name, 0) for name in names(0, 30) if name != "s-003"] + [("s-003", 1)])


async def test_the_topic_is_read_from_where_clocks_allow(world):
    """Decisions that lie an hour behind the topic's latest records: what came before them is not read again."""
    await publish(world.kafka, world.dataset, accepted(world.dataset, names(0, 10)))
    await world.cut(accepted(world.dataset, names(0, 10)), decided_at=FAR)
    await publish(world.kafka, world.dataset, accepted(world.dataset, names(10, 20)))
    assert keys(await world.read("1", clocks_within_s=0)) == [(name, 0) for name in names(0, 10)]
    assert keys(await world.read("1", clocks_within_s=None)) == [(name, 0) for name in names(0, 20)]


async def test_resumed_at_any_item_it_goes_on_exactly(world):
    """Among the rows, between rows and records, and among records that repeat the version's."""
    chance = random.Random(7)
    rows = accepted(world.dataset, names(0, 50))
    chance.shuffle(rows)
    await publish(world.kafka, world.dataset, rows)
    await world.cut(rows[:35], decided_at=1_700_000_000.0)
    everything = keys(await world.read("latest", prefetch_rows=8))
    assert everything == [(name, 0) for name in names(0, 50)]
    seen: list[Item] = []
    behind: str | None = "latest"
    while behind is not None:
        async with world.subscribe(behind, prefetch_rows=chance.randrange(1, 20)) as items:
            for _ in range(chance.randrange(1, 12)):
                item = await anext(items, None)
                if item is None:
                    break
                seen.append(item)
            behind = None if item is None else items.position
    assert keys(seen) == everything


async def test_batches_hold_what_items_hold(world):
    """The version's rows and the topic's records in the same columns; what is taken back says so in its place."""
    rows = accepted(world.dataset, names(0, 40))
    await publish(world.kafka, world.dataset, rows)
    await world.cut(rows[:30], decided_at=1_700_000_000.0)
    revised = accepted(world.dataset, ["s-003"], 1)
    back = [Retraction(world.dataset, sample_id, 0, "privacy") for sample_id in ("s-001", "s-035")]
    await publish(world.kafka, world.dataset, [*revised, *back])
    items = await world.read("latest")
    found: list[dict[str, Any]] = []
    for start in ("latest", "beginning"):
        subscription = world.subscribe(start, prefetch_rows=14)
        found = [row for batch in subscription.batches(["messages", "loss_mean"]) for row in batch.to_pylist()]
        ours = [Retracted(row["sample_id"], row["revision"], row["retracted"]) for row in found if row["retracted"]]
        theirs = items if start == "latest" else await world.read(start)
        assert sorted((row["sample_id"], row["revision"], bool(row["retracted"])) for row in found) == sorted(
            (item.sample_id, item.revision, isinstance(item, Retracted)) for item in theirs
        )
        assert {item for item in theirs if isinstance(item, Retracted)} == set(ours)
        assert [row["revision"] for row in found if row["sample_id"] == "s-003"] == [0, 1]
        assert [bool(row["retracted"]) for row in found if row["sample_id"] == "s-035"] == [False, True]
        assert all((row["messages"] is None) == (row["loss_mean"] is None) == bool(row["retracted"]) for row in found)
    said = {item.sample_id: item.messages[0]["content"] for item in items if not isinstance(item, Retracted)}
    assert {row["sample_id"]: row["messages"][0]["content"] for row in found if not row["retracted"]} == said


async def test_resumed_at_any_batch_it_goes_on_exactly(world):
    """The position is behind the batch that was handed out last, whether items or batches come next."""
    rows = accepted(world.dataset, names(0, 50))
    await publish(world.kafka, world.dataset, rows)
    await world.cut(rows[:35], decided_at=1_700_000_000.0)
    seen: list[tuple[str, int]] = []
    behind, turn = "latest", 0
    while True:
        async with world.subscribe(behind, prefetch_rows=2 + turn % 9) as subscription:
            if turn % 3:
                batch = await anext(subscription.batches(["messages"]), None)
                came = (
                    [] if batch is None else list(zip(batch["sample_id"].to_pylist(), batch["revision"].to_pylist(), strict=True))
                )
            else:
                item = await anext(subscription, None)
                came = [] if item is None else [(item.sample_id, item.revision)]
            behind = subscription.position
        if not came:
            break
        seen += came
        turn += 1
    assert sorted(seen) == [(name, 0) for name in names(0, 50)]
    assert turn > 10


async def test_items_and_batches_are_not_read_from_one_subscription(world):
    """Each says what to do instead."""
    await publish(world.kafka, world.dataset, accepted(world.dataset, names(0, 3)))
    async with world.subscribe("beginning") as begun:
        await anext(begun)
        with pytest.raises(ValueError, match="new subscription"):
            begun.batches()
    async with world.subscribe("beginning") as other:
        with pytest.raises(ValueError, match="no column nonsense"):
            other.batches(["nonsense"])
        assert (await anext(other.batches())).num_rows
        with pytest.raises(ValueError, match="batches were asked for"):
            aiter(other)


async def test_shares_divide_rows_and_records(world):
    """More shares than partitions, and each of them divided again: everything once."""
    rows = accepted(world.dataset, names(0, 90))
    await publish(world.kafka, world.dataset, rows)
    version = await world.cut(rows[:70], decided_at=1_700_000_000.0)
    assert len(version.manifest.shards_of(RowKind.ACCEPTED)) > PARTITIONS
    for of in (2, 3, 6, 17):
        parts = [await world.read("latest", (index, of)) for index in range(of)]
        assert keys([item for part in parts for item in part]) == [(name, 0) for name in names(0, 90)]
        assert all(parts[:7])


async def test_a_slice_resumes_exactly(world):
    """Of more shares than sources each stops and goes on at every item, within the rows and behind them."""
    rows = accepted(world.dataset, names(0, 40))
    await publish(world.kafka, world.dataset, rows)
    await world.cut(rows[:30], decided_at=1_700_000_000.0)
    seen: list[Item] = []
    for index in range(9):
        start = "latest"
        while True:
            async with world.subscribe(start, (index, 9)) as items:
                item = await anext(items, None)
                if item is None:
                    break
                seen.append(item)
                start = items.position
    assert keys(seen) == [(name, 0) for name in names(0, 40)]


async def test_what_is_not_there_is_named(world, monkeypatch):
    """No version, no store, a missing shard, an offset that the topic does not have, a share that is not ours."""
    monkeypatch.delenv("HEADRACE_S3_ENDPOINT", raising=False)
    rows = accepted(world.dataset, names(0, 30))
    with pytest.raises(NoSuchVersion, match=world.dataset):
        await world.read("latest")
    version = await world.cut(rows, decided_at=1_700_000_000.0)
    with pytest.raises(NoSuchVersion, match="7"):
        await world.read("7")
    with pytest.raises(Stop, match="HEADRACE_S3_ENDPOINT"):
        async for _ in subscribe(world.dataset, start="latest", kafka=world.kafka):
            pass
    async with world.subscribe("latest") as items:
        assert len([item async for item in items]) == len(rows)
        behind, reached = items.position, items.reached
    assert behind is not None
    assert reached is not None
    assert reached.version == version.id
    with pytest.raises(BadPosition, match="belongs to dataset"):
        subscribe("other", start=behind)
    with pytest.raises(BadPosition, match="ranks and workers"):
        subscribe(world.dataset, start=behind, share=(0, 2))
    other = new_dataset(world.kafka)
    position = replace(reached, dataset_id=other, offsets={0: 10**6, 1: 0, 2: 0, 3: 0}, until={})
    with pytest.raises(PositionGone, match=rf"{other}\[0\]: offset 1000000"):
        await anext(subscribe(other, start=position.token(), kafka=world.kafka))
    async with open_object_store(world.store) as objects:
        shard = version.manifest.shards_of(RowKind.ACCEPTED)[0]
        await objects.delete(shard.key)
    with pytest.raises(DamagedVersion, match=shard.sha256):
        await world.read("latest")
