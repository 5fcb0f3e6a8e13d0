"""The whole loop without a hand on it: versions, a trainer that follows them, rounds that checkpoints begin; calm, and killed."""

import json
from collections.abc import Iterator

import pytest

from headrace.core.rounds.state import Phase
from tests.e2e import by_itself, rounds
from tests.e2e.by_itself import End
from tests.e2e.mending import Mender
from tests.e2e.round_cases import command, done
from tests.e2e.spine import Spine
from tests.e2e.tiny_training import make_tiny_base, trainer_settings
from tests.fakes.certain import certain
from tests.fakes.tiny_triton import TinyTriton

pytestmark = [pytest.mark.connected, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(1_800)]

SEEDS = (2, 3)
BOTH = {(phase, name): 1 for phase in (Phase.TRAINING, Phase.EVALUATING) for name in ("trainer", "controller")}


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spine]:
    """One spine for all, with a real model server of a tiny model, and an endpoint that mends."""
    folder = tmp_path_factory.mktemp("by-itself")
    make_tiny_base(folder / "base")
    with Mender().serving() as mender:
        settings = rounds.SETTINGS | trainer_settings(folder)
        settings |= {"HEADRACE_CHAT_URL": mender.url, "HEADRACE_CHAT_MODEL": "nobody"}
        with Spine.up(folder, settings, triton=TinyTriton(folder / "base")) as spine:
            yield spine


@pytest.fixture(scope="module")
def killed(spine: Spine) -> End:
    """How the round ends when trainer and controller are killed while it waits for them."""
    return by_itself.run(spine, "killed", seed=1)


def test_a_killed_trainer_and_a_killed_controller_close_the_loop(killed: End):
    """A checkpoint begins the round, which mends, and is judged by the checkpoint of what it made; each live once."""
    state, (before, after) = killed.state, killed.checkpoints
    assert killed.killed == BOTH | {(Phase.TRAINING, "scoring"): 1}
    assert (state.phase, state.reason) == ("kept", "held_out_held"), state.detail
    assert state.begun.requested_by == f"checkpoint {before.checkpoint_id[:12]}"
    assert (state.begun.checkpoint_id, state.begun.survey.version) == (before.checkpoint_id, before.data.version)
    assert state.begun.trained_otherwise == ""
    assert (certain(state.checkpoint).checkpoint_id, certain(state.committed).version) == (
        after.checkpoint_id,
        after.data.version,
    )
    assert killed.rolled_out == {before.checkpoint_id: 1, after.checkpoint_id: 1}
    assert before.hyperparameters_json == after.hyperparameters_json
    assert before.base_sha256 == after.base_sha256
    accepted = state.rewrites.accepted["low_quality"]
    assert sum(revision > 0 for _, revision, _ in killed.rows) == accepted > 0
    assert len(killed.rows) == by_itself.SAMPLES


def test_a_round_begins_with_the_model_that_was_trained_on_its_version(spine: Spine, killed: End):
    """The checkpoint of what the first round made measures: one on that version may begin, and one on the version before not."""
    before = killed.checkpoints[0].checkpoint_id[:12]
    refused = command(spine, "round", "start", "killed", "--version", "1")
    assert refused.exit_code == 1
    told = refused.output + refused.stderr
    assert f"and not on version {killed.state.begun.survey.version[:12]}" in told
    assert f"headrace checkpoint rollback --to {before}" in told
    begun = json.loads(done(spine, "round", "start", "killed", "--version", "2", "--json"))["begun"]
    assert (begun["trained_otherwise"], begun["version_sequence"]) == ("", 2)
    done(spine, "round", "abort", "killed")
    anyway = json.loads(done(spine, "round", "start", "killed", "--version", "1", "--anyway", "--json"))["begun"]
    assert f"and not on version {killed.state.begun.survey.version[:12]}" in anyway["trained_otherwise"]
    done(spine, "round", "abort", "killed")


@pytest.fixture(scope="module")
def calm(spine: Spine) -> End:
    """How it ends when nothing is disturbed."""
    return by_itself.run(spine, "calm")


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_while_it_is_trained_and_judged_a_round_ends_the_same(spine: Spine, calm: End, seed: int):
    """The same rows, the same weights before and after, so the same losses and the same verdict."""
    stormy = by_itself.run(spine, f"stormy-{seed}", seed)
    assert stormy.killed == BOTH | {(Phase.TRAINING, "scoring"): 1}
    assert stormy.rows == calm.rows
    assert [each.files for each in stormy.checkpoints] == [each.files for each in calm.checkpoints]
    assert set(stormy.rolled_out.values()) == {1}
    ours, theirs = stormy.state, calm.state
    assert (ours.phase, ours.reason, ours.held_out) == (theirs.phase, theirs.reason, theirs.held_out)
    assert ours.rewrites.accepted == theirs.rewrites.accepted
