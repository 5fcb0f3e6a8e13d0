"""`headrace checkpoint`: what became of checkpoints in words, and asking for a refused one again."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from headrace.cli import checkpoint
from headrace.cli.main import app
from headrace.client import seen_samples
from headrace.client.seen_table import Seen
from headrace.core.checkpoints import CheckpointRefused, RefusedStep
from headrace.core.roll_out import Told, folded
from tests.fakes.bodies import BODIES

PUBLISHED = BODIES["CheckpointPublished"]
ROLLED_OUT = replace(BODIES["CheckpointRolledOut"], rollback_request_id="")
REFUSED = CheckpointRefused("signals", PUBLISHED.checkpoint_id, RefusedStep.FETCH, "too slow", 1.0)
NOT_BACK = replace(REFUSED, step=RefusedStep.LOAD, reason="no memory", rollback_request_id="r")
NAME = PUBLISHED.checkpoint_id[:8]


@pytest.fixture
def world(monkeypatch):
    """What the topics say, and what is published."""
    told: list[Told] = [PUBLISHED]
    sent: list[object] = []

    async def roll_outs():
        return folded(told)

    async def asked(_kafka, request, _request_id, _timeout_s):
        sent.append(request.body)

    async def nothing_collected():
        return frozenset()

    monkeypatch.setattr(checkpoint, "read_roll_outs", roll_outs)
    monkeypatch.setattr(checkpoint, "read_collected", nothing_collected)
    monkeypatch.setattr(checkpoint, "asked", asked)
    return told, sent


def headrace(*arguments):
    return CliRunner().invoke(app, ["checkpoint", *arguments])


def test_a_refused_checkpoint_is_asked_for_again(world):
    """The event as it was; one that measures, or was rolled out, is not asked for."""
    told, sent = world
    told.append(REFUSED)
    done = headrace("rollout", NAME)
    assert (done.exit_code, sent) == (0, [PUBLISHED])
    told.append(ROLLED_OUT)
    done = headrace("rollout", NAME)
    assert (done.exit_code, len(sent)) == (1, 1)
    assert "measures already" in done.output
    told.append(replace(ROLLED_OUT, checkpoint_id="cd" * 32, model_version="3"))
    assert "rollback --to" in headrace("rollout", NAME).output


def test_a_refused_rollback_is_told_beside_the_checkpoint_s_own_refusal(world):
    """Neither takes the place of the other."""
    told, _ = world
    told += [REFUSED, NOT_BACK]
    assert "refused at fetch: too slow; a rollback to it was refused at load: no memory" in headrace("ls").output


@pytest.mark.parametrize("as_json", [True, False])
def test_marks_and_gaps_are_told(world, monkeypatch, as_json):
    """What became of a sample since, and what is not listed."""

    async def rows(_published, *, kafka, held_out, tell):
        tell("records 0 to 3 were deleted since")
        for row in (Seen("a", 0), Seen("b", 1, "retracted since")):
            yield row

    monkeypatch.setattr(seen_samples, "seen_rows", rows)
    done = headrace("samples", NAME, *(["--json"] if as_json else []))
    lines = done.stdout.splitlines()
    if as_json:
        assert [json.loads(line) for line in lines] == [
            {"gap": "records 0 to 3 were deleted since"}, ["a", 0], ["b", 1, "retracted since"],
        ]  # fmt: skip
    else:
        assert lines == ["a 0", "b 1 retracted since"]
    assert "gap: records 0 to 3" in done.stderr


def test_a_checkpoint_whose_weights_were_collected_stays_listed_and_says_so(world, monkeypatch):
    """Beside what became of it."""
    told, _ = world
    told.append(ROLLED_OUT)

    async def collected():
        return frozenset({PUBLISHED.checkpoint_id})

    monkeypatch.setattr(checkpoint, "read_collected", collected)
    for command in (["ls"], ["show", NAME]):
        done = headrace(*command)
        assert f"measures, as version {ROLLED_OUT.model_version}; its weights were collected" in done.output
