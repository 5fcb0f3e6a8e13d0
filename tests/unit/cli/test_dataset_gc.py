"""What `dataset gc` refuses before it looks at anything, and what it shows of rounds."""

import asyncio
import json
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from headrace.adapters.checkpoints.store import CheckpointStore
from headrace.adapters.versions.store import VersionStore
from headrace.cli.main import app
from headrace.core.checkpoint_manifests import blob_key
from headrace.core.checkpoints import CheckpointPublished, CheckpointRolledOut
from headrace.core.roll_out import Told, folded
from tests.fakes.checkpoints import adapter_folder, details
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.round_parts import NOW, Parts, Rounds, started

NOWHERE = {"HEADRACE_S3_ENDPOINT": "127.0.0.1:1", "HEADRACE_S3_START_S": "0.1", "COLUMNS": "200"}


@pytest.mark.parametrize("grace", ["0s", "59m", "3599s"])
def test_a_grace_that_a_cut_may_outlast_is_refused(grace):
    """It could take a running cut's shards; the error says what to do."""
    done = CliRunner().invoke(app, ["dataset", "gc", "--grace", grace], env=NOWHERE)
    assert done.exit_code == 1
    assert "--grace below 1h" in done.output
    assert "--while-idle" in done.output


@pytest.mark.parametrize("more", [["--while-idle"], ["--dry-run"]])
def test_where_nothing_is_cut_or_deleted_any_grace_will_do(more):
    """It gets as far as the store, which is not there."""
    done = CliRunner().invoke(app, ["dataset", "gc", "--grace", "0s", *more], env=NOWHERE)
    assert done.exit_code
    assert "--grace below" not in done.output


def test_a_dry_run_shows_what_a_round_left_behind(monkeypatch, tmp_path):
    """By the states of rounds, which are read only where some round left anything; --no-rounds leaves it alone."""
    objects, asked = FakeObjectStore(), []
    objects.clock = lambda: NOW + 40 * 86_400.0
    ended = Rounds().run(started(), Parts(selected=(0, 0, 0)))
    assert not ended.running

    class States:
        def known(self):
            return [ended]

    async def read_states():
        asked.append(1)
        return States()

    @asynccontextmanager
    async def open_versions():
        yield VersionStore(objects)

    monkeypatch.setattr("headrace.cli.dataset_gc.open_versions", open_versions)
    monkeypatch.setattr("headrace.cli.round_reading.read_states", read_states)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "no-stack"))
    key = "rounds/arithmetic/r1/round/signals.parquet"

    def shown(*more):
        done = CliRunner().invoke(app, ["dataset", "gc", "--dry-run", "--no-claims", *more], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    assert key not in shown()
    assert not asked
    asyncio.run(objects.put(key, b"x"))
    objects.clock = lambda: NOW + 80 * 86_400.0
    assert key in shown()
    assert key not in shown("--no-rounds")
    assert key not in shown("--rounds-for", "90d")
    assert len(asked) == 2


@pytest.mark.parametrize("more", [[], ["--keep-checkpoints", "2"]])
def test_a_dry_run_shows_the_weights_that_nobody_needs(monkeypatch, tmp_path, more):
    """With their bytes, where it is said how many checkpoints to keep, and not else."""
    objects = FakeObjectStore()
    published: list[CheckpointPublished] = []
    told: list[Told] = []

    async def read_roll_outs():
        return folded(told)

    async def read_states():
        return SimpleNamespace(known=list)

    @asynccontextmanager
    async def open_versions():
        yield VersionStore(objects)

    async def publish():
        for number in range(4):
            folder = adapter_folder(tmp_path / str(number), fill=number)
            objects.clock = partial(float, 1_000 + number)
            published.append(await CheckpointStore(objects).publish(folder, details(run_id=str(number))))
            told.append(published[-1])
            told.append(CheckpointRolledOut("signals", published[-1].checkpoint_id, str(number), "", 1.0, 4, 1.0, 1.0, 1.0))

    asyncio.run(publish())
    objects.clock = lambda: 40 * 86_400.0
    monkeypatch.setattr("headrace.cli.dataset_gc.open_versions", open_versions)
    monkeypatch.setattr("headrace.cli.round_reading.read_states", read_states)
    monkeypatch.setattr("headrace.cli.checkpoint_reading.read_roll_outs", read_roll_outs)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "no-stack"))
    before = dict(objects.objects)
    done = CliRunner().invoke(app, ["dataset", "gc", "--dry-run", "--json", *more], catch_exceptions=False)
    *listed, total = map(json.loads, done.stdout.splitlines())
    assert {key: body for key, body in objects.objects.items() if not key.startswith("probes/")} == before
    if not more:
        assert (listed, total["objects"]) == ([], {})
        return
    assert [each["what"] for each in listed] == ["weights file"] * 2
    assert total == {
        "dry_run": True, "objects": {"weights file": 2}, "bytes": {"weights file": sum(each["bytes"] for each in listed)}
    }  # fmt: skip
    going = {blob_key(file.sha256) for each in published[:2] for file in each.files if file.name.endswith(".safetensors")}
    assert {each["key"] for each in listed} == going
