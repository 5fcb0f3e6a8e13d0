"""A survey over a real broker and a real store: pages, measured rows, densities, and what follows; with crashes in between."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.rounds.density_blocks import DensityBlocks
from headrace.adapters.rounds.evictions import Evictions
from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.refining_pages import RefiningPages
from headrace.adapters.rounds.reverting_pages import RevertingPages
from headrace.adapters.rounds.selection_scan import select
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.rounds.survey_pages import PageLimits, SurveyPages
from headrace.adapters.rounds.survey_table import build_signal_table
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.adapters.versions.store import VersionStore
from headrace.core.events import Emit, Event, Result, Send, Stop
from headrace.core.policies import Policy
from headrace.core.ports.object_store import ObjectStore
from headrace.core.rounds.facts import DensitiesMade, RewritesRequested, RowsEvicted, RowsMeasured, RowsSent
from headrace.core.rounds.rules import AxisRule, SelectionRules
from headrace.core.rounds.stored import selection_key, thresholds_key
from headrace.core.rounds.surveys import (
    DensityRequested,
    EvictionRequested,
    RefiningRequested,
    RoundStepRequested,
    Survey,
    SurveyedSample,
    SurveyRequested,
)
from headrace.core.topics import (
    INDEXED,
    MEASURED,
    REFINEMENT_REQUESTED,
    RETRACTION_REQUESTED,
    ROUND_PROGRESSED,
    ROUND_STEP_REQUESTED,
    SURVEYED,
    Topic,
)
from headrace.runtime.delivery import Hop
from headrace.runtime.service import Subscription
from headrace.runtime.settings import DeliverySettings
from services.datasets import surveying as datasets
from services.diversity import surveying as diversity
from tests.fakes.surveys import accepted, cut_version, measured, survey
from tests.fakes.vector_engine import DictEngine

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

IDS = [f"s{n:03}" for n in range(60)]
LONG = {"s007", "s031"}
WAIT_S = 120
Handler = Callable[[Sequence[Event[Any]]], Awaitable[Sequence[Result]]]


def crashing(handler: Handler, at: tuple[int, ...]) -> Handler:
    """Does everything and dies before it is committed, at the calls numbered so: what it wrote stays, what it said does not."""
    calls = itertools.count()

    async def handle(events: Sequence[Event[Any]]) -> Sequence[Result]:
        results = await handler(events)
        if next(calls) in at:
            raise Stop("crashed after its work was done")
        return results

    return handle


async def measure(events: Sequence[Event[SurveyedSample]]) -> Sequence[Result]:
    """Scoring: two rows are too long for the model."""
    rows = [(event.body.sample, event.body.survey) for event in events]
    return [
        Emit((Send(MEASURED, measured(of, at, loss=float(of.id[1:]) / 10, error="too long" if of.id in LONG else "")),))
        for of, at in rows
    ]


class World:
    """Datasets, diversity and a scoring of ours around one broker and one bucket; each step and batch crashes now and then."""

    def __init__(self, kafka: str, objects: ObjectStore, folder: Path) -> None:
        self.kafka = kafka
        self.objects = objects
        self.index = QdrantVectorIndex(DictEngine())
        for name in ("shards", "datasets", "diversity"):
            (folder / name).mkdir()
        versions, policies = VersionStore(objects, folder), {"maths": Policy()}
        shards, surveys = ShardFiles(versions, folder / "shards", 1 << 20), SurveyFiles(self.opened, folder / "datasets")
        self.datasets = datasets.Surveying(
            pages=SurveyPages(versions, shards, surveys, PageLimits(rows_max=7, bytes_max=1 << 20)),
            refining=RefiningPages(versions, shards, surveys, 100),
            evictions=Evictions(surveys, 1_000, 100),
            measured=MeasuredRows(objects),
            reverting=RevertingPages(versions, shards, PageLimits(rows_max=7, bytes_max=1 << 20)),
            policy_of=policies.get,
            staged=lambda _: None,
            pace=self.pace,
        )
        blocks = DensityBlocks(SurveyFiles(self.opened, folder / "diversity"), slice_s=0.001)
        self.diversity = diversity.Surveying(self.index, blocks, policies.get)

    async def opened(self) -> ObjectStore:
        return self.objects

    async def pace(self, _: str) -> None:
        """As fast as may be: many segments."""

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        take_step = partial(datasets.take_step, surveying=self.datasets)
        stage = partial(datasets.stage_measured, surveying=self.datasets)
        subscriptions = (
            Subscription(ROUND_STEP_REQUESTED, "datasets", crashing(take_step, (1, 4)), batch_records_max=1),
            Subscription(MEASURED, "datasets", crashing(stage, (0, 2)), batch_records_max=5),
            Subscription(ROUND_STEP_REQUESTED, "diversity", crashing(self.diversity.take_step, (10,)), batch_records_max=1),
            Subscription(MEASURED, "diversity", crashing(self.diversity.enter_measured, (1,)), batch_records_max=8),
            Subscription(SURVEYED, "scoring", crashing(measure, (3,)), batch_records_max=4),
        )
        hops = [Hop(each, self.kafka, DeliverySettings(dependency_wait_s_max=0.2)) for each in subscriptions]
        await asyncio.gather(*(hop.start() for hop in hops))
        try:
            yield
        finally:
            await asyncio.gather(*(hop.stop() for hop in hops))

    async def ask(self, step: Any) -> None:
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            await publisher.publish(Send(ROUND_STEP_REQUESTED, RoundStepRequested(step)), event_id=uuid4().hex)

    async def facts(self, kind: type, is_last: Callable[[list[Any]], bool]) -> list[Any]:
        """The facts of a kind that the round was told, up to the last."""
        found: list[Any] = []
        async with asyncio.timeout(WAIT_S), aclosing(read_topic(ROUND_PROGRESSED, self.kafka)) as events:
            async for event in events:
                if isinstance(event.body.fact, kind):
                    found.append(event.body.fact)
                    if is_last(found):
                        break
        return found

    async def bodies(self, topic: Topic, count: int) -> list[Any]:
        found: list[Any] = []
        async with asyncio.timeout(WAIT_S), aclosing(read_topic(topic, self.kafka)) as events:
            async for event in events:
                found.append(event.body)
                if len(found) == count:
                    break
        return found


@pytest.fixture
async def world(own_kafka: str, s3: ObjectStoreSettings, tmp_path: Path) -> AsyncIterator[World]:
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=2, replication_factor=1)
    settings = s3.model_copy(update={"bucket": f"surveying-{uuid4().hex[:12]}"})
    async with open_object_store(settings) as objects:
        yield World(own_kafka, objects, tmp_path)


async def test_a_survey_from_the_version_to_what_follows_from_it(world: World, tmp_path: Path) -> None:
    """Every row is sent, measured and counted once, whoever crashed; the table, the rewrites and the evictions follow."""
    version = await cut_version(world.objects, accepted(*IDS))
    of = survey(version.id)
    async with world.at_work():
        await world.ask(SurveyRequested(of))
        sent = await world.facts(RowsSent, lambda found: found[-1].complete)
        assert sum(fact.rows for fact in sent) == len(IDS)
        rows = await world.facts(RowsMeasured, lambda found: sum(fact.rows for fact in found) >= len(IDS))
        assert (sum(fact.rows for fact in rows), sum(fact.not_made for fact in rows)) == (len(IDS), 2)
        await world.ask(DensityRequested(of, 0, len(IDS), 2))
        [made] = await world.facts(DensitiesMade, lambda found: found[-1].complete)
        assert made == DensitiesMade(len(IDS), complete=True)
        await selected(world, of, tmp_path)
        await followed(world, of)
    indexed = await world.bodies(INDEXED, len(IDS) - len(LONG))
    assert sorted(each.sample_id for each in indexed) == sorted({*IDS} - LONG)
    [census] = await world.index.census()
    assert (census.space.model_version, census.accepted) == ("4", len(IDS) - len(LONG))


async def selected(world: World, of: Survey, folder: Path) -> None:
    """The controller's part: table, thresholds, selection."""
    (folder / "table").mkdir()
    table = await build_signal_table(world.objects, of, len(IDS), folder / "table", densities=True)
    assert table.path is not None
    rows = pq.read_table(table.path).to_pylist()
    assert [row["sample_id"] for row in rows] == IDS
    assert {row["sample_id"] for row in rows if row["not_made"]} == LONG
    assert {row["sample_id"] for row in rows if row["density"] is None} == LONG
    rules = SelectionRules(hard=AxisRule(target_share=0.1), sparse=None, low_quality=None, has_base=False)
    selection = select(table.files, rules, folder, {})
    assert selection.selected is not None
    await world.objects.put_file(selection_key(of), selection.selected.path)
    await world.objects.put(thresholds_key(of), selection.summary.canonical_json().encode())


async def followed(world: World, of: Survey) -> None:
    """The hardest rows go to be rewritten, page by page, and redundant ones leave."""
    await world.ask(RefiningRequested(of, 0, 3, 2, 1))
    await world.ask(RefiningRequested(of, 3, 3, 2, 1))
    asked = await world.facts(RewritesRequested, lambda found: len(found) == 2)
    assert asked == [RewritesRequested(3, complete=False), RewritesRequested(2, complete=True)]
    rewrites = [each.rewrite for each in await world.bodies(REFINEMENT_REQUESTED, 5)]
    assert sorted(rewrite.parent.id for rewrite in rewrites) == IDS[-5:]
    assert all(rewrite.parent_loss > rewrite.bound and len(rewrite.parent_embedding) == 32 for rewrite in rewrites)
    await world.ask(EvictionRequested(replace(of), 4))
    [evicted] = await world.facts(RowsEvicted, lambda found: len(found) == 1)
    retractions = await world.bodies(RETRACTION_REQUESTED, evicted.rows)
    assert 0 < evicted.rows <= 4
    assert not {each.sample_id for each in retractions} & {rewrite.parent.id for rewrite in rewrites}
