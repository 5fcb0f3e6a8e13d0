"""The datasets service as a real process, on a real broker and a real S3 server."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.versions.check import check
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.diff import diff
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.lineage import lineage
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.versions.tags import create_tag, delete_tag, tags
from headrace.core.events import Send
from headrace.core.ports.object_store import ObjectStore
from headrace.core.reasons import Reason
from headrace.core.topics import DECIDED, INDEXED
from headrace.core.versions import RowKind
from tests.fakes.commands import said
from tests.fakes.decisions import dossier, indexed, place

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
REASONS = (Reason.ACCEPTED, Reason.ACCEPTED, Reason.NEAR_DUPLICATE)


class World:
    """A broker, a bucket of its own, and the settings by which processes find them."""

    def __init__(self, kafka: str, s3: ObjectStoreSettings, folder: Path) -> None:
        self.kafka = kafka
        self.s3 = s3.model_copy(update={"bucket": f"datasets-{uuid4().hex[:12]}"})
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}",
            "HEADRACE_HOME": str(folder / "no-stack"),
            "HEADRACE_KAFKA": kafka,
            "HEADRACE_S3_ENDPOINT": self.s3.endpoint,
            "HEADRACE_S3_ACCESS_KEY": self.s3.access_key,
            "HEADRACE_S3_SECRET_KEY": self.s3.secret_key.get_secret_value(),
            "HEADRACE_S3_BUCKET": self.s3.bucket,
            "HEADRACE_DELIVERY_SESSION_TIMEOUT_MS": "3000",
            "HEADRACE_DATASETS_PACE_S": "0.1",
            "HEADRACE_DATASETS_TICK_S": "0.5",
            # A version of everything that was sent before, however long the service takes to get there.
            "HEADRACE_DATASETS_SETTLE_S_MAX": "100",
            "HEADRACE_DATASETS_EMBEDDINGS_WAIT_S": "100",
        }

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "datasets.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "headrace.cli.main", "run", "datasets"],
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    @contextmanager
    def serving(self) -> Iterator[None]:
        process = self.start()
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(60) == 0

    async def headrace(self, *arguments: str, fails: bool = False) -> str:
        return await said(self.environment, *arguments, fails=fails)

    async def publish(self, dataset_id: str, first: int, last: int) -> None:
        """Decisions on samples s<first> to s<last - 1>, two of three accepted, and the embeddings of those."""
        sends = []
        for number in range(first, last):
            reason, sample_id = REASONS[number % 3], f"s{number:05}"
            sends.append((f"{dataset_id}-{number}", Send(DECIDED, dossier(sample_id, 0, reason, dataset_id=dataset_id))))
            if reason is Reason.ACCEPTED:
                sends.append((f"{dataset_id}-e{number}", Send(INDEXED, indexed(sample_id, dataset_id=dataset_id))))
        async with EventPublisher(self.kafka, "headrace/test") as publisher:
            await publisher.publish_many(sends)

    async def ids(self, dataset_id: str, kind: RowKind) -> list[str]:
        async with open_object_store(self.s3) as objects:
            versions = VersionStore(objects)
            version = await versions.version(dataset_id)
            batches = [batch async for batch in versions.rows(version.manifest, kind, ["sample_id"])]
        return sorted(value for batch in batches for value in batch["sample_id"].to_pylist())


@pytest.fixture(scope="module")
def world(kafka, s3, tmp_path_factory) -> World:
    with KafkaAdmin(kafka) as admin:
        admin.ensure_topics(partitions=4, replication_factor=1)
    return World(kafka, s3, tmp_path_factory.mktemp("datasets"))


def expected(last: int) -> tuple[list[str], list[str]]:
    ids = [f"s{number:05}" for number in range(last)]
    return [i for n, i in enumerate(ids) if n % 3 < 2], [i for n, i in enumerate(ids) if n % 3 == 2]


async def test_from_the_topics_to_a_version_and_back_by_the_command_line(world):
    """Created, decided, cut, shown, downloaded, loaded by `datasets`, and one sample explained."""
    await world.headrace("dataset", "create", "algebra")
    assert "exists" in await world.headrace("dataset", "create", "algebra", fails=True)
    assert "no dataset" in await world.headrace("dataset", "cut", "geometry", fails=True)
    with world.serving():
        await world.publish("algebra", 0, 300)
        committed = json.loads(await world.headrace("dataset", "cut", "algebra", "--wait", "--timeout", "110", "--json"))
        assert (committed["new"], committed["rows_accepted"], committed["rows_rejected"]) == (True, 200, 100)
        again = json.loads(await world.headrace("dataset", "cut", "algebra", "--wait", "--timeout", "110", "--json"))
        assert (again["new"], again["version"]) == (False, committed["version"])
    assert (await world.ids("algebra", RowKind.ACCEPTED), await world.ids("algebra", RowKind.REJECTED)) == expected(300)
    shown = json.loads(await world.headrace("dataset", "show", "algebra", "--json"))
    assert shown["counts"]["embeddings"] == 200
    assert shown["counts"]["embeddings_missing"] == shown["waiting"] == 0
    [listed] = [row for row in json.loads(await world.headrace("dataset", "ls", "--json")) if row["dataset"] == "algebra"]
    assert (listed["version"], listed["accepted"], listed["waiting"]) == (1, 200, 0)
    assert (await world.headrace("dataset", "path", "algebra")).startswith(f"s3://{world.s3.bucket}/shards/")
    await explained(world)
    await looked_at(world, committed["version"])
    await loaded(world)


async def explained(world):
    story = json.loads(await world.headrace("sample", "show", "s00002", "--dataset", "algebra", "--json"))
    [ending] = story["endings"]
    assert ending["dossier"]["decisions"][-1]["reason"] == "near_duplicate"
    assert "rejected: near_duplicate" in await world.headrace("sample", "show", "s00002", "-d", "algebra")
    assert "on its way" in await world.headrace("sample", "show", "s99999", "-d", "algebra", fails=True)
    for missing in (("sample", "show", "s00002", "-d", "nosuch"), ("dataset", "show", "nosuch")):
        assert "no such dataset: nosuch" in await world.headrace(*missing, fails=True)


async def looked_at(world, version):
    """What reads versions, on a real store."""
    async with open_object_store(world.s3) as objects:
        versions = VersionStore(objects)
        found = await versions.version("algebra")
        tag = await create_tag(objects, "first", found)
        assert [each async for each in tags(objects, "algebra")] == [tag]
        assert (await versions.version("algebra", "first")).id == (await versions.version("algebra", version[:8])).id == version
        assert [each.damage async for each in check(versions, found) if each.damage] == []
        assert [change async for change in diff(objects, found.manifest, found.manifest)] == []
        traced = await lineage(versions, found, "s00002", 10)
        [decided] = traced.ancestors[0].decided
        assert (decided.first_version, decided.carried.topic) == (1, DECIDED.name)
        assert await delete_tag(objects, "algebra", "first")
    rows = await world.headrace("dataset", "rows", "algebra", "--where", "sample_id < 's00004'", "--json")
    assert [json.loads(line)["sample_id"] for line in rows.splitlines()] == ["s00000", "s00001", "s00003"]


async def loaded(world):
    folder = world.folder / "download"
    await world.headrace("dataset", "checkout", "algebra", str(folder), "--kind", "accepted", "--kind", "embeddings")
    script = """
