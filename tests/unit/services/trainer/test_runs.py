"""Runs: done once, resumed after a kill, published once, with the model's side played by a small program."""

import json
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.adapters.checkpoints.store import CheckpointStore
from headrace.client import Gathered
from headrace.core.checkpoints import CheckpointKind, CheckpointPublished, TrainingData
from headrace.core.events import Stop
from headrace.core.fine_tuning import Hyperparameters, Progress, Stage
from services.trainer.model_side import CannotTrain, fine_tune
from services.trainer.runs import Base, Trainer
from tests.fakes.checkpoints import safetensors_bytes
from tests.fakes.object_store import FakeObjectStore

ROOT = Path(__file__).resolve().parents[4]

PROGRAM = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(sys.argv[-1])
with (folder.parent / "starts").open("a") as starts:
    starts.write(folder.name + "\\n")
if (folder.parent / "broken").exists():
    print("no memory for the model", file=sys.stderr)
    sys.exit(1)
rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
held_out = (folder / "held_out.jsonl").read_text().splitlines()
print("what a library prints")
print(json.dumps({{"stage": "training", "step": 1, "steps": 1, "loss": 1.5}}), flush=True)
weights = folder / "weights"
weights.mkdir()
(weights / "adapter_config.json").write_text("{{}}")
(weights / "adapter_model.safetensors").write_bytes(bytes.fromhex("{weights}"))
(weights / "headrace_seen_samples.txt").write_text("".join(json.dumps([row["id"], row["revision"]]) + "\\n" for row in rows))
metrics = {{"train_loss": 1.5, "held_out_loss_before": 2.0, "held_out_loss_after": 1.0}}
outcome = {{"rows_trained": len(rows), "rows_unreadable": 0, "rows_held_out": len(held_out), "metrics": metrics}}
(folder / "outcome.json").write_text(json.dumps(outcome))
"""
SHARE = 0.25
DATA = TrainingData("maths", "c" * 64, held_out_share=SHARE, held_out_seed="seed")


class World:
    """A trainer on a fake store, and what it told of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.folder.mkdir()
        program = folder / "python"
        program.write_text(PROGRAM.format(python=sys.executable, weights=safetensors_bytes({"a": [2]}).hex()))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.objects = FakeObjectStore()
        self.told: list[CheckpointPublished] = []
        self.shown: list[Progress] = []
        self.trainer = Trainer(
            model="signals",
            base=Base(folder / "base", "tiny", "b" * 64),
            hyperparameters=Hyperparameters(steps=3, batch_rows=2),
            folder=self.folder,
            python=program,
            objects=self.objects,
            announce=self.announce,
            held_out_rows_max=3,
        )

    async def announce(self, published) -> bool:
        self.told.append(published)
        return True

    @property
    def starts(self) -> list[str]:
        return (self.folder / "starts").read_text().splitlines()

    async def train(self, gathered, data=DATA):
        return await self.trainer.train(gathered, data, self.shown.append)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def gathered(tmp_path):
    with Gathered(tmp_path / "table.sqlite", "seed") as table:
        for number in range(40):
            table.accept(f"s{number}", number % 2, f"prompt-{number}", json.dumps({"messages": [], "tools": None}))
        yield table


async def test_a_run_becomes_a_checkpoint(world, gathered, tmp_path):
    """Weights, data, hyper-parameters and metrics are published; rows and weights are cleared away."""
    published = await world.train(gathered)
    assert world.told == [published]
    assert (published.kind, published.base_sha256, published.data.version) == (CheckpointKind.ADAPTER, "b" * 64, "c" * 64)
    assert published.data.rows_trained == 6, "no more rows than the steps can take"
    assert published.data.rows_held_out == gathered.counts(SHARE)[1]
    assert published.metrics["rows_measured"] == 3
    assert json.loads(published.hyperparameters_json)["steps"] == 3
    assert [line.stage for line in world.shown] == [Stage.TRAINING]
    await CheckpointStore(world.objects).fetch(published, tmp_path / "fetched")
    seen = [json.loads(line) for line in (tmp_path / "fetched" / "headrace_seen_samples.txt").read_text().splitlines()]
    assert seen == [[sample_id, revision] for sample_id, revision, _ in gathered.trained(SHARE, 6)]
    left = {path.name for path in (world.folder / world.trainer.run_id(DATA)).iterdir()}
    assert left == {"log", "outcome.json", "published", "run.json"}


async def test_the_same_again_is_not_trained_again(world, gathered):
    """The same data and hyper-parameters give the checkpoint that is there; other ones are another run."""
    first = await world.train(gathered)
    assert await world.train(gathered) == first
    assert len(world.starts) == 1
    other = await world.train(gathered, replace(DATA, version="d" * 64))
    assert (other.run_id != first.run_id, len(world.starts)) == (True, 2)


async def test_a_run_goes_on_where_it_was_killed(world, gathered):
    """Killed before the weights are stored, before the manifest or before anyone is told: one checkpoint, trained once."""

    def die(key):
        raise Stop("killed")

    world.objects.before_write = die
    with pytest.raises(Stop):
        await world.train(gathered)
    world.objects.before_write = lambda _: None
    told, world.trainer = world.trainer.announce, replace(world.trainer, announce=_deaf)
    with pytest.raises(Stop):
        await world.train(gathered)
    world.trainer = replace(world.trainer, announce=told)
    published = await world.train(gathered)
    assert world.told == [published]
    assert len(world.starts) == 1
    assert len([key for key in world.objects.objects if key.startswith("checkpoints/signals/")]) == 1


async def _deaf(_) -> bool:
    raise Stop("no broker")


async def test_a_failure_shows_the_end_of_the_log(world, gathered):
    """What the model's side says last is the error; mended, the same run goes on."""
    (world.folder / "broken").touch()
    with pytest.raises(CannotTrain, match="no memory for the model"):
        await world.train(gathered)
    (world.folder / "broken").unlink()
    assert (await world.train(gathered)).data.rows_trained == 6


async def test_nothing_to_train_on_is_an_error(world, tmp_path):
    """A dataset without samples, or with all of them held out, makes no run."""
    with Gathered(tmp_path / "empty.sqlite", "") as empty, pytest.raises(CannotTrain, match="maths: no accepted sample"):
        await world.train(empty)
    assert not (world.folder / "starts").exists()


async def test_an_outcome_that_is_there_is_taken(world, tmp_path):
    """A run that ended before its parent could look is not started again."""
    outcome = {"rows_trained": 1, "rows_unreadable": 0, "rows_held_out": 0, "metrics": {}}
    (tmp_path / "outcome.json").write_text(json.dumps(outcome))
    assert (await fine_tune(tmp_path, Path("/no/python"), world.shown.append)).rows_trained == 1
