"""`headrace dataset export`: what it says, and how it refuses."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from headrace.cli import dataset_export
from headrace.cli.main import app
from tests.fakes.exporting import Exporting


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Runs the command on a version with one of every kind of conversation."""
    exporting = asyncio.run(Exporting.of_every_kind())

    @asynccontextmanager
    async def open_versions():
        yield exporting.store

    monkeypatch.setattr(dataset_export, "open_versions", open_versions)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "no-stack"))
    return lambda *arguments: CliRunner().invoke(app, ["dataset", "export", *map(str, arguments)])


def test_the_outcome_is_told_with_what_is_left_out(export, tmp_path):
    """For people in lines, for scripts as JSON."""
    ran = export("maths", tmp_path / "out", "--format", "alpaca")
    assert ran.exit_code == 0
    assert "default train: 11 rows in 1 files" in ran.stdout
    assert "left out 1: has a system prompt, for which the form has no place" in ran.stdout
    told = json.loads(export("maths@1", tmp_path / "out", "--format", "alpaca", "--rejected", "--json").stdout)
    assert told["rows"] == 13
    assert told["left_out"] == {"several_turns": 1, "system_prompt": 1, "tools": 1}
    assert told["splits"][1] == {
        "config": "rejected", "split": "train", "rows": 2, "files": ["rejected/train-00000-of-00001.jsonl"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["maths", "taken"], "holds mine.txt, which no export wrote"),
        (["maths", "out", "--format", "preference"], "version 1 of maths has no preference pairs"),
        (["maths", "out", "--format", "preference", "--rejected"], "--rejected goes with the other formats"),
        (["maths", "out", "--split-held-out", "1"], "the held-out share is 1; it is 0 or more, and below 1"),
        (["maths@7", "out"], "dataset maths has no version 7"),
        (["other", "out"], "dataset other has no version yet"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(export, tmp_path, monkeypatch, arguments, told):
    """And nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    ran = export(*arguments)
    assert ran.exit_code == 1
    assert ran.stderr.startswith("error: ")
    assert told in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]