import sys, datasets
for streaming in (False, True):
    rows = datasets.load_dataset("parquet", data_files=f"{sys.argv[1]}/accepted-*.parquet", split="train", streaming=streaming)
    messages = [row["messages"] for row in rows]
    assert len(messages) == 200 and messages[0][0]["role"] == "user", messages[0]
    assert messages[0][1]["tool_calls"][0]["function"]["name"] == "multiply"
vectors = datasets.load_dataset("parquet", data_files=f"{sys.argv[1]}/embeddings-*.parquet", split="train")
assert vectors.features["prompt"].length == 4
"""
    environment = world.environment | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(world.folder / "cache")}
    command = [sys.executable, "-c", script, str(folder)]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_killed_at_any_instant_nothing_is_lost_and_nothing_is_twice(world):
    """Killed again and again in the middle of its work, the service cuts the versions that it would have cut in peace."""
    chance = random.Random(7)
    policy = world.folder / "policy.yaml"
    policy.write_text("versions: {every_rows: 100}\n")
    await world.headrace("dataset", "create", "killed", "--file", str(policy))
    await world.publish("killed", 0, 1_000)
    process = world.start()
    try:
        async with open_object_store(world.s3) as objects:
            versions = VersionStore(objects)
            for goal in (100, 300, 600, 800, 1_000):
                await reached(versions, "killed", goal)
                await asyncio.sleep(chance.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
                process.wait()
                process = world.start()
            log = [version async for version in versions.log("killed")]
    finally:
        process.kill()
        process.wait()
    assert (await world.ids("killed", RowKind.ACCEPTED), await world.ids("killed", RowKind.REJECTED)) == expected(1_000)
    counts = log[0].manifest.counts
    assert (counts.decided, counts.superseded, counts.embeddings, counts.embeddings_missing) == (1_000, 0, counts.accepted, 0)
    assert [version.manifest.counts.decided for version in reversed(log)] == list(range(100, 1_001, 100))


async def reached(versions: VersionStore, dataset_id: str, decided: int) -> None:
    """Return once a version counts so many decisions."""
    while (version := await versions.latest(dataset_id)) is None or version.manifest.counts.decided < decided:  # noqa: ASYNC110 - another process cuts
        await asyncio.sleep(0.02)


async def test_two_cutters_on_a_real_store_share_the_work(world):
    """However many cut at once, one chain of versions comes of it, with every row once."""
    async with open_object_store(world.s3) as objects:
        cutters = [VersionCutter(objects, CutSettings(embeddings_wait_s=0)) for _ in range(3)]
        for turn in range(3):
            rows = [(dossier(f"s{turn}-{n}", dataset_id="raced"), place(turn * 20 + n)) for n in range(20)]
            await cutters[0].staging.stage_decided("raced", "decided/00002", rows)
            await asyncio.gather(*(cutter.cut("raced", f"{turn}-{n}") for n, cutter in enumerate(cutters)))
        versions = [version async for version in VersionStore(objects).log("raced")]
    assert [version.manifest.sequence for version in versions] == [3, 2, 1]
    assert len(await world.ids("raced", RowKind.ACCEPTED)) == 60


async def test_two_services_that_commit_at_once_make_one_chain(world):
    """One falls asleep as its manifest appears, another takes over, and as that one's manifest appears the first wakes up.

    Both move the reference then: one of them loses, and every row is there once.
    """
    await world.headrace("dataset", "create", "twins")
    services = [world.start()]
    try:
        async with open_object_store(world.s3) as objects:
            for turn in range(2):
                asleep, first = services[-1], turn * 120
                await world.publish("twins", first, first + 60)
                known = await manifests(objects)
                await world.headrace("dataset", "cut", "twins")
                known = await another(objects, known)
                asleep.send_signal(signal.SIGSTOP)
                await world.publish("twins", first + 60, first + 120)
                services.append(world.start())
                wanted = asyncio.create_task(world.headrace("dataset", "cut", "twins", "--wait", "--timeout", "100"))
                await another(objects, known)
                asleep.send_signal(signal.SIGCONT)
                await wanted
                asleep.kill()
                asleep.wait()
            versions = [version async for version in VersionStore(objects).log("twins")]
    finally:
        for service in services:
            service.kill()
            service.wait()
    assert [version.manifest.sequence for version in versions] == [*range(len(versions), 0, -1)]
    assert (await world.ids("twins", RowKind.ACCEPTED), await world.ids("twins", RowKind.REJECTED)) == expected(240)
    counts = versions[0].manifest.counts
    assert (counts.decided, counts.superseded, counts.embeddings_missing) == (240, 0, 0)


async def manifests(objects: ObjectStore) -> set[str]:
    return {entry.key async for entry in objects.list("manifests/twins/")}


async def another(objects: ObjectStore, known: set[str]) -> set[str]:
    """All manifests, once there is one that was not known."""
    while (found := await manifests(objects)) <= known:  # noqa: ASYNC110 - another process cuts
        await asyncio.sleep(0.002)
    return found
