"""Diversity over a real broker: killed at any instant, and as two replicas that share an index."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.record_lag import lags
from headrace.adapters.kafka.streams import EventPublisher, RecordReader, decoded, read_topic
from headrace.adapters.policies.published import PolicyTopics, publish_policy
from headrace.adapters.vector_index import VectorIndexSettings, open_vector_index
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.dossiers import Decision, Dossier, DuplicateKind, Embeddings, IndexedSample, ScoredSample, Verdict
from headrace.core.events import Send
from headrace.core.policies import DiversityBounds, Policy
from headrace.core.samples import Message, Sample, content_hash_of
from headrace.core.topics import DECIDED, INDEXED, PLACED, SCORED, consumer_group_id, dlq_topic_name
from headrace.runtime.delivery import Hop
from headrace.runtime.settings import DeliverySettings
from services.diversity.handlers import Diversity
from services.diversity.retractions import Retracting
from services.diversity.subscribers import subscriptions
from services.diversity.surveying import Surveying
from tests.fakes.surveys import NoDensities
from tests.fakes.toy_topics import until
from tests.fakes.vector_engine import DictEngine

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
DIMENSIONS = 32
CLUSTERS = 12
POLICY = Policy(diversity=DiversityBounds(near_duplicate_cosine=0.999, hold_s_max=600))


def scored(dataset_id: str, number: int) -> ScoredSample:
    """The sample of this number; those of one cluster are near-duplicates of each other."""
    middle = np.random.default_rng(number % CLUSTERS).normal(size=DIMENSIONS)
    vector = middle / np.linalg.norm(middle) + 0.001 * np.random.default_rng(1_000 + number).normal(size=DIMENSIONS)
    unit = (vector / np.linalg.norm(vector)).astype("<f4").tobytes()
    messages = (Message("user", f"question {number}"), Message("assistant", f"answer {number}"))
    sample = Sample(dataset_id, f"s{number:04}", 0, content_hash_of(messages, "", None), messages)
    return ScoredSample(Dossier(sample, time.time()), Embeddings("model", "1", unit, unit))


def has_merit(number: int) -> bool:
    """In each third cluster nobody has, in the others every fifth sample."""
    return number % CLUSTERS % 3 != 0 and number // CLUSTERS % 5 == 2


class Admission:
    """Decides what is placed, after a moment; one sample in forty ends in its dead letters instead."""

    def __init__(self, kafka: str, dataset_id: str) -> None:
        self.kafka = kafka
        self.dataset_id = dataset_id
        self.placed: list[Dossier] = []
        self.accepted: set[str] = set()
        self.parked: set[str] = set()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self) -> None:
        choose = random.Random(1)
        letters = replace(PLACED, name=dlq_topic_name(PLACED.name, "admission"))
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            async for event in read_topic(PLACED, self.kafka):
                dossier = event.body
                if not isinstance(dossier, Dossier) or dossier.sample.dataset_id != self.dataset_id:
                    continue
                self.placed.append(dossier)
                if choose.random() < 0.2:
                    await asyncio.sleep(0.05)
                number, placement = int(dossier.sample.id[1:]), dossier.placement
                assert placement is not None
                if number % 40 == 7:
                    self.parked.add(dossier.sample.id)
                    await publisher.publish(Send(letters, dossier), event_id=f"{dossier.sample.key}-letter")
                    continue
                admit = placement.duplicate_kind is DuplicateKind.NONE and has_merit(number)
                if admit:
                    self.accepted.add(dossier.sample.id)
                decision = Decision(Verdict.ACCEPTED if admit else Verdict.REJECTED, "because", POLICY.version)
                decided = replace(dossier, decisions=(decision,))
                await publisher.publish(Send(DECIDED, decided), event_id=f"{dossier.sample.key}-decided")

    async def has_seen(self, count: int) -> None:
        async with asyncio.timeout(150):
            while len(self.placed) < count:  # noqa: ASYNC110 - a test may poll
                await asyncio.sleep(0.1)


async def submit(kafka: str, dataset_id: str, numbers: range, pause_s: float) -> None:
    async with EventPublisher(kafka, "headrace/test") as publisher:
        for number in numbers:
            await publisher.publish(Send(SCORED, scored(dataset_id, number)), event_id=f"{dataset_id}-{number}")
            if pause_s and number % 20 == 0:
                await asyncio.sleep(pause_s)


async def indexed(kafka: str, dataset_id: str, count: int) -> list[str]:
    """The samples whose embeddings were handed on, once there are that many and no more are to come."""
    found: list[str] = []
    async with RecordReader.opened(kafka, [INDEXED.name]) as reader, asyncio.timeout(60):
        while True:
            async for record in reader.until_now():
                event = decoded(INDEXED, record)
                if event is not None and isinstance(event.body, IndexedSample) and event.body.dataset_id == dataset_id:
                    found.append(event.body.sample_id)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.1)


def check(admission: Admission, numbers: range) -> None:
    """Everybody was placed once; each cluster with merit has exactly one that was admitted, the others none."""
    assert Counter(dossier.sample.id for dossier in admission.placed) == Counter(f"s{n:04}" for n in numbers)
    with_merit = {n % CLUSTERS for n in numbers if has_merit(n) and n % 40 != 7}
    assert Counter(int(sample_id[1:]) % CLUSTERS for sample_id in admission.accepted) == Counter(with_merit)


@pytest.fixture(scope="module")
def broker(own_kafka: str) -> str:
    with KafkaAdmin(own_kafka) as admin:
        admin.ensure_topics(partitions=4, replication_factor=1)
    return own_kafka


class Process:
    """The service as `headrace run diversity`, on the engine in process."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}",
            "HEADRACE_HOME": str(folder / "no-stack"),
            "HEADRACE_KAFKA": kafka,
            "HEADRACE_DIVERSITY_INDEX_PATH": str(folder / "index"),
            "HEADRACE_DELIVERY_SESSION_TIMEOUT_MS": "3000",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "diversity.log").open("ab") as log:
            command = [sys.executable, "-m", "headrace.cli.main", "run", "diversity"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=ROOT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(60) == 0


async def test_killed_at_any_instant_each_cluster_has_one_admitted(broker: str, tmp_path: Path) -> None:
    """Through kill -9 at random moments nobody is lost or placed twice, and the index ends with what was admitted."""
    dataset_id, numbers = "killed", range(600)
    await _publish(broker, dataset_id)
    admission, service, choose = Admission(broker, dataset_id), Process(broker, tmp_path), random.Random(3)
    service.start()
    async with admission.at_work():
        submitting = asyncio.create_task(submit(broker, dataset_id, numbers, pause_s=0.4))
        for _ in range(4):
            seen = len(admission.placed)
            await admission.has_seen(seen + 20)
            await asyncio.sleep(choose.uniform(0.0, 1.5))
            service.kill()
            service.start()
        await submitting
        await admission.has_seen(len(numbers))
        assert Counter(await indexed(broker, dataset_id, len(admission.accepted))) == Counter(admission.accepted)
        check(admission, numbers)
        await until(partial(has_settled, broker))
        await asyncio.sleep(1)  # the last dead letters are followed, which leaves no trace in Kafka
    service.stop()
    async with open_vector_index(VectorIndexSettings(path=tmp_path / "index")) as index:
        [census] = await index.census()
    assert (census.accepted, census.pending) == (len(admission.accepted), 0)


async def test_a_rejected_id_and_revision_belongs_to_its_content_through_kills(broker: str, tmp_path: Path) -> None:
    """Killed with decisions unread the service turns other content away all the same, and the first content is decided again."""
    dataset_id, service = "rejected", Process(broker, tmp_path)
    await _publish(broker, dataset_id)
    kinds = {"first": DuplicateKind.NONE, "other": DuplicateKind.REVISION_CONFLICT}
    async with EventPublisher(broker, "headrace/test") as publisher, asyncio.timeout(200):
        for number, text in enumerate(("first", "other", "first", "other"), start=1):
            await publisher.publish(Send(SCORED, of_one_id(dataset_id, text)), event_id=f"{dataset_id}-{number}")
            service.start()
            dossier = (await placed(broker, dataset_id, number))[-1]
            service.kill()
            assert dossier.placement is not None
            assert (dossier.sample.messages[-1].content, dossier.placement.duplicate_kind) == (text, kinds[text])
            decided = replace(dossier, decisions=(Decision(Verdict.REJECTED, "because", POLICY.version),))
            await publisher.publish(Send(DECIDED, decided), event_id=f"{dataset_id}-{number}-decided")


def of_one_id(dataset_id: str, text: str) -> ScoredSample:
    """A submission of the one sample that has this content."""
    vector = np.random.default_rng(len(text)).normal(size=DIMENSIONS)
    unit = (vector / np.linalg.norm(vector)).astype("<f4").tobytes()
    messages = (Message("user", "question"), Message("assistant", text))
    sample = Sample(dataset_id, "one", 0, content_hash_of(messages, "", None), messages)
    return ScoredSample(Dossier(sample, time.time()), Embeddings("model", "1", unit, unit))


async def placed(kafka: str, dataset_id: str, count: int) -> list[Dossier]:
    """The first placements of a dataset, once there are so many."""
    found: list[Dossier] = []
    async with aclosing(read_topic(PLACED, kafka)) as events:
        async for event in events:
            if isinstance(event.body, Dossier) and event.body.sample.dataset_id == dataset_id:
                found.append(event.body)
            if len(found) == count:
                break
    return found


async def has_settled(kafka: str) -> bool:
    """Whether the service has read all decisions."""
    found = await lags(kafka, [(consumer_group_id(DECIDED.name, "diversity"), [DECIDED.name])])
    return not any(lag.records for lag in found)


async def test_two_replicas_share_the_work_and_the_order(broker: str) -> None:
    """Placing, looking again and settling run on whichever replica holds the partition; one leaves half-way."""
    dataset_id, numbers = "shared", range(300)
    await _publish(broker, dataset_id)
    engine, admission = DictEngine(), Admission(broker, dataset_id)
    replicas = [_replica(broker, engine) for _ in range(2)]
    async with admission.at_work():
        for hops in replicas:
            await asyncio.gather(*(hop.start() for hop in hops))
        submitting = asyncio.create_task(submit(broker, dataset_id, numbers, pause_s=0.2))
        await admission.has_seen(100)
        await asyncio.gather(*(hop.stop() for hop in replicas[0]))
        await submitting
        releasing = asyncio.create_task(_release_letters(broker, engine))
        await admission.has_seen(len(numbers))
        assert Counter(await indexed(broker, dataset_id, len(admission.accepted))) == Counter(admission.accepted)
        check(admission, numbers)
        releasing.cancel()
        await asyncio.gather(releasing, return_exceptions=True)
    await asyncio.gather(*(hop.stop() for hop in replicas[1]))


def _replica(kafka: str, engine: DictEngine) -> list[Hop]:
    """One replica's hops, with a view of its own on the shared collections."""
    known: Callable[[str], Policy | None] = lambda _: POLICY  # noqa: E731 - a policy book of one line
    index = QdrantVectorIndex(engine)
    diversity, retracting = Diversity(index, known), Retracting(index, known)
    surveying = Surveying(index, NoDensities(), known)
    settings = DeliverySettings(session_timeout_ms=3_000)
    return [Hop(subscription, kafka, settings) for subscription in subscriptions(diversity, retracting, surveying, 64)]


async def _release_letters(kafka: str, engine: DictEngine) -> None:
    letters = replace(PLACED, name=dlq_topic_name(PLACED.name, "admission"))
    diversity = Diversity(QdrantVectorIndex(engine), lambda _: POLICY)
    async for event in read_topic(letters, kafka):
        await diversity.release([event])


async def _publish(kafka: str, dataset_id: str) -> None:
    await publish_policy(dataset_id, POLICY, PolicyTopics(kafka, 4, 1, 10.0), now=time.time())
