"""The trainer as a user runs it: on a real broker, a real S3 server and a tiny model, killed and started again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import read_topic
from headrace.adapters.object_store import open_object_store
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.client import data_of, publish, subscribe
from headrace.client.seen_samples import seen_samples
from headrace.core.dossiers import Retraction
from headrace.core.fine_tuning import is_held_out
from headrace.core.positions import is_token, position_from
from headrace.core.reasons import Reason
from headrace.core.samples import prompt_hash_of
from headrace.core.topics import CHECKPOINT_PUBLISHED
from headrace.local.checkout import model_python
from headrace.local.signals import default_weights
from tests.fakes.accepted_topics import accepted
from tests.fakes.accepted_topics import publish as publish_accepted
from tests.fakes.certain import certain
from tests.fakes.checkpoints import adapter_folder
from tests.fakes.commands import said
from tests.fakes.decisions import DECIDED, dossier, place, sample

pytestmark = [pytest.mark.connected, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.1
"""What the policy that a dataset begins with holds out."""


def apart(sample_id, revision=0, *, share=SHARE, seed=""):
    """Whether a made-up sample is held out."""
    return is_held_out(prompt_hash_of(sample(sample_id, revision)), share, seed)


class World:
    """A broker, a bucket and a folder of its own."""

    def __init__(self, kafka, s3, folder):
        self.kafka = kafka
        self.s3 = s3.model_copy(update={"bucket": f"trainer-{uuid4().hex[:12]}"})
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}",
            "HEADRACE_HOME": str(folder / "no-stack"),
            "HEADRACE_KAFKA": kafka,
            "HEADRACE_S3_ENDPOINT": self.s3.endpoint,
            "HEADRACE_S3_ACCESS_KEY": self.s3.access_key,
            "HEADRACE_S3_SECRET_KEY": self.s3.secret_key.get_secret_value(),
            "HEADRACE_S3_BUCKET": self.s3.bucket,
            "HEADRACE_TRAINER_BASE": str(folder / "base"),
            "HEADRACE_TRAINER_FOLDER": str(folder / "trainer"),
            "HEADRACE_TRAINER_THREADS": "1",
            "HEADRACE_TRAINER_TOKENS_MAX": "128",
            "HEADRACE_TRAINER_SAVE_EVERY_STEPS": "2",
        }

    def start(self, *arguments):
        command = [sys.executable, "-m", "headrace.cli.main", *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
        )

    async def headrace(self, *arguments):
        process = self.start(*arguments)
        out, err = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, out + err
        return out

    async def dataset(self):
        name = f"notes-{uuid4().hex[:8]}"
        await said(self.environment, "dataset", "create", name)
        return name

    async def version(self, dataset, ids):
        events = [(dossier(sample_id, 0, Reason.ACCEPTED, dataset_id=dataset), place(n)) for n, sample_id in enumerate(ids)]
        async with open_object_store(self.s3) as objects:
            cutter = VersionCutter(objects, CutSettings(embeddings_wait_s=0))
            await cutter.staging.stage_decided(dataset, DECIDED, events)
            return certain(await cutter.cut(dataset, "request")).version

    async def seen(self, published, **which):
        return sorted([each async for each in seen_samples(published, kafka=self.kafka, store=self.s3, **which)])

    async def published(self, dataset):
        events = [event async for event in read_topic(CHECKPOINT_PUBLISHED, self.kafka, until_now=True)]
        return [event.body for event in events if event.body.data.dataset_id == dataset]


@pytest.fixture(scope="module")
def world(kafka, s3, tmp_path_factory):
    with KafkaAdmin(kafka) as admin:
        admin.ensure_topics(partitions=4, replication_factor=1)
    return World(kafka, s3, tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def base(world):
    command = (model_python(), ROOT / "tests" / "integration" / "tiny_base.py", default_weights(print), world.folder / "base")
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return world.folder / "base"


async def run_script(world, folder, script):
    """A script in the environment of the model side."""
    environment = world.environment | {"PYTHONPATH": str(ROOT / "libs"), "HF_HUB_OFFLINE": "1"}
    command = (model_python(), "-c", script)
    run = partial(subprocess.run, command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    return await asyncio.to_thread(run)


def place_of(state):
    """The position in the state of a dataset, however deep `map` and `select_columns` have put it."""
    if isinstance(state, dict):
        return next((found for each in state.values() if (found := place_of(each)) is not None), None)
    return position_from(state) if isinstance(state, str) and is_token(state) else None


@pytest.mark.model
@pytest.mark.usefixtures("base")
async def test_a_killed_trainer_publishes_one_checkpoint_in_the_end(world):
    """Killed in the middle, run again and once more: one checkpoint, announced once, and it says exactly what it has seen."""
    dataset = await world.dataset()
    ids = [f"s{number:02}" for number in range(24)]
    version = await world.version(dataset, ids)
    train = ("train", dataset, "--steps", "60", "--json")
    first = world.start(*train)
    runs = world.folder / "trainer" / dataset
    while not [*runs.glob("*/state/checkpoint-*/whole")] and first.poll() is None:  # noqa: ASYNC110 - another process's file
        await asyncio.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert await world.published(dataset) == []
    told = json.loads(await world.headrace(*train))
    again = json.loads(await world.headrace(*train))
    assert told == again
    (published,) = await world.published(dataset)
    assert (published.checkpoint_id, published.data.version) == (told["checkpoint"], version.id)
    assert published.metrics["held_out_loss_after"] < published.metrics["held_out_loss_before"]
    trained = [(sample_id, 0) for sample_id in ids if not apart(sample_id)]
    assert 0 < len(trained) < len(ids)
    assert await world.seen(published) == await world.seen(replace(published, files=())) == trained
    listed = await said(world.environment, "checkpoint", "samples", told["checkpoint"][:12], "--json")
    assert sorted(tuple(json.loads(line)) for line in listed.splitlines()) == trained
    rows = json.loads(await said(world.environment, "checkpoint", "ls", "--json"))
    assert {row["checkpoint_id"]: row["fate"] for row in rows}[told["checkpoint"]] == "not rolled out yet"
    shown = json.loads(await said(world.environment, "checkpoint", "show", told["checkpoint"][:8], "--json"))
    assert shown["hyperparameters"]["steps"] == 60


@pytest.mark.model
@pytest.mark.usefixtures("base")
async def test_a_follower_trains_each_time_enough_was_accepted(world):
    """Every so many acceptances a checkpoint, of everything that stands accepted up to a position that it names."""
    dataset = await world.dataset()
    names = [f"s{number:02}" for number in range(12)]
    taken_back = next(name for name in names[:6] if not apart(name))
    await publish_accepted(world.kafka, dataset, accepted(dataset, names[:6]))
    follow = ("train", dataset, "--follow", "--every", "6", "--steps", "6", "--json")
    (first,) = map(json.loads, (await world.headrace(*follow, "--rounds", "1")).splitlines())
    changes = accepted(dataset, names[6:]) + accepted(dataset, names[:2], 1)
    await publish_accepted(world.kafka, dataset, [Retraction(dataset, taken_back, 0, "licence")])
    await publish_accepted(world.kafka, dataset, changes)
    (second,) = map(json.loads, (await world.headrace(*follow, "--rounds", "1")).splitlines())
    checkpoints = await world.published(dataset)
    assert [each.checkpoint_id for each in checkpoints] == [first["checkpoint"], second["checkpoint"]]
    assert await world.seen(checkpoints[0]) == [(name, 0) for name in names[:6] if not apart(name)]
    for published in checkpoints:  # the list with the weights is what follows from the position
        assert await world.seen(published) == await world.seen(replace(published, files=()))


@pytest.mark.model
@pytest.mark.usefixtures("base")
async def test_the_script_of_the_readme_trains_and_reports(world, tmp_path):
    """What a reader pastes works as it stands, but for the names of dataset and weights."""
    dataset = await world.dataset()
    await publish_accepted(world.kafka, dataset, accepted(dataset, ["a", "b", "c"]))
    readme = (ROOT / "services" / "trainer" / "README.md").read_text()
    script = next(block.split("```")[0] for block in readme.split("```python\n") if "DATASET, BASE, OUT" in block)
    assert 'DATASET, BASE, OUT = "math", os.environ["HEADRACE_TRAINER_BASE"], "out"' in script
    done = await run_script(world, tmp_path, script.replace('"math"', repr(dataset)))
    assert done.returncode == 0, done.stderr[-4000:]
    (published,) = await world.published(dataset)
    assert published.checkpoint_id in done.stdout
    assert await world.seen(published) == [("a", 0), ("b", 0), ("c", 0)]


@pytest.mark.model
async def test_the_lines_of_the_readme_train_and_resume(world, base, tmp_path):
    """TRL takes the rows as they come; with one line more it goes on behind those that it has trained on."""
    dataset = await world.dataset()
    names = [f"s{number:03}" for number in range(60)]
    rows = accepted(dataset, names)
    await publish_accepted(world.kafka, dataset, rows)
    readme = (ROOT / "services" / "trainer" / "README.md").read_text()
    lines, more = (block.split("```")[0] for block in readme.split("```python\n")[1:3])
    for line, instead in {
        '"math", start="latest"': f'{dataset!r}, start="beginning"',
        '"path/to/model"': repr(str(base)),
        "SFTConfig(max_steps=1000)": "SFTConfig('out', max_steps=STEPS, save_steps=2, bf16=False, report_to='none')",
    }.items():
        assert line in lines
        lines = lines.replace(line, instead)
    first = lines.replace("STEPS", "2").replace("trainer.train()", f"{more.splitlines()[0]}\nresumable(trainer).train()")
    assert (done := await run_script(world, tmp_path, first)).returncode == 0, done.stderr[-4000:]
    again = lines.replace("STEPS", "4").replace("trainer.train()", more)
    assert (done := await run_script(world, tmp_path, again)).returncode == 0, done.stderr[-4000:]
    places = [json.loads((tmp_path / f"out/checkpoint-{step}/stream_place.json").read_text()) for step in (2, 4)]
    assert [sum(place_of(place).offsets.values()) for place in places] == [2 * 8, 4 * 8]


async def test_ones_own_trainer_reports_what_it_has_seen(world, tmp_path):
    """Samples follow from version, position and share where a trainer keeps no list: revised, taken back, held out."""
    dataset = await world.dataset()
    names = [f"s{number:02}" for number in range(30)]
    await publish_accepted(world.kafka, dataset, accepted(dataset, names))
    await publish_accepted(world.kafka, dataset, [Retraction(dataset, names[3], 0, "privacy")])
    await publish_accepted(world.kafka, dataset, accepted(dataset, names[5:7], 1))
    async with subscribe(dataset, follow=False, kafka=world.kafka, store=world.s3) as subscription:
        taken = [item async for item in subscription]
    assert len(taken) == 33
    await publish_accepted(world.kafka, dataset, accepted(dataset, ["later"]))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    data = data_of(certain(subscription.position), held_out_share=0.2, held_out_seed="mine", rows_trained=24)
    said = {"model": "signals", "base": tmp_path / "base", "data": data, "kafka": world.kafka, "store": world.s3}
    published = await publish(adapter_folder(tmp_path / "trained"), **said)
    assert await publish(tmp_path / "trained", **said) == published
    assert len(await world.published(dataset)) == 1
    expected = {name: 0 for name in names if name != names[3]} | dict.fromkeys(names[5:7], 1)
    held_out = {name for name, revision in expected.items() if apart(name, revision, share=0.2, seed="mine")}
    assert 0 < len(held_out) < len(expected)
    trained = {name: revision for name, revision in expected.items() if name not in held_out}
    assert dict(await world.seen(published)) == trained
    assert dict(await world.seen(published, held_out=True)).keys() == held_out
